"""Machine time over several raw partitions."""

import pytest

from correlator.correlate import sources as module
from correlator.correlate.machine import Machine
from correlator.correlate.sources import Sources
from correlator.frames.frame import FrameKind
from correlator.intake.pipeline import Intake
from correlator.model.event import Verdict
from correlator.model.instant import HOUR, MINUTE, SECOND

from tests.builders import T0, a_control, an_event, follow, over_the_log, resolved


def known(**watermarks: int) -> Sources:
    """Answer sources that have spoken, in this order."""
    sources = Sources(5 * MINUTE)
    for name, watermark in watermarks.items():
        sources.advance(name, watermark, FrameKind.ROWS)
    return sources


def test_time_is_the_least_of_all_live_sources() -> None:
    assert known(a=MINUTE, b=2 * MINUTE).now == MINUTE


def test_time_never_goes_back() -> None:
    sources = known(a=MINUTE)
    sources.advance("a", SECOND, FrameKind.ROWS)
    assert sources.now == MINUTE
    sources.advance("late", 0, FrameKind.ROWS)
    assert sources.now == MINUTE


def test_a_source_falls_out_at_exactly_max_hold() -> None:
    assert not known(a=0, b=5 * MINUTE - 1).fallen_out
    fallen = known(a=0, b=5 * MINUTE)
    assert (fallen.fallen_out, fallen.live, fallen.now) == (["a"], ["b"], 5 * MINUTE)


def test_without_sources_nothing_is_live() -> None:
    assert Sources(MINUTE).live == []


def test_a_tick_exactly_five_minutes_ahead_is_believed_and_one_further_is_not() -> None:
    sources = known(a=0, b=0)
    sources.advance("b", 5 * MINUTE, FrameKind.TICK)
    assert sources.ticks_ignored == 0
    sources.advance("b", 10 * MINUTE, FrameKind.TICK)
    assert sources.ticks_ignored == 1
    assert sources.watermarks["b"] == 5 * MINUTE


def test_rows_are_believed_however_far_ahead() -> None:
    sources = known(a=0, b=0)
    sources.advance("b", HOUR, FrameKind.ROWS)
    assert sources.now == HOUR


def test_after_a_night_the_ticks_of_two_sources_confirm_each_other() -> None:
    sources = known(a=0, b=0)
    sources.advance("a", 9 * HOUR, FrameKind.TICK)
    sources.advance("b", 9 * HOUR + SECOND, FrameKind.TICK)
    assert sources.ticks_ignored == 1
    sources.advance("a", 9 * HOUR + 2 * SECOND, FrameKind.TICK)
    assert sources.now == 9 * HOUR + SECOND


def test_a_single_clock_in_2100_never_moves_time() -> None:
    sources = known(a=0, b=0)
    for second in range(1, 5):
        sources.advance("a", 10**13 + second, FrameKind.TICK)
        sources.advance("b", second * SECOND, FrameKind.TICK)
    assert sources.watermarks["a"] == 0
    assert sources.now == 0


def test_more_sources_than_the_limit_are_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOURCES_MOST", 1)
    sources = known(a=0)
    with pytest.raises(AssertionError, match="more raw partitions"):
        sources.advance("b", 0, FrameKind.ROWS)


def test_a_recording_that_ended_holds_nobody_back() -> None:
    sources = Sources(5 * MINUTE)
    sources.advance("a", 10 * MINUTE, FrameKind.ROWS)
    sources.advance("b", 8 * MINUTE, FrameKind.END)
    assert sources.now == 10 * MINUTE


def test_when_all_recordings_ended_time_is_that_of_the_last() -> None:
    sources = Sources(5 * MINUTE)
    sources.advance("a", 10 * MINUTE, FrameKind.END)
    sources.advance("b", 8 * MINUTE, FrameKind.END)
    assert sources.now == 10 * MINUTE


def test_a_recording_that_goes_on_is_waited_for_again() -> None:
    sources = Sources(5 * MINUTE)
    sources.advance("a", 10 * MINUTE, FrameKind.ROWS)
    sources.advance("b", 9 * MINUTE, FrameKind.END)
    sources.advance("b", 9 * MINUTE + 1, FrameKind.ROWS)
    sources.advance("a", 12 * MINUTE, FrameKind.ROWS)
    assert sources.now == 10 * MINUTE
    assert sources.live == ["a", "b"]


def test_rows_of_an_alert_forgotten_since_its_source_described_it_are_late() -> None:
    """A source that stood still for hours goes on without labels that it sent minutes ago, by its own time."""
    control = a_control()
    slow, fast = [Intake(name, control, is_recording=True, watermark=T0) for name in ("slow", "fast")]
    machine = Machine(control)
    frames = [*slow.step([0, 1], [an_event("db/Down", "0", received="0"), resolved("db/Down", "1s", received="1s")]).frames]
    for hour in range(1, 20):
        frames += fast.step([hour], [an_event("web/Slow", f"{hour * 30}m", received=f"{hour * 30}m")]).frames
    ends = [resolved("db/Down", said, received=said) for said in ("1m", "1m1s")]
    frames += slow.step([2, 3], ends).frames
    assert frames[-1][1].counts == [2]
    follow(machine, [over_the_log(frame) for _, frame in frames])
    assert machine.verdicts[Verdict.LATE] == 2
    assert sum(machine.verdicts.values()) + machine.waiting == 23


def test_who_is_silent_cannot_gainsay_for_longer_than_five_minutes() -> None:
    """The only other partition may have lost its broker: time stood still for as long as that was away."""
    sources = known(a=0, b=0)
    for second in range(1, 10 * 60):
        sources.advance("a", HOUR + second * SECOND, FrameKind.TICK)
        if second == 301:
            assert sources.ticks_ignored == 300
    assert sources.now == HOUR + 599 * SECOND


def test_two_that_disagree_are_both_ignored_for_as_long_as_they_do() -> None:
    sources = known(a=0, b=0, c=0)
    for second in range(1, 1_000):
        sources.advance("a", HOUR + second * SECOND, FrameKind.TICK)
        sources.advance("b", 2 * HOUR + second * SECOND, FrameKind.TICK)
    assert sources.now == 0


def test_two_that_agree_are_believed_whatever_a_third_says_in_between() -> None:
    sources = known(a=0, b=0, c=0)
    sources.advance("a", HOUR, FrameKind.TICK)
    sources.advance("c", SECOND, FrameKind.ROWS)
    sources.advance("b", HOUR, FrameKind.TICK)
    assert sources.watermarks["b"] == HOUR


def test_a_source_that_left_is_nobodys_witness_and_holds_nobody_back_until_it_goes_on() -> None:
    sources = known(a=0, b=0)
    assert sources.end_all_but(["a"])
    assert not sources.end_all_but(["a"]), "it is said once"
    sources.advance("a", HOUR, FrameKind.TICK)
    assert (sources.now, sources.live, sources.fallen_out) == (HOUR, ["a"], [])
    sources.advance("b", HOUR, FrameKind.ROWS)
    assert sources.live == ["a", "b"]


def test_a_recording_of_last_year_that_ended_is_no_witness_against_a_live_clock() -> None:
    sources = known(live=HOUR, recording=0)
    sources.advance("recording", MINUTE, FrameKind.END)
    sources.advance("live", 2 * HOUR, FrameKind.TICK)
    assert (sources.now, sources.ticks_ignored) == (2 * HOUR, 0)
