"""Explanations: what `correlator explain` answers about an incident or an alert, as a document. Times are RFC 3339 text."""

from typing import Annotated

import msgspec
from msgspec import Meta

from correlator.model.incident import IncidentState, RootCause, Why


class Seen(msgspec.Struct, frozen=True):
    """An alert's last stretch, as the `alerts` topic or the `alerts.jsonl` of a replay has it; `state` only where that says it."""

    fingerprint: str
    labels: dict[str, str]
    starts_at: str = msgspec.field(name="startsAt")
    ends_at: str | None = msgspec.field(name="endsAt")
    count: int
    incident: str | None
    reason: Why | None
    state: str | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was decided, and why."""

    at: Annotated[str, Meta(description="The instant of the judgement, by event time.")]
    why: Annotated[Why, Meta(description="What was decided.")]
    because: Annotated[str, Meta(description="The reason, a sentence for people; what it says may change with any version.")]
    rules_digest: Annotated[str, Meta(description="By which rules and topology.")]
    alert: Annotated[str | None, Meta(description="The alert in words; absent where the incident as a whole moved.")] = None
    fingerprint: Annotated[str | None, Meta(description="Of the alert; absent where the incident as a whole moved.")] = None
    entity: Annotated[str | None, Meta(description="The topology's name for what it is about; absent where it knows none.")] = None
    incident: Annotated[str | None, Meta(description="The `id` of the incident that it concerns; absent where there is none.")] = None
    rule: Annotated[str | None, Meta(description="The alert rule that took part; absent where none did.")] = None
    path: Annotated[list[str], Meta(description="Of an alert that joined: the entities from its own to the nearest of the incident.")] = []
    score: Annotated[float | None, Meta(description="Of an alert that joined: how well it fits, as in its decision.")] = None
    likelier: Annotated[
        float | None, Meta(description="Of an alert that joined: how many times likelier that was than a fault of its own.")
    ] = None


class MemberTold(msgspec.Struct, frozen=True, omit_defaults=True):
    """One member of an incident and why it is one."""

    fingerprint: Annotated[str, Meta(description="Of the alert.")]
    alert: Annotated[str, Meta(description="The alert in words.")]
    because: Annotated[str, Meta(description="Why it is a member, a sentence for people.")]
    why: Annotated[Why | None, Meta(description="How it came in; absent where no decision is kept of that.")] = None
    entity: Annotated[str | None, Meta(description="The topology's name for what it is about; absent where it knows none.")] = None
    since: Annotated[str | None, Meta(description="When it came in; absent where no decision is kept of that.")] = None
    ended: Annotated[str | None, Meta(description="When it last ended here; absent while it fires.")] = None


class IncidentTold(msgspec.Struct, frozen=True, tag_field="about", tag="incident"):
    """Why an incident is what it is: the answer first, then every member once, then all that was decided, in order."""

    id: Annotated[str, Meta(description="Of the incident.")]
    revision: Annotated[int, Meta(description="Of the document that is explained.")]
    title: Annotated[str, Meta(description="Of the document.")]
    state: Annotated[IncidentState, Meta(description="Where it stands.")]
    opened: Annotated[str, Meta(description="When the first alert that counted began.")]
    updated: Annotated[str, Meta(description="The last instant at which something of it changed.")]
    priority: Annotated[str, Meta(description="`P1` to `P4`.")]
    owner: Annotated[str | None, Meta(description="Of the first root cause; null where the topology names none.")]
    answer: Annotated[
        list[str],
        Meta(description="Sentences for people: the root and why, what it affects, why it stands so. They may change with any version."),
    ]
    root_causes: Annotated[list[RootCause], Meta(description="As in the document.")]
    contributing: Annotated[list[str], Meta(description="As in the document.")]
    blast_radius: Annotated[list[str], Meta(description="As in the document.")]
    members: Annotated[list[MemberTold], Meta(description="Every member once, in the order in which they came in.")]
    steps: Annotated[list[Step], Meta(description="All that was decided about it and its members, in order, as far as it is kept.")]
    left_out: Annotated[int, Meta(description="How many further steps there are; more than 20,000 are not listed.")]
    rules_digest: Annotated[str, Meta(description="Which rules and topology judged it last.")]
    in_force: Annotated[bool | None, Meta(description="Whether these are in force still; null where that is not known.")]
    schema: Annotated[int, Meta(description="Version of this schema.")] = 1


class AlertTold(msgspec.Struct, frozen=True, tag_field="about", tag="alert"):
    """What became of an alert, and why."""

    fingerprint: Annotated[str, Meta(description="Of the alert.")]
    alert: Annotated[str, Meta(description="The alert in words.")]
    labels: Annotated[dict[str, str], Meta(description="As received.")]
    entity: Annotated[str | None, Meta(description="The topology's name for what it is about; null where it knows none.")]
    starts_at: Annotated[str, Meta(description="When its last stretch began.")] = msgspec.field(name="startsAt")
    ends_at: Annotated[str | None, Meta(description="When that ended; null while it lasts.")] = msgspec.field(name="endsAt")
    incident: Annotated[str | None, Meta(description="The `id` of the incident that it counts in; null where it counts in none.")]
    reason: Annotated[Why | None, Meta(description="Why it counts in no incident; null where it does.")]
    answer: Annotated[list[str], Meta(description="Sentences for people. They may change with any version.")]
    steps: Annotated[list[Step], Meta(description="All that was decided about it, in order, as far as it is kept.")]
    left_out: Annotated[int, Meta(description="How many further steps there are; more than 20,000 are not listed.")]
    schema: Annotated[int, Meta(description="Version of this schema.")] = 1


Explanation = IncidentTold | AlertTold
"""One answer of `correlator explain`; `about` says which."""
