"""Place: where each entity of a drawing stands, and by which way each link goes, so that no two things overlap.

Entities stand in columns, causes left of what depends on them. A link over several columns gets a lane of its own in each that it
crosses. Lanes and entities of a column are ordered by the mean of their neighbours, the usual way to have few crossings.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

Point = tuple[float, float]
Pair = tuple[str, str]
COLUMN_GAP: Final = 76.0
ROW_GAP: Final = 18.0
LANE: Final = 10.0
_SWEEPS: Final = 12
_BEND: Final = 10
"""Points of a bend; at the usual size no corner shows."""


class Placed(msgspec.Struct):
    """Top left corner, width and height of each entity, points of each link, and how large all of it is."""

    boxes: dict[str, tuple[float, float, float, float]]
    ways: dict[Pair, list[Point]]
    width: float
    height: float


class _Slot(msgspec.Struct):
    """An entity, or the lane of a link, in a column. `y` is the middle."""

    key: str
    height: float
    y: float = 0.0


def place(sizes: Mapping[str, Point], links: Sequence[Pair]) -> Placed:
    """Place entities of these sizes; of a ring of links one is drawn backwards."""
    forward = _without_rings(list(sizes), links)
    columns = _columns(list(sizes), forward)
    slots, chains = _slots(sizes, forward, columns)
    neighbours = _neighbours(chains)
    _order(slots, neighbours)
    _settle(slots, neighbours)
    return _placed(sizes, slots, chains)


def _without_rings(names: list[str], links: Sequence[Pair]) -> list[Pair]:
    """Turn round each link that closes a ring."""
    targets: dict[str, list[str]] = {}
    for source, target in links:
        targets.setdefault(source, []).append(target)
    finished, back = dict[str, None](), dict[Pair, None]()
    for start in names:
        trail = [(start, iter(targets.get(start, ())))] if start not in finished else []
        on_trail = dict.fromkeys([start])
        while trail:
            name, rest = trail[-1]
            target = next(rest, "")
            if not target:
                trail.pop()
                on_trail.pop(name)
                finished[name] = None
            elif target in on_trail:
                back[name, target] = None
            elif target not in finished:
                on_trail[target] = None
                trail.append((target, iter(targets.get(target, ()))))
    return [(target, source) if (source, target) in back else (source, target) for source, target in links]


def _columns(names: list[str], links: list[Pair]) -> dict[str, int]:
    """Number the columns: behind all causes; what has none stands just before the first that depends on it."""
    column = dict.fromkeys(names, 0)
    for _ in names:
        moved = False
        for source, target in links:
            if column[target] <= column[source]:
                column[target], moved = column[source] + 1, True
        if not moved:
            break
    has_cause = {target: None for _, target in links}
    for name in names:
        effects = [column[target] for source, target in links if source == name]
        if name not in has_cause and effects:
            column[name] = min(effects) - 1
    return column


def _slots(
    sizes: Mapping[str, Point], links: list[Pair], columns: dict[str, int]
) -> tuple[list[list[_Slot]], dict[Pair, list[tuple[int, _Slot]]]]:
    """Give each entity a slot, and each link a chain of slots from its source over lanes to its target."""
    slots: list[list[_Slot]] = [[] for _ in range(max(columns.values(), default=0) + 1)]
    own = {name: _Slot(name, height) for name, (_, height) in sizes.items()}
    for name, column in columns.items():
        slots[column].append(own[name])
    chains: dict[Pair, list[tuple[int, _Slot]]] = {}
    for source, target in links:
        chain = [(columns[source], own[source])]
        for column in range(columns[source] + 1, columns[target]):
            lane = _Slot(f"{source}>{target}", LANE)
            slots[column].append(lane)
            chain.append((column, lane))
        chains[source, target] = [*chain, (columns[target], own[target])]
    return slots, chains


_Neighbours = dict[int, dict[str, dict[int, list[_Slot]]]]
"""By column and key: the slots linked to it, on the left (-1) and on the right (1)."""


def _neighbours(chains: dict[Pair, list[tuple[int, _Slot]]]) -> _Neighbours:
    found: _Neighbours = {}
    for chain in chains.values():
        for (column, slot), (next_column, next_slot) in pairwise(chain):
            found.setdefault(column, {}).setdefault(slot.key, {}).setdefault(1, []).append(next_slot)
            found.setdefault(next_column, {}).setdefault(next_slot.key, {}).setdefault(-1, []).append(slot)
    return found


def _order(slots: list[list[_Slot]], neighbours: _Neighbours) -> None:
    """Order each column by where its neighbours stand, from the left and from the right in turn."""
    for column in slots:
        _stack(column)
    for sweep in range(_SWEEPS):
        side = -1 if sweep % 2 == 0 else 1
        numbers = range(len(slots)) if side < 0 else range(len(slots) - 1, -1, -1)
        for number in numbers:
            column = slots[number]
            wanted = [(_mean(slot, neighbours.get(number, {}), (side,)), place) for place, slot in enumerate(column)]
            slots[number][:] = [column[place] for _, place in sorted(wanted)]
            _stack(column)


def _stack(column: list[_Slot]) -> None:
    """Put a column's slots one below the other, its middle at 0."""
    height = sum(slot.height for slot in column) + ROW_GAP * (len(column) - 1)
    top = -height / 2
    for slot in column:
        slot.y = top + slot.height / 2
        top += slot.height + ROW_GAP


