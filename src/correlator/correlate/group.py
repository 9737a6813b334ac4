"""Group: which incident a newly firing alert joins, or none: then it is a new fault.

In: an entity and an instant. Out: a `Placement`. Remembers where live incidents have hits, by scope and entity.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from correlator.correlate.score import NEW_FAULT, Reach, Relation, score
from correlator.model.instant import Instant
from correlator.model.rule import Grouping
from correlator.model.topology import Topology
from correlator.state.records import Hit, Incident

NEIGHBOURS_MOST: Final = 2_000
"""A hub is not followed further than this many entities, the nearest first."""


class Placement(msgspec.Struct, frozen=True):
    """Where an alert belongs. `incident` is None for a new fault; `path` names the entities from the alert's to the hit's."""

    incident: Incident | None = None
    score: float = 0.0
    path: tuple[str, ...] = ()


NEW: Final = Placement()


class Grouper:
    """Finds the incident that best explains an alert. Rebuilt from the incidents at restore."""

    def __init__(self, topology: Topology, grouping: Grouping) -> None:
        self._topology = topology
        self._grouping = grouping
        self._places: dict[tuple[str, ...], dict[str, dict[str, tuple[Incident, Hit]]]] = {}
        self._reaches: dict[str, dict[str, tuple[Reach, str]]] = {}

    def add(self, incident: Incident, hit: Hit) -> None:
        """Note that an incident has a hit at an entity."""
        places = self._places.setdefault(incident.scope, {})
        places.setdefault(hit.entity, {})[incident.id] = (incident, hit)

    def remove(self, incident: Incident) -> None:
        """Forget all hits of an incident that nobody can join any more."""
        places = self._places.get(incident.scope, {})
        for entity in incident.hits:
            here = places.get(entity)
            if here is not None:
                here.pop(incident.id, None)
                if not here:
                    del places[entity]

    def place(self, entity: str, scope: tuple[str, ...], at: Instant) -> Placement:
        """Choose the incident with the strongest hit near the entity; equal ones go to the older incident, then to the nearer hit."""
        best: tuple[float, Instant, str, int, str] | None = None
        found: Incident | None = None
        for name, reach, hits in self._near(entity, scope):
            for incident, hit in hits.values():
                if not self._is_joinable(incident, at):
                    continue
                last = hit.last if reach.relation is Relation.SAME else hit.onset
                strength = score(reach, at - last)
                rank = (-strength, incident.opened, incident.id, reach.hops, name)
                if strength >= NEW_FAULT and (best is None or rank < best):
                    best, found = rank, incident
        if best is None:
            return NEW
        return Placement(found, -best[0], self._path(entity, best[4]))

    def _near(self, entity: str, scope: tuple[str, ...]) -> Iterator[tuple[str, Reach, dict[str, tuple[Incident, Hit]]]]:
        """Answer the entities within reach that have hits, going through whichever of the two is fewer."""
        places, reaches = self._places.get(scope, {}), self._reaches_of(entity)
        if len(places) < len(reaches):
            for name, hits in places.items():
                if name in reaches:
                    yield name, reaches[name][0], hits
        else:
            for name, (reach, _) in reaches.items():
                if name in places:
                    yield name, reach, places[name]

    def _is_joinable(self, incident: Incident, at: Instant) -> bool:
        return incident.is_live and abs(at - incident.last_new) <= self._grouping.window

    def _reaches_of(self, entity: str) -> dict[str, tuple[Reach, str]]:
        """Answer every entity within reach, nearest first, each with the entity one step nearer."""
        reaches = self._reaches.get(entity)
        if reaches is None:
            reaches = {entity: (Reach(Relation.SAME, 0, 0), entity)}
            self._spread(reaches, entity, Relation.CAUSE)
            self._spread(reaches, entity, Relation.EFFECT)
            self._reaches[entity] = reaches
        return reaches

    def _spread(self, reaches: dict[str, tuple[Reach, str]], entity: str, relation: Relation) -> None:
        queue = deque([(entity, 0, 0)])
        while queue and len(reaches) < NEIGHBOURS_MOST:
            name, hops, delay = queue.popleft()
            if hops == self._grouping.hops:
                continue
            for neighbour, edge_delay in self._neighbours(name, relation):
                if neighbour not in reaches:
                    reach = Reach(relation, hops + 1, delay + edge_delay)
                    reaches[neighbour] = (reach, name)
                    queue.append((neighbour, reach.hops, reach.delay))

    def _neighbours(self, name: str, relation: Relation) -> list[tuple[str, int]]:
        if relation is Relation.CAUSE:
            return [(edge.target, edge.delay or 0) for edge in self._topology.dependencies.get(name, ())]
        return [(edge.source, edge.delay or 0) for edge in self._topology.dependents.get(name, ())]

    def _path(self, entity: str, other: str) -> tuple[str, ...]:
        reaches, path = self._reaches_of(entity), [other]
        while path[-1] != entity:
            path.append(reaches[path[-1]][1])
        return tuple(reversed(path))
