"""SVG: a scene as text that any browser draws. The same scene gives the same bytes."""

from typing import Final
from xml.sax.saxutils import escape

from correlator.explain.place import Point
from correlator.explain.scene import WHITE, Box, Line, Scene, Words

FONTS: Final = "DejaVu Sans Mono, Menlo, Consolas, Liberation Mono, monospace"
ARROW: Final = 9.0
"""How long an arrow's head is."""


def as_svg(scene: Scene) -> str:
    """Write a scene as an SVG document."""
    size = f'width="{scene.width:.0f}" height="{scene.height:.0f}" viewBox="0 0 {scene.width:.0f} {scene.height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONTS}" role="img">',
        f"<title>{_text(scene.title)}</title>",
        f'<rect width="100%" height="100%" fill="{WHITE}"/>',
        *[_shape(shape) for shape in scene.shapes],
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _shape(shape: Box | Line | Words) -> str:
    if isinstance(shape, Box):
        return (
            f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}" rx="4" fill="{shape.fill}" '
            f'stroke="black" stroke-width="{shape.border:g}"{_dashed(shape.dash)}/>'
        )
    if isinstance(shape, Line):
        points = " ".join([f"{x:.1f},{y:.1f}" for x, y in shaft(shape.points)])
        head = " ".join([f"{x:.1f},{y:.1f}" for x, y in arrow(shape.points, shape.width)])
        line = f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"{_dashed(shape.dash)}/>'
        return f'{line}<polygon points="{head}" fill="{shape.colour}"/>'
    weight = ' font-weight="bold"' if shape.is_bold else ""
    return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}" fill="{shape.colour}"{weight}>{_text(shape.text)}</text>'


def _text(text: str) -> str:
    """Escape text, and leave out what no XML may hold."""
    return escape("".join([letter if letter.isprintable() else " " for letter in text]))


def _dashed(dash: float) -> str:
    return f' stroke-dasharray="{dash:g}"' if dash else ""


def shaft(points: list[Point]) -> list[Point]:
    """Answer a line's points up to its arrow's head."""
    (x, y), end = points[-1], points[:-1]
    (before, _) = points[-2]
    return [*end, (x - ARROW if x > before else x + ARROW, y)] if len(points) > 1 else points


def arrow(points: list[Point], width: float) -> list[Point]:
    """Answer the corners of an arrow's head at a line's end; lines arrive level."""
    x, y = points[-1]
    back = x - ARROW if x > points[-2][0] else x + ARROW
    half = ARROW / 3 + width / 2
    return [(x, y), (back, y - half), (back, y + half)]
