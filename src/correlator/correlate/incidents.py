"""The lifecycle of incidents: alerts join, incidents settle, recover, relapse and close, by the table in `model.incident`.

In: alerts that began or ended to count, and instants. Out: which incidents changed, and why.
Remembers incidents by id and when each must be woken.
"""

from heapq import heapify, heappop, heappush
from typing import Final

import msgspec
import xxhash

from correlator.model.incident import FINAL_STATES, IncidentMove, IncidentState, Why, next_incident_state
from correlator.model.instant import NEVER, Duration, Instant
from correlator.model.rule import RuleSet
from correlator.state.records import INCIDENT_PREFIX, Alert, Hit, Incident, Row, pack_incident, unpack_incident

_DOMAIN_DIGITS: Final = 4
INCIDENTS_MOST: Final = 100_000
"""With more incidents than this, those that are over are forgotten before their retention ends, the one due first first."""
MEMBERS_MOST: Final = 100_000
"""An incident with more alerts than this only counts the others."""
HITS_MOST: Final = 5_000
"""An incident with more entities than this takes note of no others: its root is among those that it has."""
WORST_MOST: Final = 10
"""So many members of the worst severity are sure to be listed, the first ones."""
_SWEEPS: Final = 64
# Names of members, since looking one up on its class costs more than a call of a small function (CPython 3.11).
_GUESSED, _RETURNED, _PENDING = Why.GUESSED, Why.RETURNED, IncidentState.PENDING
_EMPTIED: Final = IncidentMove.EMPTIED
_WHY_BY_MOVE: Final = {
    IncidentMove.SETTLED: Why.SETTLED,
    IncidentMove.RECOVERED: Why.RECOVERED,
    IncidentMove.RELAPSED: Why.RELAPSED,
    IncidentMove.STAYED_WELL: Why.STAYED_WELL,
    IncidentMove.EMPTIED: Why.EMPTIED,
}


class Joining(msgspec.Struct, frozen=True, gc=False):
    """What an incident must know of an alert that joins it. `severity` is a rank, larger is worse."""

    alert: Alert
    entity: str
    condition: str
    onset: Instant
    instant: Instant
    settle: Duration
    severity: int


