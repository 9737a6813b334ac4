"""One incident whole, as text for the person who was woken by it: what, why, who, how far, since when."""

from collections.abc import Iterator
from typing import Final

from correlator.correlate.render import severity_rank
from correlator.model.calendar import parse_rfc3339
from correlator.model.incident import Decision, IncidentDocument, IncidentState, Member, Why
from correlator.model.instant import SECOND, format_duration
from correlator.runtime.dossier import History

MEMBERS_MOST: Final = 12
NAMES_MOST: Final = 12
_OVER: Final = (IncidentState.RESOLVED, IncidentState.CLOSED)
_ENDS: Final = (Why.CLEARED, Why.EXPIRED)
_SHOWN_APART: Final = ("alertname", "severity")
_LABELS_WIDEST: Final = 80


def whole_incident(document: IncidentDocument, history: History) -> str:
    """Write an incident: each part under its heading, parts that are empty left out."""
    parts = [
        _head(document, history),
        _causes(document),
        _members(document, history),
        _reach(document),
        _timeline(document, history),
    ]
    return "\n\n".join(["\n".join(part) for part in map(list, parts) if part]) + "\n"


def _head(document: IncidentDocument, history: History) -> Iterator[str]:
    yield document.title
    words = [document.state.value, document.priority, f"owner {document.owner}" if document.owner else "owner unknown"]
    yield f"{' · '.join([word for word in words if word])} · {document.id} revision {document.revision}"
    times = f"opened {_short(document.opened)}, updated {_short(document.updated)}"
    yield times + _lasting(document, history)
    yield f"last change: {', '.join(document.why)}; rules {document.rules_digest}"


def _lasting(document: IncidentDocument, history: History) -> str:
    """Say how long it took until its last alert ended; while it lasts, until the last update, since now may be no time of the log's."""
    ended = [member.ends_at for member in document.members if member.ends_at is not None]
    ended += [decision.at for decision in (*history.first, *history.last) if decision.why in _ENDS]
    is_over = document.state in _OVER
    until = max(ended, default=document.updated) if is_over else document.updated
    try:
        lasted = parse_rfc3339(until)[0] - parse_rfc3339(document.opened)[0]
    except ValueError:  # beyond the calendar, where times are digits
        return ""
    return f", {'lasted' if is_over else 'lasts for at least'} {format_duration(lasted - lasted % SECOND)}"


def _causes(document: IncidentDocument) -> Iterator[str]:
    yield "Root causes"
    for cause in document.root_causes:
        split = "".join([f", {label} {value}" for label, value in cause.split.items()])
        yield f"  {cause.entity} ({cause.kind}{split}), {cause.confidence:.0%}: {cause.condition or 'no condition named'}"
        for sentence in cause.evidence:
            yield f"    {sentence}"
    if Why.UNKNOWN_ENTITY in document.why:
        yield "  the likeliest is at nothing that the topology knows: name its service there"
    elif not document.root_causes:
        yield "  none named yet"


# Members


def _members(document: IncidentDocument, history: History) -> Iterator[str]:
    counts = document.counts
    told = ", ".join([f"{count} {name}" for name, count in counts.items()])
    yield f"Members: {told}"
    if history.counts:
        yield f"  decided: {', '.join([f'{count} {why}' for why, count in history.counts.items()])}"
    roles = _roles(document)
    ranked = [*roles, *[member.fingerprint for member in document.members if member.fingerprint not in roles]]
    members = {member.fingerprint: member for member in document.members}
    shown = [members[fingerprint] for fingerprint in ranked[:MEMBERS_MOST]]
    yield from _columns([_member_row(member, roles.get(member.fingerprint, [])) for member in shown])
    left = counts.get("alerts", 0) + counts.get("pending", 0) - len(shown)
    if left > 0:
        yield f"  and {left} more; --json lists up to 200"


def _roles(document: IncidentDocument) -> dict[str, list[str]]:
    """Say which members stand for what, by fingerprint: the root's first, the first, the worst, the latest."""
    roles: dict[str, list[str]] = {}
    members, causes = document.members, document.root_causes
    if not members:
        return roles
    at_root = [member for member in members if causes and member.entity == causes[0].entity]
    chosen = {
        "root": min(at_root, key=_start, default=None),
        "first": min(members, key=_start),
        "worst": max(members, key=lambda member: severity_rank(member.labels)),
        "latest": max(members, key=_start),
    }
    for role, member in chosen.items():
        if member is not None:
            roles.setdefault(member.fingerprint, []).append(role)
    return roles


def _start(member: Member) -> str:
    return member.starts_at


def _member_row(member: Member, roles: list[str]) -> list[str]:
    labels = " ".join([f"{name}={value}" for name, value in member.labels.items() if name not in _SHOWN_APART])
    return [
        ", ".join(roles) or "-",
        member.labels.get("alertname", ""),
        member.labels.get("severity", "-"),
        member.state,
        _short(member.starts_at),
        f"to {_short(member.ends_at)}" if member.ends_at is not None else "",
        labels if len(labels) <= _LABELS_WIDEST else labels[: _LABELS_WIDEST - 1] + "…",
    ]


# How far, and what happened


def _reach(document: IncidentDocument) -> Iterator[str]:
    yield f"Blast radius: {_names(document.blast_radius) or 'nothing known depends on it'}"
    if document.contributing:
        yield f"Contributing: {_names(document.contributing)}"


def _names(names: list[str]) -> str:
    more = len(names) - NAMES_MOST
    return ", ".join(names[:NAMES_MOST]) + (f" and {more} more" if more > 0 else "")


def _timeline(document: IncidentDocument, history: History) -> Iterator[str]:
    members = {member.fingerprint: _name(member) for member in document.members}
    yield "Timeline (event time)"
    rows = [_decision_row(decision, members) for decision in (*history.first, *history.last)]
    lines = list(_columns(rows))
    yield from lines[: len(history.first)]
    if history.between:
        yield f"  … {history.between} more …"
    yield from lines[len(history.first) :]
    if not lines:
        yield "  nothing is decided yet"


def _decision_row(decision: Decision, members: dict[str, str]) -> list[str]:
    fingerprint = decision.fingerprint
    name = members.get(fingerprint, fingerprint[:12]) if fingerprint is not None else "the incident"
    details = [
        " → ".join(decision.path) if len(decision.path) > 1 else "",
        f"score {decision.score:g}" if decision.score is not None else "",
        f"rule {decision.rule}" if decision.rule is not None else "",
    ]
    return [_short(decision.at), decision.why, name, ", ".join([text for text in details if text])]


def _name(member: Member) -> str:
    place = member.entity or member.labels.get("service") or "no known service"
    return f"{member.labels.get('alertname', '')} at {place}"


def _columns(rows: list[list[str]]) -> Iterator[str]:
    """Write rows with every column as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield f"  {'  '.join([text.ljust(width) for text, width in zip(row, widths, strict=True)])}".rstrip()


def _short(time: str) -> str:
    """Cut an RFC 3339 time to the second."""
    return f"{time[:10]} {time[11:19]}Z" if time.endswith("Z") else time
