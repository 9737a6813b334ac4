"""Group: which incident a newly firing alert joins, or none: then it is a new fault.

In: an entity and an instant. Out: a `Placement`. Remembers where live incidents have hits, by scope and entity; all of it is
rebuilt from the incidents.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import fsum
from typing import Final

import msgspec

from correlator.correlate.score import (
    NEW_FAULT,
    UNSEEN_EARLY,
    UNSEEN_LATE,
    Reach,
    Relation,
    levels_of,
    reaches_from,
    same_score,
    scores_of,
    spread_score,
    unseen_reach,
    weight_of,
    window_of,
)
from correlator.model.incident import IncidentState
from correlator.model.instant import Duration, Instant
from correlator.model.rule import Grouping
from correlator.model.topology import Topology
from correlator.state.records import Hit, Incident

SCAN_MOST: Final = 64
"""Only this many of the newest hits of a scope are weighed where no path is declared."""
REMEMBERED_MOST: Final = 5_000
"""The surroundings of this many entities are remembered; then they are found anew."""
BUSY_FROM: Final = 8
"""With so many alerts an entity is likely to show more: what lies near it is remembered."""
LOOKS_MOST: Final = 1_000
"""After so many looks around, what was seen near is forgotten and found anew: this many places have been looked at, at most."""
_EXPLAINED: Final = 1e-3
"""A declared cause at least this likely makes the search for an undeclared one needless."""


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where an alert belongs. `incident` is None for a new fault; `nearest` is the entity of the hit that speaks most for it."""

    incident: Incident | None = None
    score: float = 0.0
    nearest: str = ""


NEW: Final = Placement()
_PENDING = IncidentState.PENDING
_CHANCE: Final = (-NEW_FAULT, 0, b"", "")
"""What a case must rank below: by the sum of its scores, negative, when its incident began, that one's first member, and its id."""

_Found = tuple[Reach, Incident, Hit]
"""A hit of an incident, and how it lies to the entity that asks."""


class _Near(msgspec.Struct, frozen=True, gc=False):
    """The hits within reach of an entity, its own among them, if one incident has them all."""

    hits: list[tuple[Reach, Hit]]
    only: Incident | None = None
    own: Hit | None = None


_NOT_LOOKED: Final = _Near([])
"""Stands for what is near to an entity that shows little or reaches too many."""
_Place = tuple[tuple[str, ...], str]
"""An entity in one copy of the graph."""
_Places = dict[str, dict[str, tuple[Incident, Hit]]]
"""Hits of live incidents by entity and incident id."""
_NOWHERE: Final[dict[str, tuple[Incident, Hit]]] = {}
_Entry = tuple[Instant, str, str]
"""When a hit began, its entity and its incident: in this order, since ids may come from a guess."""


class _Case(msgspec.Struct, gc=False):
    """What speaks for an incident: the scores of its hits, the largest of them, and the entity of the hit that gives it."""

    incident: Incident
    scores: list[float]
    largest: float
    nearest: str


