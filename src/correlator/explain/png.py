"""PNG: a scene as pixels, by Pillow, which is an extra: whoever draws no PNG needs nothing."""

from io import BytesIO
from itertools import pairwise
from math import hypot
from typing import Final, TypeAlias

from PIL import Image, ImageDraw, ImageFont

from correlator.explain.place import Point
from correlator.explain.scene import BLACK, Box, Line, Scene, Words
from correlator.explain.svg import arrow, shaft

SCALE: Final = 2
"""Pixels for one of the scene's, so that it is sharp on a fine screen and in print."""
_FINER: Final = 2
"""Drawn so much larger and then reduced: that makes lines smooth."""
_PIXELS_MOST: Final = 120_000_000
_FONT_BY_WEIGHT: Final = {False: "DejaVuSansMono.ttf", True: "DejaVuSansMono-Bold.ttf"}
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def as_png(scene: Scene) -> bytes:
    """Draw a scene. One too large for memory is drawn smaller."""
    finer, area = _FINER, scene.width * scene.height * SCALE * SCALE
    if area * finer * finer > _PIXELS_MOST:
        finer = 1
    scale = SCALE * finer if area * finer * finer <= _PIXELS_MOST else (_PIXELS_MOST / (scene.width * scene.height)) ** 0.5
    image = Image.new("L", (round(scene.width * scale), round(scene.height * scale)), 255)
    pen = _Pen(ImageDraw.Draw(image), scale)
    for shape in scene.shapes:
        pen.draw(shape)
    if finer > 1:
        image = image.resize((image.width // finer, image.height // finer), Image.Resampling.LANCZOS)
    written = BytesIO()
    image.save(written, format="PNG", optimize=True)
    return written.getvalue()


class _Pen:
    """Draws shapes onto an image that is `scale` times as large as the scene."""

    def __init__(self, canvas: ImageDraw.ImageDraw, scale: float) -> None:
        self._canvas = canvas
        self._scale = scale
        self._fonts: dict[tuple[int, bool], Font] = {}

    def draw(self, shape: Box | Line | Words) -> None:
        """Draw one shape."""
        if isinstance(shape, Box):
            self._box(shape)
        elif isinstance(shape, Line):
            self._line(shaft(shape.points), shape.colour, shape.width, dash=shape.dash)
            self._canvas.polygon([self._at(point) for point in arrow(shape.points, shape.width)], fill=shape.colour)
        else:
            self._words(shape)

    def _at(self, point: Point) -> Point:
        return point[0] * self._scale, point[1] * self._scale

    def _box(self, box: Box) -> None:
        right, bottom = box.x + box.width, box.y + box.height
        self._canvas.rectangle([self._at((box.x, box.y)), self._at((right, bottom))], fill=box.fill)
        corners = [(box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom), (box.x, box.y)]
        for side in pairwise(corners):
            self._line(list(side), BLACK, box.border, dash=box.dash)

    def _line(self, points: list[Point], colour: str, width: float, *, dash: float) -> None:
        pieces = _dashes(points, dash) if dash else [points]
        for piece in pieces:
            self._canvas.line([self._at(point) for point in piece], fill=colour, width=max(1, round(width * self._scale)), joint="curve")

    def _words(self, words: Words) -> None:
        """Write text, smaller where this font is wider than there is room."""
        font, room = self._font(words.size, is_bold=words.is_bold), words.room * self._scale
        size = words.size
        while room and size > 1 and self._canvas.textlength(words.text, font=font) > room:
            size -= 1
            font = self._font(size, is_bold=words.is_bold)
        self._canvas.text(self._at((words.x, words.y)), words.text, font=font, fill=words.colour, anchor="ls")

    def _font(self, size: int, *, is_bold: bool) -> Font:
        known = self._fonts.get((size, is_bold))
        if known is None:
            known = self._fonts[size, is_bold] = _font(_FONT_BY_WEIGHT[is_bold], size * self._scale)
        return known


def _font(name: str, pixels: float) -> Font:
    """Load a font of the system, else the one that Pillow brings."""
    try:
        return ImageFont.truetype(name, pixels)
    except OSError:
        return ImageFont.load_default(pixels)


def _dashes(points: list[Point], dash: float) -> list[list[Point]]:
    """Cut a line into dashes with gaps as long as they are."""
    pieces, along = list[list[Point]](), 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        length, done = hypot(to_x - x, to_y - y), 0.0
        while done < length:
            step = min(dash - along % dash, length - done)
            if int(along / dash) % 2 == 0:
                ends = [(x + (to_x - x) * part / length, y + (to_y - y) * part / length) for part in (done, done + step)]
                pieces.append(ends)
            along, done = along + step, done + step
    return pieces
