"""Score: how likely an earlier hit, or nothing known, made a new alert fire. Pure: a path and a gap in, a density out.

All scores are densities, alerts per second at one entity, so that they can be added over the hits of an incident and held against
the rate at which faults begin that nothing explains. A gap is how long after the hit the newcomer fired; negative when before.
The constants were set once on storms of `benchmarks.accuracy`; each earns its place there.
"""

from collections import deque
from collections.abc import Iterable
from math import ceil, exp, floor, pi, sqrt
from typing import Final

import msgspec

from correlator.model.instant import MINUTE, SECOND, Duration, Instant
from correlator.model.topology import EdgeKind, Topology
from correlator.model.word import Word
from correlator.state.records import Hit

REACH_MOST: Final = 2_000
"""A hub is not followed further than this many entities, the nearest first."""
NEW_FAULT: Final = 2.5e-5
"""How often something begins at one entity that nothing explains; an incident that scores less explains nothing. (Learning it from the
lone alerts of the last minutes was tried: it changed with the storm it should have judged.)"""
UNSEEN_EARLY: Final[Duration] = 45 * SECOND
UNSEEN_LATE: Final[Duration] = 3 * MINUTE
"""Without a declared path only hits whose gap lies between these two are weighed."""

_PER_HOP = 0.6
_SILENT = 0.3
"""An entity on the path that shows nothing makes the path this much less likely."""
_REVERSE = 0.05
_MEAN = 25.0
_SPREAD = 30.0
_SELF_PEAK = 0.15
_SELF_FADE = 20_000.0
_LONE = 0.3
_MANY = ceil(1 / _LONE)
_UNSEEN = 0.002
_LEAF = 0.05
_FAR = 20.0


class Relation(Word):
    """How the entity of an earlier hit relates to the newcomer's."""

    SAME = "same"
    CAUSE = "cause"
    EFFECT = "effect"
    UNSEEN = "unseen"


_SAME = Relation.SAME


class Reach(msgspec.Struct, frozen=True, gc=False):
    """A path from the newcomer's entity to another one. `via` is the entity one step nearer.

    `mean` and `width` (seconds) say when a hit there makes the newcomer fire, `peak` how surely at its likeliest gap.
    """

    relation: Relation
    hops: int
    via: str
    mean: float = 0.0
    width: float = 1.0
    peak: float = 0.0


def spread_score(reach: Reach, gap: Duration) -> float:
    """Answer how likely a hit along this path makes the newcomer fire at this gap."""
    distance = (gap / 1000 - reach.mean) / reach.width
    square = distance * distance
    return reach.peak * exp(-0.5 * square) if square < _FAR else 0.0


def window_of(reaches: Iterable[Reach]) -> tuple[Duration, Duration]:
    """Answer between which gaps a hit along any of these paths can score at all."""
    far = sqrt(_FAR)
    lows = [reach.mean - reach.width * far for reach in reaches]
    highs = [reach.mean + reach.width * far for reach in reaches]
    return floor(min(lows) * 1000), ceil(max(highs) * 1000)


def same_score(gap: Duration) -> float:
    """Answer how likely the newcomer is more of what its own entity showed `gap` ago."""
    return _SELF_PEAK * exp(-abs(gap) / _SELF_FADE)


def unseen_reach(level: int | None, other: int | None) -> Reach:
    """Answer the path between entities that no edge joins; `level` is how deep the newcomer's dependencies go, `other` the hit's.

    What depends on nothing, or on less than the other, hardly suffers from it.
    """
    return _UNLIKELY if not level or other is None or level < other else _LIKELY


def weight_of(alerts: int) -> float:
    """Answer how much a hit of so many alerts counts: a lone one may be noise, and noise must not attract."""
    return _LONE * alerts if alerts < _MANY else 1.0


def scores_of(hits: Iterable[tuple[Reach, Hit]], at: Instant) -> list[float]:
    """Answer how much each hit speaks for its incident when an alert fires at an instant: how likely it made it fire, times its weight.

    The same as `same_score` or `spread_score`, times `weight_of`; in one loop without calls, since it is asked for each new alert.
    """
    scores = []
    for reach, hit in hits:
        weight = 1.0 if hit.alerts >= _MANY else _LONE * hit.alerts
        if reach.relation is _SAME:
            scores.append(_SELF_PEAK * exp(-abs(at - hit.last) / _SELF_FADE) * weight)
            continue
        distance = ((at - hit.onset) / 1000 - reach.mean) / reach.width
        square = distance * distance
        scores.append(reach.peak * exp(-0.5 * square) * weight if square < _FAR else 0.0)
    return scores


def reaches_from(topology: Topology, entity: str, hops: int) -> dict[str, Reach]:
    """Answer every entity within reach, nearest first, itself included: what it depends on, then what depends on it."""
    reaches = {entity: Reach(Relation.SAME, 0, entity)}
    for relation in (Relation.CAUSE, Relation.EFFECT):
        _spread(reaches, topology, entity, relation=relation, hops=hops)
    return reaches


def _spread(reaches: dict[str, Reach], topology: Topology, entity: str, *, relation: Relation, hops: int) -> None:
    queue = deque([(entity, 0, 0.0)])
    edges = topology.dependencies if relation is Relation.CAUSE else topology.dependents
    while queue and len(reaches) < REACH_MOST:
        name, depth, mean = queue.popleft()
        for edge in edges.get(name, ()) if depth < hops else ():
            neighbour = edge.target if relation is Relation.CAUSE else edge.source
            if neighbour not in reaches:
                further = mean + (_MEAN if edge.delay is None else edge.delay / 1000)
                reaches[neighbour] = _reach(relation, depth + 1, via=name, mean=further)
                queue.append((neighbour, depth + 1, further))


def _reach(relation: Relation, hops: int, *, via: str, mean: float, share: float = 1.0) -> Reach:
    width = _SPREAD * sqrt(hops)
    strength = _PER_HOP * _SILENT ** (hops - 1) * share
    if relation is Relation.EFFECT:
        mean, strength = -mean, _REVERSE * strength
    return Reach(relation, hops, via, mean, width, strength / (width * sqrt(2 * pi)))


_LIKELY: Final = _reach(Relation.UNSEEN, 1, via="", mean=_MEAN, share=_UNSEEN)
_UNLIKELY: Final = _reach(Relation.UNSEEN, 1, via="", mean=_MEAN, share=_UNSEEN * _LEAF)


def levels_of(topology: Topology) -> dict[str, int]:
    """Answer how many edges the longest chain of dependencies below each entity has, hosts apart; where chains are rings, they are cut."""
    below = {name: [edge.target for edge in edges if edge.kind is not EdgeKind.RUNS_ON] for name, edges in topology.dependencies.items()}
    levels: dict[str, int] = {node.name: 0 for node in topology.nodes if not below.get(node.name)}
    for start, first in below.items():
        open_names, path = {start: None}, [(start, iter(first))]
        while path and start not in levels:
            name, targets = path[-1]
            target = next((target for target in targets if target not in levels and target not in open_names), None)
            if target is not None:
                open_names[target] = None
                path.append((target, iter(below.get(target, ()))))
                continue
            levels[name] = max([levels[target] + 1 for target in below.get(name, ()) if target in levels], default=0)
            path.pop()
            del open_names[name]
    return levels