_Cases = dict[str, _Case]
"""By incident id, only those for which anything speaks."""
_Scored = tuple[float, Incident, Hit]
"""How much a hit speaks for its incident."""


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
        self._near: dict[_Place, _Near] = {}
        self._seers: dict[_Place, list[_Place]] = {}
        self._looks = 0
        self._levels = levels_of(topology)

    def add(self, incident: Incident, hit: Hit) -> None:
        """Note that an incident has a hit at an entity, or that the hit's onset moved."""
        self._places.setdefault(incident.scope, {}).setdefault(hit.entity, {})[incident.id] = (incident, hit)
        self._overlook((incident.scope, hit.entity))
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
            self._overlook((incident.scope, entity))
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

    def _near_of(self, entity: str, scope: tuple[str, ...]) -> _Near:
        """Answer the hits within reach of an entity that shows alert after alert and reaches few; `_NOT_LOOKED` for any other.

        They are found anew when one of them came or went, not for each alert: with few alerts between, that would cost more than it saves.
        """
        here = self._places[scope].get(entity, _NOWHERE)
        if len(here) != 1:
            return _NOT_LOOKED
        [(_, hit)] = here.values()
        if hit.alerts < BUSY_FROM:
            return _NOT_LOOKED
        near = self._near.get((scope, entity))
        return near if near is not None else self._look_around(entity, scope)

    def _look_around(self, entity: str, scope: tuple[str, ...]) -> _Near:
        places, reaches = self._places[scope], self.reaches_of(entity)
        self._looks += 1
        if self._looks > LOOKS_MOST:  # counts what is remembered of who reaches a place, which outlives what is near
            self._near, self._seers, self._looks = {}, {}, 1
        near = _NOT_LOOKED
        if len(reaches) <= SCAN_MOST:
            near = _near([(reach, *found) for name, reach in reaches.items() if name in places for found in places[name].values()])
            for name in reaches:
                self._seers.setdefault((scope, name), []).append((scope, entity))
        self._near[scope, entity] = near
        return near

    def _overlook(self, place: _Place) -> None:
        """Forget what was near to whoever reaches a place: a hit came there, moved or went."""
        for seer in self._seers.pop(place, ()):
            self._near.pop(seer, None)

    def place(self, entity: str, scope: tuple[str, ...], at: Instant) -> Placement:
        """Choose the incident whose hits together explain the alert best, if better than chance does; equals go to the older one."""
        if scope not in self._places:
            return NEW
        near = self._near_of(entity, scope)
        if near.only is not None and self._is_joinable(near.only, at):
            placement = self._only_one(near, at)
            if placement is not None:
                return placement
        cases = self._declared(entity, scope, at)
        if not _is_explained(cases):
            self._add_undeclared(cases, scope, entity, at=at)
        return _best(cases)

    def explain(self, entity: str, scope: tuple[str, ...], at: Instant) -> Incident | None:
        """Answer the incident that `place` chooses, if a declared path explains the alert; the rest of what `place` weighs is left out."""
        if scope not in self._places:
            return None
        near = self._near_of(entity, scope)
        if near.only is not None and near.own is not None and self._is_joinable(near.only, at):  # the common case
            is_likely = same_score(at - near.own.last) * weight_of(near.own.alerts) >= _EXPLAINED
            if is_likely:
                return near.only
        cases = self._declared(entity, scope, at)
        return _best(cases).incident if _is_explained(cases) else None

    def effects_of(self, incident: Incident, hit: Hit) -> list[Incident]:
        """Answer the pending incidents that a new hit of this one explains by what began them: they alerted before their cause did."""
        places, reaches = self._places[incident.scope], self.reaches_of(hit.entity)
        near = [name for name in places if name in reaches] if len(places) < len(reaches) else [name for name in reaches if name in places]
        found = [
            other
            for name in near
            for other, theirs in places[name].values()
            if other.state is _PENDING and other is not incident and theirs is _first(other) and self._is_effect(theirs, incident, hit)
        ]
        return sorted(found, key=lambda other: other.seniority)

    def _is_effect(self, theirs: Hit, incident: Incident, hit: Hit) -> bool:
        """Answer whether a hit is likelier an effect of another one than a fault of its own."""
        reach = self.reaches_of(theirs.entity).get(hit.entity)
        if reach is None or reach.relation is not Relation.CAUSE or not self._is_joinable(incident, theirs.onset):
            return False
        return spread_score(reach, theirs.onset - hit.onset) * weight_of(hit.alerts) > NEW_FAULT

    @staticmethod
    def _only_one(near: _Near, at: Instant) -> Placement | None:
        """Answer what `place` does where one incident has all hits within reach, and one of them explains the alert: the common case."""
        scores = scores_of(near.hits, at)
        largest = max(scores)
        if largest < _EXPLAINED:
            return None
        nearest = min([hit.entity for score, (_, hit) in zip(scores, near.hits, strict=True) if score == largest])
        return Placement(near.only, fsum(scores), nearest)

    def _declared(self, entity: str, scope: tuple[str, ...], at: Instant) -> _Cases:
        """Weigh hits at the entity itself and where the graph leads: of all hits of the scope, those whose time could fit."""
        found, cases = self._hits_near(entity, scope, at), _Cases()
        scores = scores_of([(reach, hit) for reach, _, hit in found], at)
        self._weigh([(score, incident, hit) for score, (_, incident, hit) in zip(scores, found, strict=True)], cases, at)
        return cases

    def _add_undeclared(self, cases: _Cases, scope: tuple[str, ...], entity: str, *, at: Instant) -> None:
        """Weigh the newest hits of the scope as if there were an edge that nobody declared."""
        level, reaches, scored = self._levels.get(entity), self.reaches_of(entity), list[_Scored]()
        places, newest = self._places[scope], self._onsets[scope].hits
        end = bisect_left(newest, (at + UNSEEN_EARLY, "", ""))
        for onset, name, identifier in newest[max(0, end - SCAN_MOST) : end]:
            if at - onset <= UNSEEN_LATE and name not in reaches:
                reach = unseen_reach(level, self._levels.get(name))
                incident, hit = places[name][identifier]
                scored.append((spread_score(reach, at - onset) * weight_of(hit.alerts), incident, hit))
        self._weigh(scored, cases, at)

    def _hits_near(self, entity: str, scope: tuple[str, ...], at: Instant) -> list[_Found]:
        """Answer the hits at an entity and within its reach; where that is shorter than asking each, only those whose time could fit."""
        places, (reaches, (low, high)) = self._places[scope], self._reaches_and_window_of(entity)
        if len(reaches) > SCAN_MOST:
            hits = self._onsets[scope].hits
            low, high = bisect_left(hits, (at - high, "", "")), bisect_left(hits, (at - low + 1, "", ""))
            if high - low <= len(reaches):
                others = [(name, identifier) for _, name, identifier in hits[low:high] if name in reaches and name != entity]
                own = [(reaches[entity], *found) for found in places.get(entity, _NOWHERE).values()]
                return [*own, *[(reaches[name], *places[name][identifier]) for name, identifier in others]]
        return [(reach, *found) for name, reach in reaches.items() if name in places for found in places[name].values()]

    def _weigh(self, scored: Iterable[_Scored], cases: _Cases, at: Instant) -> None:
        """Add what hits say to the cases of their incidents, as far as these may still be joined."""
        for score, incident, hit in scored:
            if score <= 0.0:
                continue
            case = cases.get(incident.id)
            if case is not None:
                case.scores.append(score)
                if score > case.largest or (score == case.largest and hit.entity < case.nearest):
                    case.largest, case.nearest = score, hit.entity
            elif self._is_joinable(incident, at):
                cases[incident.id] = _Case(incident, [score], score, hit.entity)

    def _is_joinable(self, incident: Incident, at: Instant) -> bool:
        return abs(at - incident.last_new) <= self._grouping.window and incident.is_live

    def path(self, entity: str, other: str) -> tuple[str, ...]:
        """Name the entities from one to another, as far as the graph says; both included."""
        if other == entity:
            return (entity,)
        reaches, path = self.reaches_of(entity), [other]
        while path[-1] != entity:
            path.append(reaches[path[-1]].via if other in reaches else entity)
        return tuple(reversed(path))


