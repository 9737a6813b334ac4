"""Render: incidents, alerts and decisions as the documents that consumers read. Pure: state in, documents out."""

from itertools import islice
from typing import Final

import msgspec

from correlator.correlate.diagnose import STAND_IN, Cause
from correlator.model.alert import AlertState
from correlator.model.calendar import format_rfc3339
from correlator.model.incident import AlertDocument, Decision, IncidentDocument, IncidentState, Member, RootCause, Why
from correlator.model.instant import Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.state.looks import Names, labels_in, looks_in
from correlator.state.records import Alert, Gone, Incident

MEMBERS_MOST: Final = 200
RADIUS_MOST: Final = 100
_RANK_BY_SEVERITY: Final = {
    "critical": 5,
    "page": 5,
    "emergency": 5,
    "fatal": 5,
    "error": 4,
    "high": 4,
    "major": 4,
    "warning": 3,
    "minor": 2,
    "info": 1,
    "none": 0,
}
_UNKNOWN_SEVERITY: Final = 2
_TOP_TIER: Final = 1
_HELD_FIRST: Final = (Why.HELD, Why.HOLD_NOT_MET, Why.NEW_FAULT, Why.JOINED, Why.RETURNED)
_RESOLVED = AlertState.RESOLVED
_OVER: Final = (_RESOLVED, AlertState.KEPT)


class Stretch(msgspec.Struct, frozen=True, gc=False):
    """One firing stretch of an alert; `ended` is None while it fires. `incident` is None where it never counted, `reason` says why."""

    fingerprint: bytes
    names: Names
    looks: bytes
    started: Instant
    ended: Instant | None
    count: int
    incident: str | None
    reason: Why | None

    @property
    def labels(self) -> dict[str, str]:
        """The alert's labels, as received."""
        return labels_in(self.names, self.looks)


def severity_rank(labels: dict[str, str]) -> int:
    """Rank a severity label, larger is worse; words that are not known lie between info and warning."""
    return _RANK_BY_SEVERITY.get(labels.get("severity", "").lower(), _UNKNOWN_SEVERITY)


def stretch_of(alert: Alert) -> Stretch:
    """Describe an alert's last stretch."""
    is_counted = alert.reason is None
    return Stretch(
        alert.fingerprint,
        alert.names,
        alert.looks,
        alert.started,
        alert.ended if alert.state in _OVER else None,
        alert.count,
        alert.incident if is_counted else None,
        alert.reason,
    )


def alert_document(alert: Alert) -> AlertDocument:
    """Describe one alert for the `alerts` topic."""
    is_over = alert.state in _OVER
    labels, annotations = looks_in(alert.names, alert.looks)
    return AlertDocument(
        alert.fingerprint.hex(),
        labels,
        annotations,
        alert.value,
        alert.state,
        format_rfc3339(alert.started),
        format_rfc3339(alert.ended) if is_over else None,
        format_rfc3339(alert.last_seen),
        alert.count,
        alert.incident if alert.reason is None else None,
        alert.reason,
    )


def rule_named(rules: RuleSet, why: Why, alert: Alert, *, is_back: bool) -> str | None:
    """Name the alert rule that took part in a judgement, None where none did; `is_back` says that a kept alert fires again.

    A stretch keeps the rule that it began with, so one in force now is named only where it says what the stretch lives by.
    """
    if not rules.alerts:
        return None
    is_kept = bool(alert.keep) and (is_back or why in (Why.KEPT, Why.CLEARED))
    is_held = bool(alert.hold) and not is_back and why in _HELD_FIRST
    is_expired = why is Why.EXPIRED and alert.ended == alert.last_seen + alert.expiry
    if not (is_kept or is_held or is_expired):
        return None
    rule = rules.rule_for(alert.labels)
    is_same = (is_kept and rule.keep_firing == alert.keep) or (is_held and rule.hold == alert.hold)
    return rule.name if is_same or (is_expired and rule.expiry == alert.expiry) else None


def move_decisions(moves: list[tuple[str, Why, Instant]], digest: str) -> list[Decision]:
    """Describe what incidents did as a whole: the id of each, why and when."""
    return [Decision(format_rfc3339(instant), why, digest, incident=name) for name, why, instant in moves]


