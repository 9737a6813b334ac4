"""Incidents: what a person should look at, the table of moves they can make, and the documents that consumers read."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

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

    fingerprint: Annotated[str, Meta(description="The alert's: the hash of its identity labels, hex; the key of its document on `alerts`.")]
    labels: Annotated[dict[str, str], Meta(description="As received.")]
    state: Annotated[
        str, Meta(description="Of the alert: `firing`, `kept` or `resolved`; `pending` is a guess, listed before its turn was judged.")
    ]
    starts_at: Annotated[str, Meta(description="When its last stretch that counted here began.")] = msgspec.field(name="startsAt")
    ends_at: Annotated[str | None, Meta(description="When that stretch ended; absent while it lasts.")] = msgspec.field(
        name="endsAt", default=None
    )
    entity: Annotated[str | None, Meta(description="The topology's name for what the alert is about; absent where it knows none.")] = None


class RootCause(msgspec.Struct, frozen=True, omit_defaults=True):
    """One explanation of an incident: `entity` is the topology's name and nothing else; `confidence` lies between 0 and 1."""

    entity: Annotated[str, Meta(description="The topology's name.")]
    kind: Annotated[str, Meta(description="What the topology says that it is: `service`, `instance`, `host` or `external`.")]
    confidence: Annotated[float, Meta(description="Its share of the belief, from 0 to 1; those of all listed causes add up to at most 1.")]
    evidence: Annotated[list[str], Meta(description="Sentences for people; what they say may change with any version.")]
    split: Annotated[dict[str, str], Meta(description="The values of the topology's `split_by` labels: which copy of the entity.")] = {}
    condition: Annotated[str | None, Meta(description="The `alertname` of its first alert.")] = None


class IncidentDocument(msgspec.Struct, frozen=True):
    """One revision of an incident, whole: the value of a record on the `incidents` topic. Times are RFC 3339 text.

    `members` lists at most 200 alerts (roots, first, worst, latest); `counts` says how many there are of each state.
    Where the alerts that explain the others belong to nothing that the topology knows, `root_causes` has no entry for them and `why`
    says `unknown_entity`; the first of them is still the first of the members.
    """

    id: Annotated[str, Meta(description="Stays the same for the incident's whole life.")]
    revision: Annotated[int, Meta(description="From 1; larger is newer. Records may be missing in between.")]
    state: Annotated[IncidentState, Meta(description="Where it stands; docs/states.md says how it moves and which document pages.")]
    title: Annotated[str, Meta(description="For people; it changes with the first root cause.")]
    opened: Annotated[str, Meta(description="When the first alert that counted began, by event time.")]
    updated: Annotated[str, Meta(description="The last instant, by event time, at which something of it changed.")]
    members: Annotated[
        list[Member], Meta(description="At most 200 of its alerts: each entity's first, the oldest, the newest, and guesses.")
    ]
    counts: Annotated[
        dict[str, int],
        Meta(
            description=(
                "`alerts`: all that ever joined, each once, those that ended too. `firing`: those that fire now. `pending`: "
                "guesses, not yet among the others. `entities`: how many entities its alerts are about, unknown ones too."
            )
        ),
    ]
    root_causes: Annotated[
        list[RootCause], Meta(description="At most 3, the likeliest first; empty where the topology knows none of the alerts' entities.")
    ]
    contributing: Annotated[
        list[str],
        Meta(
            description=(
                "Entities with alerts that the first root cause does not explain, at most 100: a second fault, or noise beside it."
            )
        ),
    ]
    blast_radius: Annotated[
        list[str],
        Meta(
            description=(
                "Entities that depend on the first root cause over any number of hops, nearest first, at most 100, whether "
                "they alert or not."
            )
        ),
    ]
    category: Annotated[str, Meta(description="The kind of fault. Always `uncategorised` for now: do not route on it.")]
    priority: Annotated[
        str,
        Meta(
            description=(
                "`P1` to `P4` by the worst severity that a member had when it joined, one higher where the first root cause "
                "has `tier: 1`: see docs/formats.md."
            )
        ),
    ]
    owner: Annotated[str | None, Meta(description="The topology's `owner` of the first root cause; null where it names none.")]
    why: Annotated[list[Why], Meta(description="What happened to the incident since the document before, each word once.")]
    rules_digest: Annotated[str, Meta(description="Which rules and topology judged it.")]
    schema: Annotated[int, Meta(description="Version of this schema.")] = 1


class AlertDocument(msgspec.Struct, frozen=True, gc=False):
    """The state of one alert: the value of a record on the `alerts` topic, compacted by fingerprint.

    `count` is the number of items since `startsAt`.
    `incident` is an incident id, or null with the `reason` it has none. `endsAt` is null while the stretch lasts.
    """

    fingerprint: Annotated[str, Meta(description="The hash of its identity labels, hex; the record's key.")]
    labels: Annotated[dict[str, str], Meta(description="As received.")]
    annotations: Annotated[dict[str, str], Meta(description="Those that came with the start of the stretch.")]
    value: Annotated[float | None, Meta(description="The number that came with the start of the stretch; null where none did.")]
    state: Annotated[str, Meta(description="`held`, `firing`, `kept` or `resolved`: see docs/states.md.")]
    starts_at: Annotated[str, Meta(description="When the last stretch began, by event time.")] = msgspec.field(name="startsAt")
    ends_at: Annotated[str | None, Meta(description="When it ended, or, while `kept`, would have; null while it lasts.")] = msgspec.field(
        name="endsAt"
    )
    last_seen: Annotated[str, Meta(description="Event time of the newest firing item.")] = msgspec.field(name="lastSeen")
    count: Annotated[int, Meta(description="How many items since `startsAt`.")]
    incident: Annotated[str | None, Meta(description="The `id` of the incident that it counts in; null where it counts in none.")]
    reason: Annotated[Why | None, Meta(description="Why it counts in no incident; null where it does.")]


DOCUMENT_BYTES_MOST: Final = 256 * 1024


def encode_incident(document: IncidentDocument) -> bytes:
    """Write a revision as JSON, never larger than 256 KB: the last members give way."""
    body = encode_document(document)
    while len(body) > DOCUMENT_BYTES_MOST and document.members:
        document = msgspec.structs.replace(document, members=document.members[: len(document.members) // 2])
        body = encode_document(document)
    return body


class Decision(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One judgement, append-only on the `decisions` topic: what was done with which alert or incident, why, and by which rules.

    `rule` is the name of the alert rule that took part, absent where none did. `path` and `score` are those of a joined alert.
    """

    at: Annotated[str, Meta(description="The instant of the judgement, by event time.")]
    why: Annotated[Why, Meta(description="What was decided.")]
    rules_digest: Annotated[str, Meta(description="By which rules and topology.")]
    fingerprint: Annotated[str | None, Meta(description="Of the alert; absent where the incident as a whole moved.")] = None
    incident: Annotated[str | None, Meta(description="The `id` of the incident that it concerns; absent where there is none.")] = None
    rule: Annotated[str | None, Meta(description="The alert rule that took part; absent where none did.")] = None
    path: Annotated[list[str], Meta(description="Of an alert that joined: the entities from its own to the nearest of the incident.")] = []
    score: Annotated[
        float | None, Meta(description="Of an alert that joined: how well it fits; a density, to be compared within one version only.")
    ] = None


encode_document: Final = msgspec.json.Encoder().encode
"""Writes any of these documents as JSON, keys in the order of their declaration."""
