"""An intake forwards all it is given, but says only as much of its time as it is allowed: nobody else may have come so far."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.frames.frame import FrameKind
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.instant import HOUR, MINUTE, SECOND, Instant
from correlator.model.rule import RuleSet

from tests.intake.builders import NOON, SHOP, an_event, an_intake, feed, items_of, record, totals
from tests.intake.strategies import streams

UNTILS = st.lists(st.sampled_from([0, NOON, NOON + SECOND, NOON + MINUTE, NOON + 9 * HOUR]), min_size=1, max_size=8)


def limited(intake: Intake, records: list[bytes], untils: list[Instant], *, batch: int) -> list[IntakeOutput]:
    """Give an intake batches, each with a limit; answer its outputs, each checked against all that it was allowed so far."""
    outputs = []
    for number, first in enumerate(range(0, len(records), batch)):
        values = records[first : first + batch]
        outputs.append(intake.step(range(first, first + len(values)), values, until=untils[number % len(untils)]))
        allowed = max([NOON, *(untils[turn % len(untils)] for turn in range(number + 1))])
        assert all(frame.watermark <= allowed for _, frame in outputs[-1].frames)
        assert outputs[-1].watermark is not None
        assert outputs[-1].watermark <= allowed
    return outputs


@given(records=streams(), untils=UNTILS, batch=st.integers(1, 45))
def test_what_is_forwarded_does_not_depend_on_what_may_be_said(records: list[bytes], untils: list[Instant], batch: int) -> None:
    free, held = an_intake(), an_intake()
    freely = [*feed(free, records, batch=batch), free.end()]
    limitedly = [*limited(held, records, untils, batch=batch), held.end()]
    assert items_of(limitedly) == items_of(freely)
    assert totals(limitedly) == totals(freely)
    assert [output.clock for output in limitedly] == [output.clock for output in freely]
    assert [output.position for output in limitedly] == [output.position for output in freely]


@given(records=streams(), untils=UNTILS, crash=st.integers(0, 10))
def test_a_restart_takes_up_the_clock_and_not_only_what_was_said(records: list[bytes], untils: list[Instant], crash: int) -> None:
    whole = an_intake()
    freely = [*feed(whole, records, batch=7), whole.end()]
    first = limited(an_intake(), records, untils, batch=7)[:crash]
    last = first[-1] if first else an_intake().say(0)
    anew = Intake(
        "raw/0",
        Control(RuleSet(), SHOP),
        is_recording=True,
        watermark=last.watermark,
        clock=last.clock,
        latest=last.latest,
        position=last.position,
    )
    second = [*feed(anew, records[last.position :], first=last.position), anew.end()]
    assert totals([*first, *second]) == totals(freely)
    assert items_of([*first, *second]) == items_of(freely)


def events(*ats: Instant) -> list[bytes]:
    return [record(an_event(at=at, receivedAt=at)) for at in ats]


def told(output: IntakeOutput) -> list[tuple[FrameKind, Instant]]:
    return [(frame.kind, frame.watermark) for _, frame in output.frames]


def test_all_domains_are_told_as_much_as_may_be_said_and_the_rest_later() -> None:
    intake = an_intake()
    output = intake.step(range(2), events(NOON, NOON + 2 * MINUTE), until=NOON + MINUTE)
    assert (output.position, output.watermark, output.clock) == (2, NOON + MINUTE, NOON + 2 * MINUTE)
    assert told(output) == [(FrameKind.ROWS, NOON + MINUTE)] * 3
    assert told(intake.say(NOON + MINUTE)) == []
    later = intake.say(NOON + HOUR)
    assert told(later) == [(FrameKind.ROWS, NOON + 2 * MINUTE)] * 3
    assert later.watermark == later.clock == NOON + 2 * MINUTE


def test_what_was_said_is_not_taken_back_when_less_is_allowed() -> None:
    intake = an_intake()
    intake.step(range(1), events(NOON + MINUTE))
    assert told(intake.step(range(1, 2), events(NOON + MINUTE + 1), until=NOON)) == [(FrameKind.ROWS, NOON + MINUTE)]


def test_the_first_rows_tell_every_domain_of_their_source_even_when_no_time_may_be_said() -> None:
    intake = an_intake(watermark=None)
    output = intake.step(range(30), events(*range(NOON, NOON + 30)), until=0)
    assert told(output) == [(FrameKind.ROWS, 0)] * 3
    assert (output.watermark, output.clock) == (0, NOON + 29)


def test_a_tick_says_no_more_than_it_may() -> None:
    intake = an_intake(is_recording=False)
    assert told(intake.tick(NOON + HOUR, until=NOON + MINUTE)) == [(FrameKind.ROWS, NOON + MINUTE)] * 3
    assert told(intake.tick(NOON + HOUR, until=NOON + HOUR)) == [(FrameKind.TICK, NOON + HOUR)] * 3


def test_what_is_in_doubt_can_be_decided_before_the_end_is_said() -> None:
    intake = an_intake()
    assert intake.step(range(2), events(NOON, NOON + 9 * HOUR)).position == 1
    output = intake.decide(until=NOON)
    assert (output.position, output.clock, told(output)) == (2, NOON + 9 * HOUR, [(FrameKind.ROWS, NOON)])


def test_what_came_while_nobody_read_is_believed_by_a_live_clock() -> None:
    intake = an_intake(is_recording=False)
    output = feed(intake, [an_event(at=NOON + 3 * HOUR)], timestamps=[NOON + 3 * HOUR])[0]
    assert output.counts.forwarded == 0
    output = intake.tick(NOON + 9 * HOUR)
    assert items_of([output])[1][0][2] == NOON + 3 * HOUR
    assert not output.counts.flagged