def incident_document(
    incident: Incident, alerts: dict[bytes, Alert], causes: list[Cause], *, topology: Topology, digest: str
) -> IncidentDocument:
    """Describe one revision of an incident."""
    root = causes[0] if causes else None
    node = topology.node_by_name.get(root.entity) if root is not None else None
    explained = dict.fromkeys(root.explained if root is not None else ())
    others = [name for name in incident.hits if root is not None and name != root.entity and name not in explained and _is_known(name)]
    return IncidentDocument(
        id=incident.id,
        revision=max(1, incident.revision),  # of one that was never written it is the first
        state=incident.state,
        title=_title(incident, root),
        opened=format_rfc3339(incident.opened),
        updated=format_rfc3339(incident.updated),
        members=_members(incident, alerts),
        counts=_counts(incident),
        root_causes=[_root_cause(cause, incident, topology) for cause in causes if _is_known(cause.entity)],
        contributing=others[:RADIUS_MOST],
        blast_radius=list(topology.all_dependents(root.entity)[:RADIUS_MOST]) if root is not None else [],
        category="uncategorised",
        priority=_priority(incident, node.tier if node is not None else None),
        owner=node.owner if node is not None else None,
        why=incident.why if root is None or _is_known(root.entity) else [*incident.why, Why.UNKNOWN_ENTITY],
        rules_digest=digest,
    )


def _is_known(entity: str) -> bool:
    """Answer whether a name is the topology's; a name by which unknown services are grouped is not, and is never shown as one."""
    return not entity.startswith(STAND_IN)


def _counts(incident: Incident) -> dict[str, int]:
    return {
        "alerts": len(incident.members) + incident.unlisted,
        "firing": incident.firing,
        "pending": len(incident.guesses),
        "entities": len(incident.hits),
    }


def listed_members(incident: Incident) -> dict[bytes, None]:
    """Choose the members that a document shows: each entity's first alert, then the worst, the oldest, the newest, and the newest guesses.

    Roots are among the first entities (`diagnose.CANDIDATES_MOST`), and so always shown.
    """
    half, members = MEMBERS_MOST // 2, incident.members
    firsts = [hit.fingerprint for hit in islice(incident.hits.values(), half)]
    newest = reversed(members[max(half, len(members) - half) :])
    guesses = islice(incident.guesses, max(0, len(incident.guesses) - half), None)
    listed = dict.fromkeys([*firsts, *incident.worst_members, *members[:half], *newest, *guesses])
    return listed if len(listed) <= MEMBERS_MOST else dict.fromkeys(islice(listed, MEMBERS_MOST))


def _members(incident: Incident, alerts: dict[bytes, Alert]) -> list[Member]:
    members, gone_by = [], incident.gone
    for fingerprint in listed_members(incident):
        alert, gone = alerts.get(fingerprint), gone_by.get(fingerprint) if gone_by else None
        if alert is not None and (gone is None or (alert.incident == incident.id and alert.reason is None)):
            members.append(_member(alert, incident))
        elif gone is not None:
            members.append(_gone_member(fingerprint, gone))
    return members


def _gone_member(fingerprint: bytes, gone: Gone) -> Member:
    return Member(
        fingerprint=fingerprint.hex(),
        labels=gone.labels,
        state=_RESOLVED,
        starts_at=format_rfc3339(gone.started),
        ends_at=format_rfc3339(gone.ended),
        entity=gone.entity,
    )


def _member(alert: Alert, incident: Incident) -> Member:
    """Describe a member; this is done for up to 200 of them in every revision."""
    state: str = alert.state
    starts, ends = alert.started, None
    if alert.incident != incident.id:
        guessed = incident.guesses.get(alert.fingerprint)
        state, starts = ("pending", guessed) if guessed is not None else (_RESOLVED, starts)
    elif state is _RESOLVED:
        # One that a rule keeps firing counts on: whether its end shows must not depend on when the document was last written.
        ends = format_rfc3339(alert.ended)
    return Member(alert.fingerprint.hex(), labels_in(alert.names, alert.looks), state, format_rfc3339(starts), ends, alert.entity)


def _root_cause(cause: Cause, incident: Incident, topology: Topology) -> RootCause:
    node = topology.node_by_name.get(cause.entity)
    return RootCause(
        entity=cause.entity,
        kind=node.kind if node is not None else "unknown",
        confidence=cause.confidence,
        evidence=list(cause.evidence),
        split={label: value for label, value in zip(topology.split_by, incident.scope, strict=False) if value},
        condition=cause.condition,
    )


def _title(incident: Incident, root: Cause | None) -> str:
    if root is None:
        return "nothing is left of it" if incident.state is IncidentState.WITHDRAWN else "not yet judged"
    others, place = len(incident.hits) - 1, root.entity.removeprefix(STAND_IN)
    where = f"{root.condition} at {place}" if place != root.condition else root.condition
    return where + (f", {others} more affected" if others else "")


def _priority(incident: Incident, tier: int | None) -> str:
    base = {5: 2, 4: 3, 3: 3}.get(incident.worst, 4)
    return f"P{base - 1 if tier == _TOP_TIER else base}"
