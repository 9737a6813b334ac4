"""An alert explained: in which incident it counts or why in none, and all that was decided about it."""

from collections.abc import Iterator

from correlator.explain.case import Case, clock_of
from correlator.explain.steps import ENTRIES, steps_of
from correlator.model.explanation import AlertTold, Seen, Step
from correlator.model.incident import Why

_BY_REASON = {
    Why.HELD: "It counts in no incident yet: a rule holds it back until it has fired for long enough.",
    Why.HOLD_NOT_MET: "It counts in no incident: it ended before it had fired for as long as a rule demands.",
    Why.NEVER_FIRED: "It counts in no incident: it ended without having been seen firing.",
}


def explain_alert(seen: Seen, case: Case) -> AlertTold:
    """Explain an alert by its last stretch and all decisions about it and about the incidents that it was in."""
    steps = [step for step in steps_of(case) if step.fingerprint == seen.fingerprint]
    return AlertTold(
        fingerprint=seen.fingerprint,
        alert=case.name_of(seen.fingerprint),
        labels=seen.labels,
        entity=case.entity_of(seen.fingerprint),
        starts_at=seen.starts_at,
        ends_at=seen.ends_at,
        incident=seen.incident,
        reason=seen.reason,
        answer=list(_answer(seen, case, steps)),
        steps=steps,
        left_out=case.left_out,
    )


def _answer(seen: Seen, case: Case, steps: list[Step]) -> Iterator[str]:
    if seen.ends_at is None:
        yield f"{case.name_of(seen.fingerprint)} has been firing since {clock_of(seen.starts_at)}."
    else:
        yield f"{case.name_of(seen.fingerprint)} fired from {clock_of(seen.starts_at)} to {clock_of(seen.ends_at)}."
    homes = [step for step in steps if step.why in ENTRIES and step.incident is not None]
    if seen.incident is not None:
        yield f"It counts in incident {seen.incident}.{_entry(homes, seen.incident)}"
    elif seen.reason is not None:
        yield _BY_REASON.get(seen.reason, "It counts in no incident.")
    former = list(dict.fromkeys([step.incident for step in homes if step.incident not in (None, seen.incident)]))
    if former:
        yield f"Before, it was in {', '.join(map(str, former))}."
    if not steps:
        yield "No decision about it is kept; decisions are kept for a time, and by a replay only with --decisions."


def _entry(homes: list[Step], incident: str) -> str:
    last = next((step for step in reversed(homes) if step.incident == incident), None)
    return f" It {last.because}." if last is not None else ""
