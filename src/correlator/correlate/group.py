"""Group: which incident a newly firing alert joins, or none: then it is a new fault.

In: an entity and an instant. Out: a `Placement`. Remembers where live incidents have hits, by scope and entity, and when lone incidents
began; all of it is rebuilt from the incidents.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import fsum
from typing import Final, TypeVar

import msgspec

from correlator.correlate.score import (
    RATE_WINDOW,
    UNSEEN_EARLY,
    UNSEEN_LATE,
    Reach,
    Relation,
    fault_rate,
    levels_of,
    reaches_from,
    same_score,
    spread_score,
    unseen_reach,
    weight_of,
)
from correlator.model.instant import Instant
from correlator.model.rule import Grouping
from correlator.model.topology import Topology
from correlator.state.records import Hit, Incident

SCAN_MOST: Final = 64
"""Only this many of the newest hits of a scope are weighed where no path is declared."""
REMEMBERED_MOST: Final = 5_000
"""The surroundings of this many entities are remembered; then they are found anew."""
_ENTITIES_LEAST: Final = 20
_EXPLAINED: Final = 1e-3
"""A declared cause at least this likely makes the search for an undeclared one needless."""


class Placement(msgspec.Struct, frozen=True):
    """Where an alert belongs. `incident` is None for a new fault; `path` names the entities from the alert's to the hit's."""

    incident: Incident | None = None
    score: float = 0.0
    path: tuple[str, ...] = ()


NEW: Final = Placement()


_Clues = dict[str, tuple[Incident, list[tuple[float, str]]]]
"""What speaks for each incident, by its id: scores, each with the entity of the hit that gives it."""
_Entry = TypeVar("_Entry", tuple[Instant, str], tuple[Instant, str, str])


class _Scope(msgspec.Struct):
    """One copy of the graph: hits of live incidents by entity and incident; their onsets and the openings of lone incidents, in order."""

    places: dict[str, dict[str, tuple[Incident, Hit]]] = {}
    onsets: list[tuple[Instant, str, str]] = []
    onset_by_hit: dict[tuple[str, str], Instant] = {}
    lone: list[tuple[Instant, str]] = []


class Grouper:
    """Finds the incident that best explains an alert. Rebuilt at restore by adding all hits of all incidents, and removing what is over."""

    def __init__(self, topology: Topology, grouping: Grouping) -> None:
        self._topology = topology
        self._grouping = grouping
        self._scopes: dict[tuple[str, ...], _Scope] = {}
        self._lone: dict[str, tuple[tuple[str, ...], Instant]] = {}
        self._reaches: dict[str, dict[str, Reach]] = {}
        self._levels = levels_of(topology)
        self._entities = max(len(topology.nodes), _ENTITIES_LEAST)

    def add(self, incident: Incident, hit: Hit) -> None:
        """Note that an incident has a hit at an entity, or that the hit's onset moved."""
        scope = self._scopes.setdefault(incident.scope, _Scope())
        scope.places.setdefault(hit.entity, {})[incident.id] = (incident, hit)
        key = incident.id, hit.entity
        onset = scope.onset_by_hit.get(key)
        if onset != hit.onset:
            if onset is not None:
                _discard(scope.onsets, (onset, *key))
            insort(scope.onsets, (hit.onset, *key))
            scope.onset_by_hit[key] = hit.onset
        if len(incident.hits) > 1:
            self.forget(incident.id)
        elif incident.id not in self._lone:
            self._lone[incident.id] = incident.scope, incident.opened
            insort(scope.lone, (incident.opened, incident.id))

    def remove(self, incident: Incident) -> None:
        """Forget the hits of an incident that nobody can join any more; that it was lone is still counted."""
        scope = self._scopes.get(incident.scope, _Scope())
        for entity in incident.hits:
            here = scope.places.get(entity, {})
            here.pop(incident.id, None)
            if not here:
                scope.places.pop(entity, None)
            onset = scope.onset_by_hit.pop((incident.id, entity), None)
            if onset is not None:
                _discard(scope.onsets, (onset, incident.id, entity))
        self._tidy(incident.scope)

    def forget(self, identifier: str) -> None:
        """Count an incident as a lone one no longer."""
        name, opened = self._lone.pop(identifier, ((), 0))
        if name in self._scopes:
            _discard(self._scopes[name].lone, (opened, identifier))
            self._tidy(name)

    def _tidy(self, name: tuple[str, ...]) -> None:
        scope = self._scopes.get(name)
        if scope is not None and not scope.places and not scope.lone:
            del self._scopes[name]

    def reaches_of(self, entity: str) -> dict[str, Reach]:
        """Answer every entity within reach of one, nearest first."""
        reaches = self._reaches.get(entity)
        if reaches is None:
            if len(self._reaches) >= REMEMBERED_MOST:
                self._reaches.clear()
            reaches = self._reaches[entity] = reaches_from(self._topology, entity, self._grouping.hops)
        return reaches

    def place(self, entity: str, scope: tuple[str, ...], at: Instant) -> Placement:
        """Choose the incident whose hits together explain the alert best, if better than chance does; equals go to the older one."""
        known = self._scopes.get(scope)
        if known is None:
            return NEW
        clues = self._declared(known, entity, at)
        if all(clue[0] < _EXPLAINED for _, some in clues.values() for clue in some):
            self._add_undeclared(clues, known, entity, at=at)
        lone = len(known.lone) - bisect_left(known.lone, (at - RATE_WINDOW, ""))
        best = (-fault_rate(lone, self._entities), 0, "")
        for identifier, (incident, some) in clues.items():
            best = min(best, (-fsum([score for score, _ in some]), incident.opened, identifier))
        if not best[2]:
            return NEW
        incident, some = clues[best[2]]
        nearest = min(some, key=lambda clue: (-clue[0], clue[1]))[1]
        return Placement(incident, -best[0], self._path(entity, nearest))

    def _declared(self, scope: _Scope, entity: str, at: Instant) -> _Clues:
        """Weigh hits at the entity itself and where the graph leads."""
        clues: _Clues = {}
        for name, reach, hits in self._near(scope, entity):
            for incident, hit in hits.values():
                score = same_score(at - hit.last) if reach.relation is Relation.SAME else spread_score(reach, at - hit.onset)
                if score > 0.0 and self._is_joinable(incident, at):
                    clues.setdefault(incident.id, (incident, []))[1].append((score * weight_of(hit.alerts), name))
        return clues

    def _add_undeclared(self, clues: _Clues, scope: _Scope, entity: str, *, at: Instant) -> None:
        """Weigh the newest hits of the scope as if there were an edge that nobody declared."""
        level, reaches = self._levels.get(entity), self.reaches_of(entity)
        end = bisect_left(scope.onsets, (at + UNSEEN_EARLY, "", ""))
        for onset, identifier, name in scope.onsets[max(0, end - SCAN_MOST) : end]:
            if at - onset > UNSEEN_LATE or name in reaches:
                continue
            incident, hit = scope.places[name][identifier]
            reach = unseen_reach(level, self._levels.get(name))
            score = spread_score(reach, at - onset)
            if score > 0.0 and self._is_joinable(incident, at):
                clues.setdefault(identifier, (incident, []))[1].append((score * weight_of(hit.alerts), name))

    def _near(self, scope: _Scope, entity: str) -> Iterator[tuple[str, Reach, dict[str, tuple[Incident, Hit]]]]:
        """Answer the entities within reach that have hits, going through whichever of the two is fewer."""
        places, reaches = scope.places, self.reaches_of(entity)
        if len(places) < len(reaches):
            for name, hits in places.items():
                if name in reaches:
                    yield name, reaches[name], hits
        else:
            for name, reach in reaches.items():
                if name in places:
                    yield name, reach, places[name]

    def _is_joinable(self, incident: Incident, at: Instant) -> bool:
        return incident.is_live and abs(at - incident.last_new) <= self._grouping.window

    def _path(self, entity: str, other: str) -> tuple[str, ...]:
        reaches, path = self.reaches_of(entity), [other]
        while path[-1] != entity:
            path.append(reaches[path[-1]].via if other in reaches else entity)
        return tuple(reversed(path))


def _discard(entries: list[_Entry], entry: _Entry) -> None:
    place = bisect_left(entries, entry)
    if place < len(entries) and entries[place] == entry:
        del entries[place]
