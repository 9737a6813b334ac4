"""Part: an incident's part of the dependency graph, to be drawn: what alerted, the root, and how the fault spread from it.

Links point the way a fault goes: from what is depended on to what depends on it.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec
import networkx as nx

from correlator.explain.case import Case
from correlator.explain.reasons import verb_of
from correlator.model.explanation import IncidentTold, Step
from correlator.model.incident import Why
from correlator.model.word import Word

SPOTS_MOST: Final = 60
"""More entities than this nobody could read; the ones that alerted last are left out, and counted."""
_QUIET_COST: Final = 1.5
"""A way over an entity without an alert is taken only where it is shorter."""
_CAME: Final = (Why.NEW_FAULT, Why.JOINED, Why.RETURNED)


class Role(Word):
    """What an entity is to the incident."""

    ROOT = "root"
    AFFECTED = "affected"
    BESIDE = "beside"
    QUIET = "quiet"


class Spot(msgspec.Struct, frozen=True):
    """One entity: what alerted there first and how many alerts, since when, and whose it is; a quiet one has no alert."""

    name: str
    role: Role
    owner: str | None = None
    condition: str | None = None
    alerts: int = 0
    since: str | None = None


class Link(msgspec.Struct, frozen=True):
    """`target` depends on `source`. `spread` where the fault went this way; `is_declared` is false where no dependency between two is."""

    source: str
    target: str
    verb: str
    spread: bool = False
    is_declared: bool = True


class Part(msgspec.Struct, frozen=True):
    """All that is drawn. `root` is None where the topology knows none; `at_risk` are quiet entities that depend on it and are not drawn."""

    told: IncidentTold
    spots: dict[str, Spot]
    links: list[Link]
    root: str | None
    at_risk: list[str]
    left_out: int


def part_of(told: IncidentTold, case: Case) -> Part:
    """Choose what to draw: every entity with an alert, those between the root and what it affects, and their dependencies."""
    spots = {spot.name: spot for spot in _alerting(told, case)}
    root = told.root_causes[0].entity if told.root_causes else None
    shown = _shown(spots, root)
    ways = _ways(shown, root, case) if root is not None else []
    for name in [name for way in ways for name in way if name not in shown]:
        shown[name] = Spot(name, Role.QUIET, _owner(case, name))
    spread = {pair: None for way in ways for pair in pairwise(way)}
    links = list(_declared(shown, spread, case))
    links += _undeclared(shown, links, told.steps, case=case)
    at_risk = [name for name in told.blast_radius if name not in shown]
    return Part(told, shown, links, root, at_risk, len(spots) - len([name for name in shown if name in spots]))


def _shown(spots: dict[str, Spot], root: str | None) -> dict[str, Spot]:
    first = [spots[root]] if root is not None and root in spots else []
    others = sorted([(spot.role is Role.BESIDE, spot.since or "", spot.name) for spot in spots.values() if spot.name != root])
    return {spot.name: spot for spot in (*first, *[spots[name] for _, _, name in others])[:SPOTS_MOST]}


def _alerting(told: IncidentTold, case: Case) -> Iterator[Spot]:
    root = told.root_causes[0].entity if told.root_causes else None
    beside = frozenset(told.contributing)
    at: dict[str, list[tuple[str, str]]] = {}
    for member in told.members:
        name, place = member.alert.rpartition(" at ")[::2]
        at.setdefault(member.entity or place, []).append((member.since or "", name))
    for name, alerts in at.items():
        since, condition = min(alerts)
        role = Role.ROOT if name == root else Role.BESIDE if name in beside or name not in case.topology.node_by_name else Role.AFFECTED
        yield Spot(name, role, _owner(case, name), condition, len(alerts), since or None)


def _owner(case: Case, name: str) -> str | None:
    node = case.topology.node_by_name.get(name)
    return node.owner if node is not None else None


def _ways(spots: dict[str, Spot], root: str, case: Case) -> list[list[str]]:
    """Answer the ways from the root to all that it explains, those over alerting entities first."""
    graph = nx.DiGraph()
    within = {root: None} | dict.fromkeys(case.topology.all_dependents(root))
    for target in within:
        for edge in case.topology.dependencies.get(target, ()):
            if edge.target in within and edge.target != target:
                spot = spots.get(target)
                is_likely = spot is not None and spot.role is not Role.BESIDE
                graph.add_edge(edge.target, target, cost=1.0 if is_likely else _QUIET_COST)
    if root not in graph:
        return []
    paths: dict[str, list[str]] = nx.single_source_dijkstra_path(graph, root, weight="cost")
    return [paths[name] for name, spot in spots.items() if spot.role is Role.AFFECTED and name in paths]


def _declared(spots: dict[str, Spot], spread: dict[tuple[str, str], None], case: Case) -> Iterator[Link]:
    for target in spots:
        known = dict.fromkeys([target])
        for edge in case.topology.dependencies.get(target, ()):
            if edge.target in spots and edge.target not in known:
                known[edge.target] = None
                yield Link(edge.target, target, verb_of(edge), spread=(edge.target, target) in spread)


def _undeclared(spots: dict[str, Spot], links: list[Link], steps: list[Step], *, case: Case) -> list[Link]:
    """Answer links for entities that joined over others which are not drawn, or only since the times fit, if nothing else links them."""
    linked = {name: None for link in links for name in (link.source, link.target)}
    found: dict[str, Link] = {}
    for step in steps:
        if step.why in _CAME and len(step.path) > 1 and step.path[0] in spots and step.path[-1] in spots and step.path[0] not in linked:
            own, nearest = step.path[0], step.path[-1]
            source, target = (own, nearest) if _is_needed(step.path, case) else (nearest, own)
            found.setdefault(own, Link(source, target, "goes with", is_declared=False))
    return list(found.values())


def _is_needed(path: list[str], case: Case) -> bool:
    """Answer whether the last of a path depends on the first."""
    return all(any(edge.source == after for edge in case.topology.dependents.get(before, ())) for before, after in pairwise(path))