def _near(found: list[_Found]) -> _Near:
    """Sort out what was found within reach of an entity that has hits itself."""
    if len({incident.id for _, incident, _ in found}) > 1:
        return _NOT_LOOKED
    return _Near([(reach, hit) for reach, _, hit in found], *found[0][1:])  # its own comes first


def _is_explained(cases: _Cases) -> bool:
    """Answer whether a declared cause is so likely that the search for an undeclared one is needless."""
    return max([case.largest for case in cases.values()], default=0.0) >= _EXPLAINED


def _best(cases: _Cases) -> Placement:
    """Choose by the sum of scores; equals go to the older incident."""
    ranks = [(-fsum(case.scores), *case.incident.seniority, identifier) for identifier, case in cases.items()]
    best = min(ranks, default=_CHANCE)
    if best >= _CHANCE:
        return NEW
    case = cases[best[3]]
    return Placement(case.incident, -best[0], case.nearest)


def _first(incident: Incident) -> Hit:
    """Answer the hit that began an incident."""
    return min(incident.hits.values(), key=lambda hit: (hit.onset, hit.entity))


def _discard(entries: list[_Entry], entry: _Entry) -> None:
    place = bisect_left(entries, entry)
    if place < len(entries) and entries[place] == entry:
        del entries[place]
