"""The correlate machine: frames in, documents out, state as rows. Nothing else reaches it: no clock, no chance, no I/O.

The order of the stages, read top to bottom: rows are received, time moves, turns and timers up to the position are judged in
order (lifecycle -> group -> incidents), what cannot be judged yet is guessed, and what changed is rendered, once a frame.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from correlator.correlate.change import Change, ChangeKind
from correlator.correlate.diagnose import STAND_IN, Cause, diagnose
from correlator.correlate.group import NEW, Grouper, Placement
from correlator.correlate.incidents import IncidentBook, Joining
from correlator.correlate.lifecycle import Lifecycle
from correlator.correlate.render import Stretch, incident_document, listed_members, move_decisions, rule_named, severity_rank, stretch_of
from correlator.correlate.sources import Sources
from correlator.frames.control import Control, read_control
from correlator.frames.frame import Frame, FrameKind
from correlator.model.alert import AlertState, Status
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Verdict
from correlator.model.incident import FINAL_STATES, Decision, IncidentDocument, IncidentState, Why
from correlator.model.instant import MINUTE, NEVER, Duration, Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.state.records import (
    ALERT_PREFIX,
    INCIDENT_PREFIX,
    MACHINE_KEY,
    ROW_VERSION,
    TURN_PREFIX,
    Alert,
    Gone,
    Hit,
    Incident,
    Row,
    check_row_version,
)

SERIES_MEMORY: Final[Duration] = 15 * MINUTE
"""An alert that fires again within this time of its end belongs to the incident it was in."""
CAUSES_KEPT: Final = 1_000
"""Incidents whose root causes are remembered from one document to the next; those of others are found anew."""
_ENDS: Final = (Why.CLEARED, Why.EXPIRED, Why.HOLD_NOT_MET)
# Names of members, since looking one up on its class costs more than a call of a small function (CPython 3.11).
_BEGAN, _ENDED, _GONE = ChangeKind.BEGAN, ChangeKind.ENDED, ChangeKind.GONE
_NEW_FAULT, _JOINED, _RETURNED = Why.NEW_FAULT, Why.JOINED, Why.RETURNED
_FIRING, _RESOLVED = Status.FIRING, AlertState.RESOLVED
_PACK: Final = msgspec.msgpack.Encoder().encode


class Effects(msgspec.Struct):
    """What one step wants written: whole documents by key (None: a tombstone), and decisions to append.

    `alerts` holds the alerts themselves, to be described by `alert_document` before the next step if at all: a replay does without.
    `stretches` holds every firing stretch that ended, also those that another stretch of the same frame hides in `alerts`.
    `resolved_early` counts items to be flagged as resolved before firing; intake, without memory, flagged only those that say so.
    `moved` names for incidents that were absorbed those that they became part of, in order.
    """

    incidents: dict[str, IncidentDocument | None] = {}
    alerts: dict[bytes, Alert | None] = {}
    decisions: list[Decision] = []
    stretches: list[Stretch] = []
    resolved_early: int = 0
    moved: dict[str, str] = {}


class _MachineRow(msgspec.Struct, array_like=True):
    version: int
    position: Instant
    now: Instant
    order: int
    watermarks: dict[str, Instant]
    verdicts: dict[Verdict, int]
    control: Control
    ignored: dict[str, Instant]
    ended: dict[str, Instant]
    spoke_last: str = ""


class Machine:
    """Correlates one domain. Equal frames give equal effects and equal rows, byte for byte.

    Without `guesses` nothing is said of turns before they are judged. Without `drafts` effects hold only what is final: stretches
    that ended and incidents that are over; `open_incidents` and `open_stretches` answer the rest. A replay needs neither.
    """

    def __init__(
        self, control: Control | None = None, *, domain: str = "default", guesses: bool = True, drafts: bool = True, decisions: bool = True
    ) -> None:
        self.control = control if control is not None else Control(RuleSet(), Topology())
        self._digest = self.control.digest
        self.position: Instant = 0
        self.sources = Sources(self.control.rules.time.max_hold)
        self.lifecycle = Lifecycle(self.control.rules)
        self.book = IncidentBook(self.control.rules, domain, drafts=drafts)
        self._rebuild_groups()
        self._guesses = guesses
        self._drafts = drafts
        self._decides = decisions
        self._causes: dict[str, list[Cause]] = {}
        self._noted: dict[bytes, Alert] = {}
        self._decisions: list[Decision] = []
        self._stretches: list[Stretch] = []
        self._moved: dict[str, str] = {}

    def step(self, frame: Frame) -> Effects:
        """Take the next frame of the log; answer what to write."""
        if frame.kind is FrameKind.CONTROL:
            self._adopt(read_control(frame.control))
            return Effects()
        self.lifecycle.receive(frame, self.position)
        for alert in self.lifecycle.noted:
            self._noted[alert.fingerprint] = alert
            if alert.fingerprint not in self.lifecycle.alerts:
                self._remember(alert)
        self.sources.advance(frame.source, frame.watermark, frame.kind)
        reorder = max(self.control.rules.time.reorder, 1)
        self._advance(self.sources.now - reorder)
        if frame.kind is FrameKind.END and not self.sources.live:
            self._settle_all(reorder)
        if self._guesses:
            self._guess_arrivals()
        return self._rendered()

    @property
    def verdicts(self) -> Mapping[Verdict, int]:
        """Final verdicts of all items so far; with `waiting` they add up to all items that frames brought."""
        return self.lifecycle.verdicts

    @property
    def open_stretches(self) -> list[Stretch]:
        """Stretches that have not ended, in the order their alerts were met."""
        return [stretch_of(alert) for alert in self.lifecycle.alerts.values() if alert.state is not _RESOLVED]

    @property
    def open_incidents(self) -> list[IncidentDocument]:
        """Incidents that are not over, as they stand, in the order they began."""
        return [self._described(incident) for incident in self.book.incidents.values() if incident.state not in FINAL_STATES]

    def is_pending(self, identifier: str) -> bool:
        """Answer whether an incident may still become one with another."""
        incident = self.book.incidents.get(identifier)
        return incident is not None and incident.state is IncidentState.PENDING

    @property
    def waiting(self) -> int:
        """Items that are not judged yet."""
        return self.lifecycle.waiting

    @property
    def changed_rows(self) -> int:
        """How many rows the next checkpoint would hold, about."""
        return self.lifecycle.changed + self.book.changed

    @property
    def row_counts(self) -> tuple[int, int, int]:
        """How many alerts, incidents and waiting turns there are."""
        return len(self.lifecycle.alerts), len(self.book.incidents), self.lifecycle.turns

    @property
    def evicted(self) -> tuple[int, int]:
        """How many alerts and incidents this machine forgot before their retention ended, because there were too many."""
        return self.lifecycle.evicted, self.book.evicted

    def rows(self) -> list[Row]:
        """Answer the rows that changed since the last call; all of them together are the whole state."""
        row = _MachineRow(
            ROW_VERSION,
            self.position,
            self.sources.now,
            self.lifecycle.order,
            self.sources.watermarks,
            self.lifecycle.verdicts,
            self.control,
            self.sources.ignored,
            self.sources.ended,
            self.sources.spoke_last,
        )
        return [*self.lifecycle.rows(), *self.book.rows(), (MACHINE_KEY, _PACK(row))]

    def restore(self, rows: Mapping[bytes, bytes]) -> None:
        """Take over the state that rows describe; the machine must be new."""
        if MACHINE_KEY in rows:
            check_row_version(rows[MACHINE_KEY])
            self._restore_machine(msgspec.msgpack.decode(rows[MACHINE_KEY], type=_MachineRow))
        self.lifecycle.restore([(key, value) for key, value in rows.items() if key[:1] in (ALERT_PREFIX, TURN_PREFIX)])
        self.book.restore([value for key, value in sorted(rows.items()) if key[:1] == INCIDENT_PREFIX])
        self._rebuild_groups()

    def _restore_machine(self, row: _MachineRow) -> None:
        self._adopt(row.control)
        self.position, self.sources.now, self.lifecycle.order = row.position, row.now, row.order
        self.sources.watermarks, self.sources.ignored, self.sources.ended = row.watermarks, row.ignored, row.ended
        self.sources.spoke_last = row.spoke_last
        self.lifecycle.verdicts = {verdict: row.verdicts.get(verdict, 0) for verdict in Verdict}

    def _adopt(self, control: Control) -> None:
        """Swap rules and topology; alerts and incidents under way are kept."""
        self.control, self._digest = control, control.digest
        self.sources.max_hold = control.rules.time.max_hold
        self.book.rules = control.rules
        self.lifecycle.adopt(control.rules)
        self._causes = {}
        self._rebuild_groups()

    def _rebuild_groups(self) -> None:
        self._grouper, self._guesser = [Grouper(self.control.topology, self.control.rules.grouping) for _ in range(2)]
        for incident in [incident for incident in self.book.incidents.values() if incident.is_live]:
            self._index(incident)

    def _index(self, incident: Incident) -> None:
        for hit in incident.hits.values():
            (self._grouper if incident.members else self._guesser).add(incident, hit)

    # Judgement, in order

    def _advance(self, position: Instant) -> None:
        lifecycle, book, last = self.lifecycle, self.book, min(position, NEVER - 1)
        incident_due = book.next_due()
        while True:
            alert_due = lifecycle.next_instant()
            if alert_due > last and incident_due > last:
                break
            self.position = max(self.position, min(alert_due, incident_due))
            if alert_due <= incident_due:
                change = lifecycle.advance(self.position)
                if change is None:
                    continue
                self._apply(change)
            else:
                self._wake_incident()
            incident_due = book.next_due()
        self.position = max(self.position, position)
        self._drop_guesses()

    def _settle_all(self, reorder: Duration) -> None:
        """Move time on until nothing is pending: all recordings have ended, and what lies behind an earlier end must not wait for ever."""
        while (due := max(self.lifecycle.last_turn, self.book.last_pending)) > self.position:
            self.sources.now = max(self.sources.now, due + reorder)
            self._advance(due)

    def _apply(self, change: Change) -> None:
        alert = change.alert
        if change.former:
            self._keep_stretch(alert, change.former)
        if self._drafts:
            self._noted[alert.fingerprint] = alert
        if change.why in _ENDS:
            self._stretches.append(stretch_of(alert))
        kind = change.kind
        if kind is _BEGAN:
            self._begin(alert, change)
        elif kind is _ENDED:
            self._end(alert, change)
        elif kind is _GONE:
            self._remember(alert)
        else:
            self._decide(change.why, change.instant, alert=alert)

    def _begin(self, alert: Alert, change: Change) -> None:
        """Find the incident of an alert that begins to count: the one it was in, the one that explains it, or a new one."""
        joining, scope = self._joining(alert, change)
        previous = self.book.incidents.get(alert.incident or "")
        if previous is not None and self._is_return(alert, previous, change.onset):
            self._return_to(previous, joining)
            return
        placement = self._grouper.place(joining.entity, scope, change.onset)
        incident, why = placement.incident, _JOINED
        if incident is None:
            incident, why = self._new_incident(alert, scope, change.onset), _NEW_FAULT
        self._join(incident, joining, why, placement=placement)

    def _joining(self, alert: Alert, change: Change) -> tuple[Joining, tuple[str, ...]]:
        labels, topology = alert.labels, self.control.topology
        alert.entity = topology.entity_of(labels)
        rule = self.control.rules.rule_for(labels)
        settle = rule.settle if rule.settle is not None else self.control.rules.grouping.settle
        entity = alert.entity if alert.entity is not None else _stand_in(labels, self.control.rules.grouping.group_by)
        joining = Joining(alert, entity, labels["alertname"], change.onset, change.instant, settle, severity_rank(labels))
        return joining, topology.scope_of(labels)

    def _is_return(self, alert: Alert, incident: Incident, onset: Instant) -> bool:
        gap = onset - alert.ended
        if incident.state is IncidentState.RESOLVED:
            return incident.was_open and gap <= max(SERIES_MEMORY, self.control.rules.retention.close_after)
        return incident.is_live and gap <= SERIES_MEMORY

    def _return_to(self, incident: Incident, joining: Joining) -> None:
        if not incident.is_live:
            self.book.relapse(incident, joining.instant)
            self._index(incident)
        self._join(incident, joining, _RETURNED, placement=NEW)

    def _new_incident(self, alert: Alert, scope: tuple[str, ...], onset: Instant) -> Incident:
        """Adopt the incident that was guessed for this alert, if nobody else did, else make one."""
        guessed = self.book.incidents.get(alert.guess or "")
        if guessed is None or guessed.members or not guessed.is_live:
            return self.book.new(alert, scope, onset)
        self._guesser.remove(guessed)
        guessed.hits = {}
        return guessed

    def _join(self, incident: Incident, joining: Joining, why: Why, *, placement: Placement) -> None:
        alert = joining.alert
        if alert.guess == incident.id:
            self.book.drop_guess(incident, alert)
        elif alert.guess is not None:
            self._unguess(alert, joining.instant)
        self._causes.pop(incident.id, None)
        hit = self.book.join(incident, joining, why)
        if hit is not None:
            self._grouper.add(incident, hit)
        if self._decides:
            path = self._grouper.path(joining.entity, placement.nearest) if placement.nearest else ()
            self._decide(why, joining.instant, alert=alert, incident=incident, path=path, score=placement.score)
        if hit is not None:
            self._gather(incident, hit, joining.instant)

    def _gather(self, incident: Incident, hit: Hit, instant: Instant) -> None:
        """Make one incident of those that began before their cause alerted, as long as they are pending and have paged nobody."""
        others = self._grouper.effects_of(incident, hit)
        kept = min([incident, *others], key=lambda one: (one.state is IncidentState.PENDING, one.seniority))
        for other in [one for one in (incident, *others) if one is not kept]:
            self._grouper.remove(other)
            self._moved[other.id] = kept.id
            moved = [self.lifecycle.alerts.get(fingerprint) for fingerprint in (*other.members, *other.guesses)]
            for changed in self.book.absorb(kept, other, instant):
                self._grouper.add(kept, changed)
            for alert in [alert for alert in moved if alert is not None]:
                if self.book.move_alert(alert, other, kept):
                    self._noted[alert.fingerprint] = alert
                    self._decide(Why.MOVED, instant, alert=alert, incident=kept)
                self.lifecycle.touch(alert)
            self._causes.pop(other.id, None)
            self._causes.pop(kept.id, None)

    def _keep_stretch(self, alert: Alert, started: Instant) -> None:
        """Let the incident of an alert's last stretch keep how that looked: the alert itself will show the next one."""
        incident = self.book.incidents.get(alert.incident or "")
        if incident is not None and self.book.is_unfinished(incident) and alert.fingerprint in listed_members(incident):
            incident.gone[alert.fingerprint] = Gone(alert.labels, alert.entity, started, alert.ended)
            self.book.touch(incident)

    def _remember(self, alert: Alert) -> None:
        """Let incidents that are still written about keep what their documents show of a forgotten member; take back its guess."""
        if alert.guess is not None and alert.fingerprint not in self.lifecycle.alerts:
            self._unguess(alert, self.position)
        for identifier in (alert.incident or "", *alert.former):
            incident = self.book.incidents.get(identifier)
            if incident is not None and self.book.is_unfinished(incident):
                incident.has_lost = True
                listed = listed_members(incident)
                is_last_there = alert.incident == incident.id and alert.reason is None
                if alert.fingerprint in listed and (is_last_there or alert.fingerprint not in incident.gone):
                    incident.gone[alert.fingerprint] = Gone(alert.labels, alert.entity, alert.started, alert.ended)
                    incident.gone = {fingerprint: gone for fingerprint, gone in incident.gone.items() if fingerprint in listed}
                    self.book.touch(incident)

    def _end(self, alert: Alert, change: Change) -> None:
        incident = self.book.incidents.get(alert.incident or "")
        assert incident is not None, "an alert that counted has an incident"
        self._decide(change.why, change.instant, alert=alert, incident=incident)
        if self.book.clear(incident, change.why, change.instant):
            self._grouper.remove(incident)

    def _wake_incident(self) -> None:
        incident = self.book.wake(self.position)
        if incident.id not in self.book.incidents:
            self._causes.pop(incident.id, None)

    # Guesses: pending documents for turns that are not judged yet

    def _guess_arrivals(self) -> None:
        """Guess what the turns that just came will be, for people wait; not in a backlog, where sources run far ahead of time."""
        furthest = self.sources.now + self.sources.max_hold
        for turn in self.lifecycle.arrived:
            alert = self.lifecycle.alerts.get(turn.fingerprint)
            if alert is None or not alert.waiting or not self.position < turn.effect <= furthest or turn.status != _FIRING:
                continue
            if alert.state is _RESOLVED and alert.guess is None and turn.at > alert.ended:
                self._guess(alert, turn.effect)

    def _guess(self, alert: Alert, effect: Instant) -> None:
        labels = alert.labels
        if self.control.rules.rule_for(labels).hold:
            return
        entity, scope = (
            self.control.topology.entity_of(labels) or _stand_in(labels, self.control.rules.grouping.group_by),
            self.control.topology.scope_of(labels),
        )
        incident = self.book.incidents.get(alert.incident or "")
        if incident is None or not self._is_return(alert, incident, effect):
            incident = self._guessed_place(entity, scope, effect)
        if incident is None:
            incident = self.book.new(alert, scope, effect)
        self.book.guess(incident, alert, effect)
        if not incident.members:
            joining = Joining(alert, entity, labels["alertname"], effect, effect, 0, severity_rank(labels))
            self._causes.pop(incident.id, None)
            hit = self.book.sketch(incident, joining)
            if hit is not None:
                self._guesser.add(incident, hit)
        self.lifecycle.touch(alert)

    def _guessed_place(self, entity: str, scope: tuple[str, ...], effect: Instant) -> Incident | None:
        """Answer where an alert will likely be placed: what the graph explains comes before edges that nobody declared."""
        groupers = (self._grouper, self._guesser)
        for grouper in groupers:
            incident = grouper.explain(entity, scope, effect)
            if incident is not None:
                return incident
        for grouper in groupers:
            incident = grouper.place(entity, scope, effect).incident
            if incident is not None:
                return incident
        return None

    def _drop_guesses(self) -> None:
        """Take back guesses whose turn was judged without beginning a stretch."""
        untrue = {alert.fingerprint: alert for alert in self.lifecycle.guessed if alert.guess is not None}
        self.lifecycle.guessed = []
        for alert in sorted(untrue.values(), key=lambda alert: (self.book.guessed_until(alert), alert.fingerprint)):
            if self.lifecycle.alerts.get(alert.fingerprint) is alert and self.book.guessed_until(alert) <= self.position:
                self._unguess(alert, self.position)
                self.lifecycle.touch(alert)

    def _unguess(self, alert: Alert, instant: Instant) -> None:
        withdrawn = self.book.unguess(alert, instant)
        if withdrawn is not None:
            self._guesser.remove(withdrawn)

    # What is written

    def _rendered(self) -> Effects:
        self._decide_moves()
        effects = Effects(decisions=self._decisions, stretches=self._stretches, resolved_early=self.lifecycle.resolved_early)
        self.lifecycle.resolved_early = 0
        effects.moved, self._moved = self._moved, {}
        self._decisions, self._stretches = [], []
        for incident in self.book.taken():
            effects.incidents[incident.id] = self._described(incident)
        for identifier in self.book.forgotten:
            effects.incidents[identifier] = None
            self._causes.pop(identifier, None)
        self.book.forgotten = []
        for fingerprint, alert in self._noted.items() if self._drafts else ():
            is_kept = self.lifecycle.alerts.get(fingerprint) is alert
            effects.alerts[fingerprint] = alert if is_kept else None
        self._noted = {}
        return effects

    def _described(self, incident: Incident) -> IncidentDocument:
        if len(self._causes) > CAUSES_KEPT:
            del self._causes[next(iter(self._causes))]
        causes = self._causes.get(incident.id)
        if causes is None:
            causes = self._causes[incident.id] = diagnose(incident.hits, self.control.topology, self._grouper.reaches_of)
        return incident_document(incident, self.lifecycle.alerts, causes, topology=self.control.topology, digest=self._digest)

    def _decide(
        self,
        why: Why,
        instant: Instant,
        *,
        alert: Alert,
        incident: Incident | None = None,
        path: tuple[str, ...] = (),
        score: float = 0.0,
    ) -> None:
        if not self._decides:
            return
        self._decide_moves()
        self._decisions.append(
            Decision(
                format_rfc3339(instant),
                why,
                self._digest,
                alert.fingerprint.hex(),
                incident.id if incident is not None else None,
                rule_named(self.control.rules, why, alert, is_back=why is _RETURNED and incident is None),
                list(path),
                round(score, 7) if score else None,  # what chance alone scores is 2.5e-5
            )
        )

    def _decide_moves(self) -> None:
        """Write down the moves of incidents as a whole, before what is decided next."""
        if self.book.moves:
            self._decisions += move_decisions(self.book.moves, self._digest) if self._decides else ()
            self.book.moves = []


def _stand_in(labels: dict[str, str], group_by: tuple[str, ...]) -> str:
    """Name what an alert without a known entity groups by: the labels that the rules name, else its alert name."""
    values = [labels[label] for label in group_by if labels.get(label)]
    return STAND_IN + (" ".join(values) or labels["alertname"])
