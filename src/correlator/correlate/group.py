"""Group: which incident a newly firing alert joins, or none: then it is a new fault.

In: an entity and an instant. Out: a `Placement`. Remembers where live incidents have hits, by scope and entity; all of it is
rebuilt from the incidents.
"""

from bisect import bisect_left, insort
from math import fsum
from typing import Final

import msgspec

from correlator.correlate.score import (
    NEW_FAULT,
    UNSEEN_EARLY,
    UNSEEN_LATE,
    Reach,
    levels_of,
    reaches_from,
    same_score,
    spread_score,
    unseen_reach,
    weight_of,
    window_of,
)
from correlator.model.instant import Duration, Instant
from correlator.model.rule import Grouping
from correlator.model.topology import Topology
from correlator.state.records import Hit, Incident

SCAN_MOST: Final = 64
"""Only this many of the newest hits of a scope are weighed where no path is declared."""
REMEMBERED_MOST: Final = 5_000
"""The surroundings of this many entities are remembered; then they are found anew."""
_EXPLAINED: Final = 1e-3
"""A declared cause at least this likely makes the search for an undeclared one needless."""


class Placement(msgspec.Struct, frozen=True):
    """Where an alert belongs. `incident` is None for a new fault; `nearest` is the entity of the hit that speaks most for it."""

    incident: Incident | None = None
    score: float = 0.0
    nearest: str = ""


NEW: Final = Placement()

_Places = dict[str, dict[str, tuple[Incident, Hit]]]
"""Hits of live incidents by entity and incident id."""
_Clues = dict[str, tuple[Incident, list[tuple[float, str]]]]
"""What speaks for each incident, by its id: scores, each with the entity of the hit that gives it."""
_NOWHERE: Final[dict[str, tuple[Incident, Hit]]] = {}
_Entry = tuple[Instant, str, str]
"""When a hit began, its entity and its incident: in this order, since ids may come from a guess."""


class _Onsets(msgspec.Struct):
    """When the hits of one copy of the graph began: in order, so that the newest are found, and by entity and incident."""

    hits: list[_Entry] = []
    by_hit: dict[tuple[str, str], Instant] = {}