def _mean(slot: _Slot, neighbours: dict[str, dict[int, list[_Slot]]], sides: tuple[int, ...]) -> float:
    near = [other.y for side in sides for other in neighbours.get(slot.key, {}).get(side, ())]
    return sum(near) / len(near) if near else slot.y


def _settle(slots: list[list[_Slot]], neighbours: _Neighbours) -> None:
    """Move slots towards their neighbours, as far as the order and the gaps between them allow."""
    for _ in range(_SWEEPS):
        for number, column in enumerate(slots):
            wanted = [_mean(slot, neighbours.get(number, {}), (-1, 1)) for slot in column]
            for slot, y in zip(column, _apart(column, wanted), strict=True):
                slot.y = y


def _apart(column: list[_Slot], wanted: list[float]) -> list[float]:
    """Answer heights near to those wanted and far enough apart: the mean of pushing down and of pushing up."""
    down, up = list[float](), list[float]()
    for number, y in enumerate(wanted):
        least = down[-1] + _distance(column[number - 1], column[number]) if down else y
        down.append(max(y, least))
    for number in range(len(wanted) - 1, -1, -1):
        most = up[-1] - _distance(column[number], column[number + 1]) if up else wanted[number]
        up.append(min(wanted[number], most))
    return [(low + high) / 2 for low, high in zip(down, reversed(up), strict=True)]


def _distance(upper: _Slot, lower: _Slot) -> float:
    return (upper.height + lower.height) / 2 + ROW_GAP


def _placed(sizes: Mapping[str, Point], slots: list[list[_Slot]], chains: dict[Pair, list[tuple[int, _Slot]]]) -> Placed:
    top = min([slot.y - slot.height / 2 for column in slots for slot in column], default=0.0)
    lefts, left, widths = list[float](), 0.0, list[float]()
    for column in slots:
        widths.append(max([sizes[slot.key][0] for slot in column if slot.key in sizes], default=0.0))
        lefts.append(left)
        left += widths[-1] + COLUMN_GAP
    boxes = {
        slot.key: (lefts[number], slot.y - slot.height / 2 - top, widths[number], slot.height)
        for number, column in enumerate(slots)
        for slot in column
        if slot.key in sizes
    }
    ways = {pair: _way(chain, lefts, widths, top=top) for pair, chain in chains.items()}
    bottom = max([y + height for _, y, _, height in boxes.values()], default=0.0)
    return Placed(boxes, ways, max(left - COLUMN_GAP, 0.0), bottom)


def _way(chain: list[tuple[int, _Slot]], lefts: list[float], widths: list[float], *, top: float) -> list[Point]:
    points: list[Point] = []
    for (column, slot), (next_column, next_slot) in pairwise(chain):
        points += _bend((lefts[column] + widths[column], slot.y - top), (lefts[next_column], next_slot.y - top))
    return points


def _bend(start: Point, end: Point) -> list[Point]:
    """Answer points of a curve that leaves and arrives level."""
    (x, y), (to_x, to_y) = start, end
    steps = [number / _BEND for number in range(_BEND + 1)]
    return [(x + (to_x - x) * step, y + (to_y - y) * step * step * (3 - 2 * step)) for step in steps]