class IncidentBook:
    """Incidents and their moves. What changed since the last `taken` is kept in order. Without `drafts` only what is over is written.

    `moves` has what incidents did as a whole, why and when; whoever writes it down empties it.
    """

    def __init__(self, rules: RuleSet, domain: str, *, drafts: bool = True, incidents_most: int = INCIDENTS_MOST) -> None:
        self.rules = rules
        self._drafts = drafts
        self.incidents: dict[str, Incident] = {}
        self.dirty: dict[str, Incident] = {}
        self.forgotten: list[str] = []
        self.moves: list[tuple[str, Why, Instant]] = []
        self._prefix = xxhash.xxh3_64_hexdigest(domain.encode())[:_DOMAIN_DIGITS]
        self._dues: list[tuple[Instant, str]] = []
        self._changed: dict[str, None] = {}
        self._owed: list[Incident] = []
        self._incidents_most = incidents_most
        self.evicted = 0

    def new(self, alert: Alert, scope: tuple[str, ...], onset: Instant) -> Incident:
        """Make an incident that begins with this alert; its id is derived from both."""
        self._make_room()
        seed = alert.fingerprint + onset.to_bytes(9, "big", signed=True)
        identifier = base = self._prefix + xxhash.xxh3_64_hexdigest(seed)
        copies = 1
        while identifier in self.incidents:
            copies += 1
            identifier = f"{base}-{copies}"
        incident = Incident(identifier, scope, opened=onset, updated=onset, last_new=onset, due=NEVER)
        self.incidents[identifier] = incident
        return incident

    def join(self, incident: Incident, joining: Joining, why: Why) -> Hit | None:
        """Let an alert count in an incident; answers the hit when its entity is new there, or began earlier than was known."""
        alert = joining.alert
        if not incident.members:
            incident.opened, incident.updated = joining.onset, joining.instant
            incident.last_new, incident.worst, incident.worst_members = joining.onset, 0, []
        if self._is_new(incident, alert):
            if len(incident.members) < MEMBERS_MOST:
                incident.members.append(alert.fingerprint)
            else:
                incident.unlisted += 1
            if alert.incident is not None:
                self._leave_former(alert)
        alert.incident = incident.id
        incident.firing += 1
        self._note_severity(incident, joining)
        if why is not _RETURNED:
            incident.last_new = max(incident.last_new, joining.onset)
        if incident.state is _PENDING:
            self._set_due(incident, min(incident.due, joining.instant + joining.settle))
        self._note(incident, why, joining.instant)
        return self._hit(incident, joining)

    def absorb(self, incident: Incident, other: Incident, instant: Instant) -> list[Hit]:
        """Take over all that a pending incident has, and withdraw it; answers the hits that are new here, or began earlier than was known.

        Whoever calls tells its alerts where they are now.
        """
        known, room = set(incident.members), MEMBERS_MOST - len(incident.members)
        new = [fingerprint for fingerprint in other.members if fingerprint not in known]
        incident.members += new[:room]
        incident.unlisted += other.unlisted + len(new[room:])
        incident.firing += other.firing
        incident.opened, incident.last_new = min(incident.opened, other.opened), max(incident.last_new, other.last_new)
        incident.has_lost |= other.has_lost
        incident.gone |= other.gone
        incident.guesses |= other.guesses
        if other.worst >= incident.worst:
            worst = incident.worst_members if other.worst == incident.worst else []
            incident.worst, incident.worst_members = other.worst, [*worst, *other.worst_members][:WORST_MOST]
        if incident.state is _PENDING:
            self._set_due(incident, min(incident.due, other.due))
        changed = [hit for theirs in other.hits.values() if (hit := self._merge(incident, theirs)) is not None]
        other.members, other.worst_members, other.firing, other.unlisted, other.hits, other.gone, other.guesses = [], [], 0, 0, {}, {}, {}
        self._note(incident, Why.MOVED, instant)
        self._note(other, Why.MOVED, instant)
        self._move(other, IncidentMove.EMPTIED, instant)
        self._set_due(other, instant + self.rules.retention.closed)
        return changed

    @staticmethod
    def move_alert(alert: Alert, other: Incident, incident: Incident) -> bool:
        """Tell an alert of an incident that was absorbed where it is now; answers whether it was there last."""
        is_there = alert.incident == other.id
        if is_there:
            alert.incident = incident.id
        if alert.guess == other.id:
            alert.guess = incident.id
        renamed = [incident.id if name == other.id else name for name in alert.former]
        alert.former = tuple(dict.fromkeys([name for name in renamed if name != alert.incident]))
        return is_there

    @staticmethod
    def _merge(incident: Incident, theirs: Hit) -> Hit | None:
        """Add what was seen at an entity; answers the hit when its entity is new here, or began earlier than was known."""
        hit = incident.hits.get(theirs.entity)
        if hit is None and len(incident.hits) < HITS_MOST:
            incident.hits[theirs.entity] = theirs
            return theirs
        if hit is None:
            return None
        hit.alerts += theirs.alerts
        hit.last = max(hit.last, theirs.last)
        if (theirs.onset, theirs.fingerprint) >= (hit.onset, hit.fingerprint):
            return None
        hit.onset, hit.condition, hit.fingerprint = theirs.onset, theirs.condition, theirs.fingerprint
        return hit

    def _note_severity(self, incident: Incident, joining: Joining) -> None:
        if joining.severity > incident.worst:
            incident.worst, incident.worst_members = joining.severity, []
        worst, fingerprint = incident.worst_members, joining.alert.fingerprint
        if joining.severity == incident.worst and len(worst) < WORST_MOST and not incident.unlisted and fingerprint not in worst:
            worst.append(fingerprint)

    def _leave_former(self, alert: Alert) -> None:
        names = dict.fromkeys([*alert.former, alert.incident or ""])
        known = [incident for name in names if (incident := self.incidents.get(name)) is not None]
        alert.former = tuple([incident.id for incident in known if self.is_unfinished(incident)])

    def is_unfinished(self, incident: Incident) -> bool:
        """Answer whether another document of it may be written."""
        return incident.state not in FINAL_STATES or incident.id in self.dirty or bool(incident.guesses)

    def touch(self, incident: Incident) -> None:
        """Note that an incident's row changed, and nothing that its document shows."""
        self._changed[incident.id] = None

    def _is_new(self, incident: Incident, alert: Alert) -> bool:
        """Answer whether an alert was never a member. Only where members were forgotten must the whole list be asked."""
        if alert.incident == incident.id or incident.id in alert.former:
            return False
        return not (incident.has_lost and alert.fingerprint in incident.members)

    def relapse(self, incident: Incident, instant: Instant) -> None:
        """Reopen a resolved incident."""
        self._move(incident, IncidentMove.RELAPSED, instant)
        self._set_due(incident, NEVER)

    def clear(self, incident: Incident, why: Why, instant: Instant) -> bool:
        """Note that one member no longer counts; answers whether that was the last and the incident recovered."""
        assert incident.firing > 0, f"{incident.id} has no firing member left to clear"
        incident.firing -= 1
        self._note(incident, why, instant)
        if incident.firing:
            return False
        self._move(incident, IncidentMove.RECOVERED, instant)
        self._set_due(incident, instant + self.rules.retention.close_after)
        return True

    def guess(self, incident: Incident, alert: Alert, effect: Instant) -> None:
        """List an alert before it is judged."""
        incident.guesses[alert.fingerprint] = effect
        alert.guess = incident.id
        self._note(incident, _GUESSED, incident.updated if incident.members else effect)

    def drop_guess(self, incident: Incident, alert: Alert) -> bool:
        """Take an alert off the list of guesses; answers whether it stood there. A map that was full and is empty would keep its size."""
        alert.guess = None
        if incident.guesses.pop(alert.fingerprint, None) is None:
            return False
        incident.guesses = incident.guesses or {}
        return True

    def sketch(self, incident: Incident, joining: Joining) -> Hit | None:
        """Note where a guessed alert lies, in an incident made of guesses alone; answers the hit as `join` does."""
        incident.worst = max(incident.worst, joining.severity)
        return self._hit(incident, joining)

    def guessed_until(self, alert: Alert) -> Instant:
        """Answer when the turn is judged for which an alert was guessed, `NEVER` when nothing is guessed of it."""
        incident = self.incidents.get(alert.guess or "")
        return incident.guesses.get(alert.fingerprint, NEVER) if incident is not None else NEVER

    def unguess(self, alert: Alert, instant: Instant) -> Incident | None:
        """Take back what was guessed of an alert; an incident made of guesses alone is withdrawn with its last, and answered."""
        incident = self.incidents.get(alert.guess or "")
        if incident is None or not self.drop_guess(incident, alert):
            alert.guess = None
            return None
        if incident.members or incident.guesses:
            self._note(incident, Why.MOVED, incident.updated)
            return None
        self._move(incident, IncidentMove.EMPTIED, instant)
        self._set_due(incident, instant + self.rules.retention.closed)
        return incident

    def next_due(self) -> Instant:
        """Answer when the next incident is due, `NEVER` when there is none."""
        while self._dues:
            due, identifier = self._dues[0]
            incident = self.incidents.get(identifier)
            if incident is not None and incident.due == due:
                return due
            heappop(self._dues)
        return NEVER

    def wake(self, instant: Instant) -> Incident:
        """Move the incident that is due: settle, close, or forget it."""
        incident = self.incidents[heappop(self._dues)[1]]
        if incident.state is IncidentState.PENDING:
            self._move(incident, IncidentMove.SETTLED, instant)
            incident.was_open = True
            self._set_due(incident, NEVER)
        elif incident.state is IncidentState.RESOLVED:
            self._move(incident, IncidentMove.STAYED_WELL, instant)
            self._set_due(incident, instant + self.rules.retention.closed)
        elif incident.id in self.dirty:
            self._owed.append(incident)
        else:
            assert incident.state in FINAL_STATES, f"{incident.id} is {incident.state} and was woken"
            self._forget(incident)
        return incident

    def _forget(self, incident: Incident) -> None:
        del self.incidents[incident.id]
        self.forgotten.append(incident.id)
        self._changed[incident.id] = None

    def _make_room(self) -> None:
        """Forget incidents that are over when there are too many.

        Whether to look depends on their number alone, so that a restored machine looks at the same moments.
        """
        excess, share = len(self.incidents) - self._incidents_most, self._incidents_most // _SWEEPS + 1
        if excess < 0 or excess % share:
            return
        over = [
            (incident.due, incident.id)
            for incident in self.incidents.values()
            if incident.state in FINAL_STATES and incident.id not in self.dirty
        ]
        for _, identifier in sorted(over)[: excess + share]:
            self._forget(self.incidents[identifier])
            self.evicted += 1

    def taken(self) -> list[Incident]:
        """Answer the incidents to write, which changed since the last call, each with its `why`, and its revision moved on.

        One that was due to be forgotten before its last change was written is due again.
        """
        known = [incident for incident in self.dirty.values() if incident.id in self.incidents]
        changed = known if self._drafts else [incident for incident in known if incident.state in FINAL_STATES]
        for incident in changed:
            incident.revision += 1
            self._changed[incident.id] = None
        self.dirty = {}
        for incident in self._owed:
            heappush(self._dues, (incident.due, incident.id))
        self._owed = []
        return changed

    @property
    def last_pending(self) -> Instant:
        """When the last of the pending incidents opens, 0 when none is pending."""
        return max(
            [incident.due for incident in self.incidents.values() if incident.state is IncidentState.PENDING and incident.members],
            default=0,
        )

    @property
    def changed(self) -> int:
        """How many rows changed since the last call of `rows`."""
        return len(self._changed)

    def rows(self) -> list[Row]:
        """Answer the rows that changed since the last call."""
        rows: list[Row] = []
        for identifier in self._changed:
            incident = self.incidents.get(identifier)
            rows.append(pack_incident(incident) if incident is not None else (INCIDENT_PREFIX + identifier.encode(), None))
        self._changed = {}
        return rows

    def restore(self, values: list[bytes]) -> None:
        """Take over incidents from their rows."""
        for value in values:
            incident = unpack_incident(value)
            self.incidents[incident.id] = incident
            self._dues.append((incident.due, incident.id))
        heapify(self._dues)

    def _hit(self, incident: Incident, joining: Joining) -> Hit | None:
        return self._merge(incident, Hit(joining.entity, joining.onset, joining.onset, joining.condition, joining.alert.fingerprint))

    def _set_due(self, incident: Incident, due: Instant) -> None:
        if due != incident.due:
            incident.due = due
            if due < NEVER:
                heappush(self._dues, (due, incident.id))

    def _move(self, incident: Incident, move: IncidentMove, instant: Instant) -> None:
        incident.state = next_incident_state(incident.state, move)
        if move is not _EMPTIED:  # told by the decisions on those who left it; that a guess was untrue is none
            self.moves.append((incident.id, _WHY_BY_MOVE[move], instant))
        self._note(incident, _WHY_BY_MOVE[move], instant)

    def _note(self, incident: Incident, why: Why, instant: Instant) -> None:
        incident.updated = max(incident.updated, instant)
        if incident.id not in self.dirty:
            self.dirty[incident.id] = incident
            if self._drafts:
                incident.why = []  # what led to the document before
        if why not in incident.why:
            incident.why.append(why)