class Grouper:
    """Finds the incident that best explains an alert. Rebuilt at restore by adding all hits of live incidents, in any order."""

    def __init__(self, topology: Topology, grouping: Grouping) -> None:
        self._topology = topology
        self._grouping = grouping
        self._places: dict[tuple[str, ...], _Places] = {}
        self._onsets: dict[tuple[str, ...], _Onsets] = {}
        self._reaches: dict[str, tuple[dict[str, Reach], tuple[Duration, Duration]]] = {}
        self._levels = levels_of(topology)

    def add(self, incident: Incident, hit: Hit) -> None:
        """Note that an incident has a hit at an entity, or that the hit's onset moved."""
        self._places.setdefault(incident.scope, {}).setdefault(hit.entity, {})[incident.id] = (incident, hit)
        onsets, key = self._onsets.setdefault(incident.scope, _Onsets()), (hit.entity, incident.id)
        onset = onsets.by_hit.get(key)
        if onset != hit.onset:
            if onset is not None:
                _discard(onsets.hits, (onset, *key))
            insort(onsets.hits, (hit.onset, *key))
            onsets.by_hit[key] = hit.onset

    def remove(self, incident: Incident) -> None:
        """Forget all hits of an incident that nobody can join any more."""
        places, onsets = self._places.get(incident.scope, {}), self._onsets.get(incident.scope, _Onsets())
        for entity in incident.hits:
            here = places.get(entity, {})
            here.pop(incident.id, None)
            if not here:
                places.pop(entity, None)
            onset = onsets.by_hit.pop((entity, incident.id), None)
            if onset is not None:
                _discard(onsets.hits, (onset, entity, incident.id))
        if not places:
            # Splits that come and go leave nothing behind.
            self._places.pop(incident.scope, None)
            self._onsets.pop(incident.scope, None)

    def reaches_of(self, entity: str) -> dict[str, Reach]:
        """Answer every entity within reach of one, nearest first."""
        return self._reaches_and_window_of(entity)[0]

    def _reaches_and_window_of(self, entity: str) -> tuple[dict[str, Reach], tuple[Duration, Duration]]:
        known = self._reaches.get(entity)
        if known is None:
            if len(self._reaches) >= REMEMBERED_MOST:
                self._reaches.clear()
            reaches = reaches_from(self._topology, entity, self._grouping.hops)
            known = self._reaches[entity] = (reaches, window_of(reaches.values()))
        return known

    def place(self, entity: str, scope: tuple[str, ...], at: Instant) -> Placement:
        """Choose the incident whose hits together explain the alert best, if better than chance does; equals go to the older one."""
        places = self._places.get(scope)
        if places is None:
            return NEW
        clues = self._declared(places, scope, entity, at=at)
        if all(score < _EXPLAINED for _, some in clues.values() for score, _ in some):
            self._add_undeclared(clues, scope, entity, at=at)
        best = (-NEW_FAULT, 0, b"", "")
        for identifier, (incident, some) in clues.items():
            # Equals go by their first member: ids may come from a guess, which must not decide anything.
            best = min(best, (-fsum([score for score, _ in some]), incident.opened, next(iter(incident.members), b""), identifier))
        if not best[3]:
            return NEW
        incident, some = clues[best[3]]
        nearest = min(some, key=lambda clue: (-clue[0], clue[1]))[1]
        return Placement(incident, -best[0], nearest)

    def _declared(self, places: _Places, scope: tuple[str, ...], entity: str, *, at: Instant) -> _Clues:
        """Weigh hits at the entity itself and where the graph leads: of all hits of the scope, those whose time could fit."""
        clues: _Clues = {}
        for incident, hit in places.get(entity, _NOWHERE).values():
            if self._is_joinable(incident, at):
                _weigh(clues, incident, hit, score=same_score(at - hit.last))
        reaches, (low, high) = self._reaches_and_window_of(entity)
        for incident, hit in self._hits_within(reaches, scope, at - high, last=at - low):
            name = hit.entity
            if name != entity and self._is_joinable(incident, at):
                _weigh(clues, incident, hit, score=spread_score(reaches[name], at - hit.onset))
        return clues

    def _add_undeclared(self, clues: _Clues, scope: tuple[str, ...], entity: str, *, at: Instant) -> None:
        """Weigh the newest hits of the scope as if there were an edge that nobody declared."""
        level, reaches = self._levels.get(entity), self.reaches_of(entity)
        places, newest = self._places[scope], self._onsets[scope].hits
        end = bisect_left(newest, (at + UNSEEN_EARLY, "", ""))
        for onset, name, identifier in newest[max(0, end - SCAN_MOST) : end]:
            if at - onset > UNSEEN_LATE or name in reaches:
                continue
            incident, hit = places[name][identifier]
            if self._is_joinable(incident, at):
                _weigh(clues, incident, hit, score=spread_score(unseen_reach(level, self._levels.get(name)), at - onset))

    def _hits_within(
        self, reaches: dict[str, Reach], scope: tuple[str, ...], first: Instant, *, last: Instant
    ) -> list[tuple[Incident, Hit]]:
        """Answer the hits of these entities whose onset lies between two instants, both included; whichever index is shorter is walked."""
        places, hits = self._places[scope], self._onsets[scope].hits
        low, high = bisect_left(hits, (first, "", "")), bisect_left(hits, (last + 1, "", ""))
        if high - low <= len(reaches):
            return [places[name][identifier] for _, name, identifier in hits[low:high] if name in reaches]
        known = [places[name].values() for name in reaches if name in places]
        return [found for here in known for found in here if first <= found[1].onset <= last]

    def _is_joinable(self, incident: Incident, at: Instant) -> bool:
        return abs(at - incident.last_new) <= self._grouping.window and incident.is_live

    def path(self, entity: str, other: str) -> tuple[str, ...]:
        """Name the entities from one to another, as far as the graph says; both included."""
        reaches, path = self.reaches_of(entity), [other]
        while path[-1] != entity:
            path.append(reaches[path[-1]].via if other in reaches else entity)
        return tuple(reversed(path))


def _weigh(clues: _Clues, incident: Incident, hit: Hit, *, score: float) -> None:
    if score > 0.0:
        clues.setdefault(incident.id, (incident, []))[1].append((score * weight_of(hit.alerts), hit.entity))


def _discard(entries: list[_Entry], entry: _Entry) -> None:
    place = bisect_left(entries, entry)
    if place < len(entries) and entries[place] == entry:
        del entries[place]
