"""An incident explained: the answer first, then every member once, then all steps in order."""

from collections.abc import Iterator
from typing import Final

from correlator.explain.case import Case, clock_of, gap_between, lasting
from correlator.explain.steps import ENDS, ENTRIES, steps_of
from correlator.model.explanation import IncidentTold, MemberTold, Step
from correlator.model.incident import IncidentDocument, IncidentState, RootCause, Why

NAMES_MOST: Final = 10
_NO_RECORD: Final = "no decision about it is kept; decisions are kept for a time, and by a replay only with --decisions"
_GUESSED: Final = "listed before it is judged, so that people see it at once"


def explain_incident(document: IncidentDocument, case: Case) -> IncidentTold:
    """Explain an incident by its newest document and what was decided about it."""
    steps = steps_of(case)
    members = _members(document, case, steps)
    return IncidentTold(
        id=document.id,
        revision=document.revision,
        title=document.title,
        state=document.state,
        opened=document.opened,
        updated=document.updated,
        priority=document.priority,
        owner=document.owner,
        answer=list(_answer(document, case, steps, members=members)),
        root_causes=document.root_causes,
        contributing=document.contributing,
        blast_radius=document.blast_radius,
        members=members,
        steps=steps,
        left_out=case.left_out,
        rules_digest=document.rules_digest,
        in_force=case.in_force,
    )


# Members


def _members(document: IncidentDocument, case: Case, steps: list[Step]) -> list[MemberTold]:
    entries, ends = dict[str, Step](), dict[str, Step]()
    for step in steps:
        if step.fingerprint is None:
            continue
        if step.why in ENTRIES:
            ends.pop(step.fingerprint, None)
            if step.incident == document.id:
                entries.setdefault(step.fingerprint, step)
            elif step.why is Why.MOVED:
                entries.pop(step.fingerprint, None)  # it left for good: the whole incident went with it
        elif step.why in ENDS:
            ends[step.fingerprint] = step
    told = [_member(step, case, ends.get(fingerprint)) for fingerprint, step in entries.items()]
    others = [member for fingerprint, member in case.members.items() if fingerprint not in entries]
    told += [
        MemberTold(
            member.fingerprint,
            case.name_of(member.fingerprint),
            _GUESSED if member.state == "pending" else _NO_RECORD,
            entity=case.entity_of(member.fingerprint),
            since=member.starts_at,
            ended=member.ends_at,
        )
        for member in others
    ]
    return told


def _member(entry: Step, case: Case, end: Step | None) -> MemberTold:
    fingerprint = entry.fingerprint or ""
    return MemberTold(
        fingerprint,
        entry.alert or "",
        entry.because,
        why=entry.why,
        entity=case.entity_of(fingerprint),
        since=entry.at,
        ended=end.at if end is not None else None,
    )


# The answer


def _answer(document: IncidentDocument, case: Case, steps: list[Step], *, members: list[MemberTold]) -> Iterator[str]:
    yield from _cause(document)
    yield from _reach(document, members)
    yield _standing(document, steps, members)
    if document.state is not IncidentState.WITHDRAWN:
        yield f"Priority {document.priority}; {f'owned by {document.owner}' if document.owner else 'no owner is named for it'}."
    yield _rules(document, case)


def _cause(document: IncidentDocument) -> Iterator[str]:
    if document.state is IncidentState.WITHDRAWN and not document.root_causes:
        return
    if Why.UNKNOWN_ENTITY in document.why or not document.root_causes:
        yield "The likeliest cause is at nothing that the topology knows: name its service there to learn more."
    for number, cause in enumerate(document.root_causes):
        yield _candidate(cause) if number else _root(cause)


def _root(cause: RootCause) -> str:
    evidence = "; ".join(cause.evidence)
    return f"Probable root cause: {_named(cause)}, confidence {cause.confidence:.0%}." + (f" Why: {evidence}." if evidence else "")


def _candidate(cause: RootCause) -> str:
    return f"Else it may be {_named(cause)}, {cause.confidence:.0%}."


def _named(cause: RootCause) -> str:
    split = "".join([f", {label} {value}" for label, value in cause.split.items()])
    return f"{cause.entity} ({cause.kind}{split})"


def _reach(document: IncidentDocument, members: list[MemberTold]) -> Iterator[str]:
    root = document.root_causes[0].entity if document.root_causes else None
    alerting = list(dict.fromkeys([member.entity for member in members if member.entity is not None and member.entity != root]))
    behind = [name for name in document.blast_radius if name in alerting and name not in document.contributing]
    if behind:
        yield f"Affected, for they depend on it and alert: {listed(behind)}."
    quiet = [name for name in document.blast_radius if name not in alerting]
    if quiet:
        yield f"At risk, for they depend on it and are quiet: {listed(quiet)}."
    if document.contributing:
        yield f"Not explained by it, a second fault or noise: {listed(document.contributing)}."


def listed(names: list[str]) -> str:
    """Write names for people, the first ones of many."""
    more = len(names) - NAMES_MOST
    return ", ".join(names[:NAMES_MOST]) + (f" and {more} more" if more > 0 else "")


def _standing(document: IncidentDocument, steps: list[Step], members: list[MemberTold]) -> str:
    """Say why the incident is in its state."""
    alerts, firing = document.counts.get("alerts", 0), document.counts.get("firing", 0)
    moment = {step.why: step.at for step in steps if step.fingerprint is None}
    ended = max([member.ended for member in members if member.ended is not None], default=None)
    lasted = gap_between(document.opened, ended)
    last = "the last at" if alerts > 1 else "at"
    over = f"{_all(alerts)} ended" + (f" after {lasting(lasted)}, {last} {clock_of(ended)}" if lasted is not None else "")
    still = f"{firing} of {alerts} alert{'s' if alerts != 1 else ''} still fire{'s' if firing == 1 else ''}"
    if document.state is IncidentState.WITHDRAWN:
        return _withdrawal(document, steps)
    if document.state is IncidentState.RESOLVED:
        return f"Resolved: {over}."
    if document.state is IncidentState.CLOSED:
        closed = moment.get(Why.STAYED_WELL)
        return f"Closed: {over}, and nothing fired again{f' until {clock_of(closed)}' if closed is not None else ''}."
    if document.state is IncidentState.REOPENED:
        since = moment.get(Why.RELAPSED)
        return f"Reopened{f' at {clock_of(since)}' if since is not None else ''}: an alert of it fires again; {still}."
    if document.state is IncidentState.OPEN:
        return f"Open since {clock_of(document.opened)}: {still}."
    return f"Pending since {clock_of(document.opened)}: it opens, and pages, if it lasts."


def _all(alerts: int) -> str:
    return "its alert" if alerts == 1 else f"all {alerts} alerts"


def _withdrawal(document: IncidentDocument, steps: list[Step]) -> str:
    moves = [step for step in steps if step.why is Why.MOVED and step.incident not in (None, document.id)]
    if not moves:
        return "Withdrawn: it was shown before its alert was judged, and did not come true."
    last = moves[-1]
    number = len({step.fingerprint for step in moves})
    alerts = "its alert" if number == 1 else f"its {number} alerts"
    return f"Withdrawn at {clock_of(last.at)}: {alerts} became part of incident {last.incident}, whose cause had alerted only then."


def _rules(document: IncidentDocument, case: Case) -> str:
    holds = {True: ", which are in force", False: "; others are in force now", None: ""}[case.in_force]
    return f"Judged by the rules and topology {document.rules_digest}{holds}."
