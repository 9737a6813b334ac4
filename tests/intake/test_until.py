"""An intake that may go only so far: it stops there, says so, goes on where it stopped, and comes to the same."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.frames.frame import FrameKind
from correlator.intake.pipeline import Intake, IntakeOutput
from correlator.model.instant import DAY, HOUR, MINUTE, NEVER, SECOND, Instant
from correlator.model.rule import RuleSet

from tests.intake.builders import NOON, SHOP, an_event, an_intake, feed, items_of, record, totals
from tests.intake.strategies import streams
from tests.intake.test_roads import LongRoad

STEPS = st.lists(st.sampled_from([1, SECOND, 5 * SECOND, MINUTE, 30 * MINUTE, 9 * HOUR]), min_size=1, max_size=8)
THE_YEAR_2100 = 4_102_444_800_000


def paced(intake: Intake, records: Sequence[bytes], steps: list[int], *, batch: int) -> list[IntakeOutput]:
    """Let an intake go further step by step, whenever it stops; answer its outputs, each checked against what it was allowed."""
    outputs: list[IntakeOutput] = []
    until, first, turn = NOON, 0, 0
    while first < len(records) or (outputs and outputs[-1].upcoming is not None):
        end = min(first + batch, len(records))
        if outputs and outputs[-1].upcoming is not None:
            turn += 1
            until = max(until + steps[turn % len(steps)], outputs[-1].upcoming if turn > 60 else 0)
        output = intake.step(range(first, end), records[first:end], until=until)
        first += output.taken
        assert all(frame.watermark <= until for _, frame in output.frames)
        assert output.watermark is None or output.watermark <= until
        assert output.upcoming is None or output.upcoming > until
        assert output.position <= first
        outputs.append(output)
    return outputs


@pytest.mark.parametrize("road", [Intake, LongRoad])
@given(records=streams(), steps=STEPS, batch=st.integers(1, 45))
def test_where_an_intake_stops_leaves_no_trace(road: type[Intake], records: list[bytes], steps: list[int], *, batch: int) -> None:
    made = [road("raw/0", Control(RuleSet(), SHOP), is_recording=True, watermark=NOON) for _ in range(2)]
    free = [*feed(made[0], records), made[0].end()]
    stopped = paced(made[1], records, steps, batch=batch)
    stopped.append(made[1].end(until=NEVER))
    assert items_of(stopped) == items_of(free)
    assert totals(stopped) == totals(free)
    assert stopped[-1].position == free[-1].position
    assert stopped[-1].watermark == free[-1].watermark


@given(records=streams(), steps=STEPS, crash=st.integers(0, 40))
def test_a_restart_where_an_intake_stopped_loses_and_doubles_nothing(records: list[bytes], steps: list[int], crash: int) -> None:
    whole = an_intake()
    free = [*feed(whole, records), whole.end()]
    first = paced(an_intake(), records, steps, batch=7)[:crash]
    position, watermark, latest = (first[-1].position, first[-1].watermark, first[-1].latest) if first else (0, NOON, 0)
    anew = Intake("raw/0", Control(RuleSet(), SHOP), is_recording=True, watermark=watermark, latest=latest, position=position)
    second = [*feed(anew, records[position:], first=position), anew.end()]
    assert totals([*first, *second]) == totals(free)
    assert items_of([*first, *second])[0] == items_of(free)[0]


def events(*ats: Instant) -> list[bytes]:
    return [record(an_event(at=at, receivedAt=at)) for at in ats]


def test_it_stops_at_the_first_record_beyond_and_says_the_time_up_to_which_it_may() -> None:
    intake = an_intake()
    output = intake.step(range(3), events(NOON, NOON + MINUTE, NOON + 2 * MINUTE), until=NOON + 90 * SECOND)
    assert (output.position, output.taken, output.upcoming) == (2, 3, NOON + 2 * MINUTE)
    assert output.watermark == NOON + 90 * SECOND
    assert output.counts.forwarded == 2
    later = intake.step([], [], until=NOON + 100 * SECOND)
    assert (later.watermark, later.upcoming, later.position) == (NOON + 100 * SECOND, NOON + 2 * MINUTE, 2)
    assert [frame.watermark for _, frame in later.frames] == [NOON + 100 * SECOND] * 3, "every domain is told"
    last = intake.step([], [], until=NOON + 2 * MINUTE)
    assert (last.watermark, last.upcoming, last.position, last.counts.forwarded) == (NOON + 2 * MINUTE, None, 3, 1)


def test_it_may_always_go_where_it_has_been() -> None:
    intake = an_intake()
    intake.step(range(1), events(NOON + MINUTE))
    output = intake.step(range(1, 3), events(NOON + 30 * SECOND, NOON + MINUTE), until=NOON)
    assert (output.taken, output.upcoming) == (2, None)


def test_a_lone_record_from_2100_stops_nobody() -> None:
    intake = an_intake()
    output = intake.step(range(30), events(THE_YEAR_2100, *range(NOON, NOON + 29)), until=NOON + MINUTE)
    assert (output.taken, output.upcoming, output.counts.forwarded) == (30, None, 30)


def test_a_jump_that_witnesses_agree_on_waits_until_it_is_allowed() -> None:
    intake = an_intake()
    jump = events(*range(NOON + DAY, NOON + DAY + 30))
    output = intake.step(range(31), [*events(NOON), *jump], until=NOON + HOUR)
    assert (output.position, output.upcoming, output.watermark, output.counts.forwarded) == (1, NOON + DAY, NOON + HOUR, 1)
    assert output.taken < 31, "nothing more is taken until it is allowed"
    assert intake.step([], [], until=NOON + DAY + 30).upcoming is None


def test_a_recording_is_not_closed_while_something_waits() -> None:
    intake = an_intake()
    intake.step(range(2), events(NOON, NOON + MINUTE), until=NOON)
    waiting = intake.end(until=NOON + SECOND)
    assert (waiting.upcoming, {frame.kind for _, frame in waiting.frames}) == (NOON + MINUTE, {FrameKind.ROWS})
    assert {frame.kind for _, frame in intake.end(until=NOON + MINUTE).frames} == {FrameKind.ROWS, FrameKind.END}


def test_what_is_in_doubt_behind_the_last_record_is_decided_though_it_may_have_to_wait() -> None:
    intake = an_intake()
    records = events(NOON, NOON + DAY, NOON + DAY)
    assert intake.step(range(3), records, until=NOON, is_last=True).upcoming == NOON + DAY


def test_a_tick_goes_no_further_than_it_may() -> None:
    intake = an_intake(is_recording=False)
    held = intake.tick(NOON + HOUR, until=NOON + MINUTE)
    assert [(frame.kind, frame.watermark) for _, frame in held.frames] == [(FrameKind.ROWS, NOON + MINUTE)] * 3
    free = intake.tick(NOON + HOUR, until=NOON + HOUR)
    assert [(frame.kind, frame.watermark) for _, frame in free.frames] == [(FrameKind.TICK, NOON + HOUR)] * 3


def test_what_came_while_nobody_read_is_believed_by_a_live_clock() -> None:
    intake = an_intake(is_recording=False)
    output = feed(intake, [an_event(at=NOON + 3 * HOUR)], timestamps=[NOON + 3 * HOUR])[0]
    assert output.counts.forwarded == 0
    output = intake.tick(NOON + 9 * HOUR)
    assert items_of([output])[1][0][2] == NOON + 3 * HOUR
    assert not output.counts.flagged
