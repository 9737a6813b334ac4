"""Diagnose: which entity of an incident explains the others. Pure: hits and the graph in, ranked root causes out.

Each hit asks what made it fire: a hit of something it depends on, as far as the time between them fits, or nothing that is known.
Belief flows along these answers until it rests with a hit that nothing explains; where most of it comes to rest is the root. A lone
alert of an entity asks for little and attracts little, so noise neither wins nor decides.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from correlator.correlate.score import Reach, Relation, spread_score, weight_of
from correlator.model.instant import SECOND, Duration, format_duration
from correlator.model.topology import Edge, EdgeKind, Topology
from correlator.state.records import Hit

STAND_IN: Final = "?"
"""Begins the name under which alerts are grouped that belong to nothing the topology knows: no entity, and never shown as one."""
CAUSES_MOST: Final = 3
CANDIDATES_MOST: Final = 50
"""Only this many entities, the first to alert, are weighed; a root that is fiftieth to alert is none."""
STEPS_MOST: Final = 12
"""Belief flows at most this many steps, so that a ring of dependencies comes to an end."""

_CAUSE = Relation.CAUSE
_BY_ITSELF = 1e-4
_TO_ROOT = 0.5
VERB_BY_KIND: Final = {EdgeKind.CALLS: "calls", EdgeKind.RUNS_ON: "runs on", EdgeKind.STORES_IN: "stores in", EdgeKind.OF: "is part of"}
_EXAMPLES: Final = 2
_NAMES: Final = 5

ReachesOf = Callable[[str], Mapping[str, Reach]]
"""Answers every entity within reach of one."""
_Blames = dict[str, dict[str, float]]
"""By entity: how surely each other one made it fire; what is missing to 1 is that nothing did."""


class Cause(msgspec.Struct, frozen=True):
    """A candidate root: the entity, the share of belief it gets, and sentences that a person can check.

    `explained` names the other entities whose alerts most likely go back to it; only the first candidate has it.
    """

    entity: str
    confidence: float
    evidence: tuple[str, ...]
    condition: str
    explained: tuple[str, ...] = ()


def diagnose(hits: Mapping[str, Hit], topology: Topology, reaches_of: ReachesOf) -> list[Cause]:
    """Rank the entities by the share of belief that comes to rest with each; earlier alerts break ties. Confidences add up to at most 1."""
    chosen = sorted(hits.values(), key=lambda hit: (hit.onset, hit.entity))[:CANDIDATES_MOST]
    weighed = {hit.entity: hit for hit in chosen}
    blames = {hit.entity: _blames(hit, weighed, reaches_of(hit.entity)) for hit in chosen}
    beliefs = _settle({hit.entity: weight_of(hit.alerts) for hit in chosen}, blames)
    total = sum(beliefs.values())
    ranked = sorted(chosen, key=lambda hit: (-beliefs[hit.entity], hit.onset, hit.entity))[:CAUSES_MOST]
    return [
        Cause(
            hit.entity,
            round(beliefs[hit.entity] / total, 3),
            tuple(_evidence(hit, weighed, topology)),
            hit.condition,
            _explained(hit.entity, blames) if hit is ranked[0] else (),
        )
        for hit in ranked
    ]


def _blames(hit: Hit, hits: Mapping[str, Hit], reaches: Mapping[str, Reach]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name in hits if len(hits) < len(reaches) else reaches:
        other, reach = hits.get(name), reaches.get(name)
        if other is not None and reach is not None and reach.relation is _CAUSE:
            share = min(1.0, other.alerts / hit.alerts)
            scores[name] = spread_score(reach, hit.onset - other.onset) * weight_of(other.alerts) * share
    total = sum(scores.values()) + _BY_ITSELF
    return {name: score / total for name, score in scores.items() if score > 0.0}


def _settle(asked: dict[str, float], blames: _Blames) -> dict[str, float]:
    """Let belief flow from what fired to what made it fire; answers how much rests where."""
    resting = dict.fromkeys(asked, 0.0)
    for _ in range(STEPS_MOST):
        passed: dict[str, float] = {}
        for entity, amount in asked.items():
            kept = amount
            for cause, share in blames[entity].items():
                passed[cause] = passed.get(cause, 0.0) + amount * share
                kept -= amount * share
            resting[entity] += kept
        asked = passed
        if not asked:
            break
    for entity, amount in asked.items():
        resting[entity] += amount
    return resting


def _explained(root: str, blames: _Blames) -> tuple[str, ...]:
    """Name the entities whose belief mostly passes through the root."""
    through = {root: 1.0}
    for _ in range(STEPS_MOST):
        before, through = through, {root: 1.0}
        for entity, blame in blames.items():
            share = sum([share * before[cause] for cause, share in blame.items() if cause in before])
            if share and entity != root:
                through[entity] = share
        if len(through) == len(before):
            break
    return tuple([entity for entity, share in through.items() if entity != root and share >= _TO_ROOT])


# Sentences


def _evidence(hit: Hit, hits: Mapping[str, Hit], topology: Topology) -> list[str]:
    lines = [_own(hit, hits)]
    if len(hits) == 1:
        return lines
    callers = _once(topology.dependents.get(hit.entity, ()), is_source=True)
    failing = {name: edge for name, edge in callers.items() if name in hits}
    for name, edge in sorted(failing.items(), key=lambda item: (hits[item[0]].onset, item[0]))[:_EXAMPLES]:
        verb = VERB_BY_KIND.get(edge.kind, "depends on")
        lines.append(f"{name} {verb} {hit.entity}, {_order(hits[name].onset - hit.onset)}")
    if len(callers) == 1:
        lines.append(f"the only one that depends directly on {hit.entity} {'alerts' if failing else 'is quiet'}")
    elif callers:
        lines.append(f"{len(failing)} of {len(callers)} that depend directly on {hit.entity} alert")
    below = [name for name in _once(topology.dependencies.get(hit.entity, ()), is_source=False) if name in hits]
    if below:
        lines.append(f"of what {hit.entity} depends on, {', '.join(below[:_NAMES])} alerted too")
    else:
        lines.append(f"nothing that {hit.entity} depends on alerts")
    return lines


def _own(hit: Hit, hits: Mapping[str, Hit]) -> str:
    gap = hit.onset - min(other.onset for other in hits.values())
    when = "first" if gap < SECOND else f"{_seconds(gap)} after the first alert"
    more = hit.alerts - 1
    return f"{hit.condition} fired {when}" + (f", and {more} more alert{'s' if more > 1 else ''} there" if more else "")


def _once(edges: tuple[Edge, ...], *, is_source: bool) -> dict[str, Edge]:
    return {edge.source if is_source else edge.target: edge for edge in reversed(edges) if edge.source != edge.target}


def _order(gap: Duration) -> str:
    """Say who alerted first; `gap` is how long after the cause the other did. One that was earlier speaks against the cause."""
    if abs(gap) < SECOND:
        return "which failed at the same moment"
    return f"which failed {_seconds(gap)} earlier" if gap > 0 else f"but alerted {_seconds(-gap)} before it"


def _seconds(gap: Duration) -> str:
    return format_duration(gap - gap % SECOND)
