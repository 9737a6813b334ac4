"""Incidents: what a person should look at, the table of moves they can make, and the documents that consumers read."""

from typing import Final

import msgspec

from correlator.model.word import Word


class IncidentState(Word):
    """Where an incident stands; only `open` pages, `reopened` is news of an incident that did."""

    PENDING = "pending"
    OPEN = "open"
    RESOLVED = "resolved"
    CLOSED = "closed"
    REOPENED = "reopened"
    WITHDRAWN = "withdrawn"


class IncidentMove(Word):
    """What happens to an incident as a whole."""

    SETTLED = "settled"
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    STAYED_WELL = "stayed_well"
    EMPTIED = "emptied"


INCIDENT_MOVES: Final[dict[tuple[IncidentState, IncidentMove], IncidentState]] = {
    (IncidentState.PENDING, IncidentMove.SETTLED): IncidentState.OPEN,
    (IncidentState.PENDING, IncidentMove.RECOVERED): IncidentState.RESOLVED,
    (IncidentState.PENDING, IncidentMove.EMPTIED): IncidentState.WITHDRAWN,
    (IncidentState.OPEN, IncidentMove.RECOVERED): IncidentState.RESOLVED,
    (IncidentState.OPEN, IncidentMove.EMPTIED): IncidentState.WITHDRAWN,
    (IncidentState.RESOLVED, IncidentMove.RELAPSED): IncidentState.REOPENED,
    (IncidentState.RESOLVED, IncidentMove.STAYED_WELL): IncidentState.CLOSED,
    (IncidentState.RESOLVED, IncidentMove.EMPTIED): IncidentState.WITHDRAWN,
    (IncidentState.REOPENED, IncidentMove.RECOVERED): IncidentState.RESOLVED,
    (IncidentState.REOPENED, IncidentMove.EMPTIED): IncidentState.WITHDRAWN,
}
"""Every move an incident can make; a pair that is not here cannot happen."""

FINAL_STATES: Final = (IncidentState.CLOSED, IncidentState.WITHDRAWN)


def next_incident_state(state: IncidentState, move: IncidentMove) -> IncidentState:
    """Answer the state after a move; a pair outside the table is a bug and fails the assertion."""
    after = INCIDENT_MOVES.get((state, move))
    assert after is not None, f"an incident that is {state} cannot be {move}"
    return after


class Why(Word):
    """Why a document changed or an alert was treated so; each member is also a metric label and a log field."""

    GUESSED = "guessed"
    NEW_FAULT = "new_fault"
    JOINED = "joined"
    RETURNED = "returned"
    MOVED = "moved"
    CLEARED = "cleared"
    EXPIRED = "expired"
    HELD = "held"
    KEPT = "kept"
    HOLD_NOT_MET = "hold_not_met"
    SETTLED = "settled"
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    STAYED_WELL = "stayed_well"
    EMPTIED = "emptied"
    NEVER_FIRED = "never_fired"
    UNKNOWN_ENTITY = "unknown_entity"


class Member(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One alert of an incident; times are RFC 3339 text."""

    fingerprint: str
    labels: dict[str, str]
    state: str
    starts_at: str = msgspec.field(name="startsAt")
    ends_at: str | None = msgspec.field(name="endsAt", default=None)
    entity: str | None = None


class RootCause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One explanation of an incident: `entity` is the topology's name and nothing else; `confidence` lies between 0 and 1."""

    entity: str
    kind: str
    confidence: float
    evidence: list[str]
    split: dict[str, str] = {}
    condition: str | None = None


class IncidentDocument(msgspec.Struct, frozen=True):
    """One revision of an incident, whole: the value of a record on the `incidents` topic. Times are RFC 3339 text.

    `members` lists at most 200 alerts (roots, first, worst, latest); `counts` says how many there are of each state.
    Where the alerts that explain the others belong to nothing that the topology knows, `root_causes` has no entry for them and `why`
    says `unknown_entity`; the first of them is still the first of the members.
    """

    id: str
    revision: int
    state: IncidentState
    title: str
    opened: str
    updated: str
    members: list[Member]
    counts: dict[str, int]
    root_causes: list[RootCause]
    contributing: list[str]
    blast_radius: list[str]
    category: str
    priority: str
    owner: str | None
    why: list[Why]
    rules_digest: str
    schema: int = 1


class AlertDocument(msgspec.Struct, frozen=True, gc=False):
    """The state of one alert: the value of a record on the `alerts` topic, compacted by fingerprint.

    `count` is the number of items since `startsAt`.
    `incident` is an incident id, or null with the `reason` it has none. `endsAt` is null while the stretch lasts.
    """

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    state: str
    starts_at: str = msgspec.field(name="startsAt")
    ends_at: str | None = msgspec.field(name="endsAt")
    last_seen: str = msgspec.field(name="lastSeen")
    count: int
    incident: str | None
    reason: Why | None


DOCUMENT_BYTES_MOST: Final = 256 * 1024


def encode_incident(document: IncidentDocument) -> bytes:
    """Write a revision as JSON, never larger than 256 KB: the last members give way."""
    body = encode_document(document)
    while len(body) > DOCUMENT_BYTES_MOST and document.members:
        document = msgspec.structs.replace(document, members=document.members[: len(document.members) // 2])
        body = encode_document(document)
    return body


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One judgement, append-only on the `decisions` topic: what was done with which alert, why, and by which rules.

    `rule` is the name of the alert rule that took part, absent where none did. `path` and `score` are those of a joined alert.
    """

    at: str
    why: Why
    rules_digest: str
    fingerprint: str | None = None
    incident: str | None = None
    rule: str | None = None
    path: list[str] = []
    score: float | None = None


encode_document: Final = msgspec.json.Encoder().encode
"""Writes any of these documents as JSON, keys in the order of their declaration."""
