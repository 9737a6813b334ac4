"""What an incident's document shows of a member that fired more than once."""

from correlator.correlate.machine import Machine
from correlator.model.instant import MINUTE
from correlator.model.rule import AlertRule, Matcher, MatchOperator

from tests.builders import a_control, an_event, at, follow, frames_of, resolved

SLOW = (Matcher("alertname", MatchOperator.EQUAL, "Slow"),)


def shown(batches: list[list[bytes]], *rules: AlertRule) -> list[tuple[str, str | None]]:
    """Answer the stretches that the last document of the first incident shows."""
    control = a_control(*rules)
    outcome = follow(Machine(control), frames_of(batches, control))
    document = next(iter(outcome.incidents.values()))
    return sorted((member.starts_at[11:19], member.ends_at[11:19] if member.ends_at else None) for member in document.members)


def test_a_member_that_came_back_shows_its_last_stretch_though_it_is_forgotten_before_the_document_is_written() -> None:
    """In a replay the end of an incident and the day when its alerts are forgotten may lie in one frame."""
    story = [
        an_event("db/Down", "0", received="0"),
        resolved("db/Down", "1m", received="1m"),
        an_event("db/Down", "2m", received="2m"),
        resolved("db/Down", "3m", received="3m"),
    ]
    silence = [an_event("mail/Other", at(f"{minute}m"), received=at(f"{minute}m")) for minute in range(4, 300)]
    assert shown([[*story, *silence]]) == shown([[event] for event in (*story, *silence)]) == [("00:02:00", "00:03:00")]


def test_a_stretch_that_did_not_last_as_long_as_its_hold_never_shows_in_an_incident() -> None:
    story = [an_event("db/Down", "0", received="0")]
    story += [an_event("db/Slow", f"{second}s", received=f"{second}s") for second in (1, 31, 61, 91)]
    story.append(resolved("db/Slow", "2m", received="2m"))
    for minute in (5, 6, 7):
        story.append(an_event("db/Slow", f"{minute}m", received=f"{minute}m"))
        story.append(resolved("db/Slow", f"{minute}m5s", received=f"{minute}m5s"))
    story.append(resolved("db/Down", "9m", received="9m"))
    assert shown([[event] for event in story], AlertRule("hold", SLOW, hold=MINUTE)) == [("00:00:00", "00:09:00"), ("00:00:01", "00:02:00")]
