"""Scene: an incident's part of the graph as boxes, lines and words, to be written as SVG or PNG. Sizes are in pixels.

Nothing is told by colour alone: the root is black, the way of the fault is thick, what the root does not explain has a broken border.
"""

from collections.abc import Iterator
from itertools import count
from typing import Final
from unicodedata import east_asian_width

import msgspec

from correlator.explain.case import clock_of
from correlator.explain.incident import listed
from correlator.explain.part import Link, Part, Role, Spot
from correlator.explain.place import Pair, Point, place
from correlator.explain.tree import after_root

ADVANCE: Final = 0.61
"""How wide a letter of a fixed-width font is, in parts of its size."""
NAME, SMALL, TITLE = 14, 12, 18
_PAD: Final = 10.0
_MARGIN: Final = 28.0
_LINE: Final = 17.0
_WORDS_MOST: Final = 34
_FOOT_WIDEST: Final = 110
BLACK, GREY, WHITE = "#000000", "#8a8a8a", "#ffffff"


class Box(msgspec.Struct, frozen=True):
    """A rectangle; `dash` is the length of its border's dashes, 0 for an unbroken one."""

    x: float
    y: float
    width: float
    height: float
    fill: str = WHITE
    border: float = 1.0
    dash: float = 0.0


class Line(msgspec.Struct, frozen=True):
    """A line with an arrow at its end."""

    points: list[Point]
    colour: str
    width: float
    dash: float = 0.0


class Words(msgspec.Struct, frozen=True):
    """A line of text; `y` is its base line, `room` how wide it may be."""

    x: float
    y: float
    text: str
    size: int
    room: float
    colour: str = BLACK
    is_bold: bool = False


class Scene(msgspec.Struct, frozen=True):
    """All there is to draw, in the order of drawing."""

    width: float
    height: float
    title: str
    shapes: list[Box | Line | Words]


def scene_of(part: Part) -> Scene:
    """Lay a part out."""
    texts = {name: _texts(spot, part) for name, spot in part.spots.items()}
    sizes = {name: _size(lines) for name, lines in texts.items()}
    links = {(link.source, link.target): link for link in part.links}
    placed = place(sizes, list(links))
    head, foot = _head(part), list(_foot(part))
    top = _MARGIN + _LINE * 3.2
    width = 2 * _MARGIN + max([placed.width, *[_wide(line.text, line.size) for line in (*head, *foot)]])
    shapes: list[Box | Line | Words] = [msgspec.structs.replace(line, room=width - 2 * _MARGIN) for line in head]
    # The way of the fault is drawn last, so that it lies above the others.
    drawn = sorted(placed.ways.items(), key=lambda way: _is_spread(links, way[0]))
    shapes += [_line(links, pair, [(x + _MARGIN, y + top) for x, y in points]) for pair, points in drawn]
    for name, (x, y, wide, high) in placed.boxes.items():
        shapes += _spot(part.spots[name], texts[name], Box(x + _MARGIN, y + top, wide, high))
    below = top + placed.height + _LINE * 2
    shapes += [msgspec.structs.replace(line, y=below + number * _LINE, room=width - 2 * _MARGIN) for number, line in enumerate(foot)]
    return Scene(width, below + len(foot) * _LINE + _MARGIN / 2, part.told.title, shapes)


def _wide(text: str, size: int) -> float:
    return ADVANCE * size * sum([2 if east_asian_width(letter) in "WF" else 1 for letter in text])


def _size(lines: list[str]) -> Point:
    return max([_wide(line, SMALL if number else NAME) for number, line in enumerate(lines)]) + 2 * _PAD, len(lines) * _LINE + _PAD


def _texts(spot: Spot, part: Part) -> list[str]:
    """Say what stands in an entity's box, its name first."""
    owner = [f"owner {spot.owner}"] if spot.owner else []
    if spot.role is Role.QUIET:
        return list(map(_cut, [spot.name, "no alert", *owner]))
    more = f" +{spot.alerts - 1}" if spot.alerts > 1 else ""
    lines = [
        spot.name,
        _cut(spot.condition or "", _WORDS_MOST - len(more)) + more,
        f"{clock_of(spot.since)}{after_root(spot, part)}",
        *owner,
    ]
    if spot.role is Role.ROOT:
        lines.insert(1, f"ROOT CAUSE {part.told.root_causes[0].confidence:.0%}")
    if spot.role is Role.BESIDE and part.root is not None:
        lines.append("not explained by the root")
    return [_cut(line) for line in lines]


def _cut(text: str, most: int = _WORDS_MOST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _is_spread(links: dict[Pair, Link], pair: Pair) -> bool:
    link = links.get(pair) or links.get(pair[::-1])
    return link is not None and link.spread


def _line(links: dict[Pair, Link], pair: Pair, points: list[Point]) -> Line:
    link = links.get(pair)
    if link is None:  # of a ring: drawn backwards
        link, points = links[pair[::-1]], points[::-1]
    if link.spread:
        return Line(points, BLACK, 3.0)
    return Line(points, GREY, 1.2, 0.0 if link.is_declared else 5.0)


def _spot(spot: Spot, lines: list[str], box: Box) -> Iterator[Box | Words]:
    is_root = spot.role is Role.ROOT
    border, dash = {Role.ROOT: (3.0, 0.0), Role.AFFECTED: (2.0, 0.0), Role.BESIDE: (1.2, 6.0), Role.QUIET: (1.0, 2.0)}[spot.role]
    yield msgspec.structs.replace(box, fill=BLACK if is_root else WHITE, border=border, dash=dash)
    baseline = count(1)
    for number, text in enumerate(lines):
        yield Words(
            box.x + _PAD,
            box.y + next(baseline) * _LINE + 1,
            text,
            NAME if not number else SMALL,
            box.width - 2 * _PAD,
            WHITE if is_root else BLACK,
            is_bold=not number or (is_root and number == 1),
        )


def _head(part: Part) -> list[Words]:
    told = part.told
    line = (
        f"{told.state} · {told.priority} · {told.owner or 'owner unknown'} · opened {told.opened[:10]} {clock_of(told.opened)} · {told.id}"
    )
    return [
        Words(_MARGIN, _MARGIN + TITLE / 2, told.title, TITLE, 0.0, is_bold=True),
        Words(_MARGIN, _MARGIN + TITLE / 2 + _LINE * 1.2, line, SMALL, 0.0),
    ]


def _foot(part: Part) -> Iterator[Words]:
    lines = ["Arrows lead from what is depended on to what depends on it; the thick ones are the way of the fault from its root."]
    if any(not link.is_declared for link in part.links):
        lines.append("Broken arrows: over entities that are not drawn, or without a declared dependency, where only the times fit.")
    if part.at_risk:
        lines.append(_cut(f"Depends on the root and is quiet: {listed(part.at_risk)}", _FOOT_WIDEST))
    if part.left_out:
        lines.append(f"{part.left_out} more entities with alerts are not drawn.")
    for line in lines:
        yield Words(_MARGIN, 0.0, line, SMALL, 0.0)
