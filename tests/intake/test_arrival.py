"""The arrival clock: what it believes, what it doubts, and what it remembers meanwhile."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.arrival import HELD_MOST, START_STEP_MOST, STEP, UNSEEN_STEP_MOST, WITNESSES, ArrivalClock
from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Instant

from tests.intake.builders import NOON

THE_YEAR_2100 = 4_102_444_800_000
CALM = [NOON + number * SECOND for number in range(60)]


def decide(claims: Sequence[Instant | None], *, now: Instant | None = None) -> tuple[ArrivalClock[int], list[Instant]]:
    """Offer all claims and end the input; answer the clock and the arrival each item was given."""
    clock: ArrivalClock[int] = ArrivalClock(now)
    decided = [pair for number, claim in enumerate(claims) for pair in clock.offer(claim, number)]
    decided += clock.end()
    assert [number for _, number in decided] == list(range(len(claims)))
    return clock, [arrival for arrival, _ in decided]


@pytest.mark.parametrize("where", [0, 1, 19, 20, 21, 30, 58, 59, 60])
@pytest.mark.parametrize("bad", [0, THE_YEAR_2100, NOON - DAY])
def test_a_lone_wrong_date_moves_nothing_wherever_it_stands(where: int, bad: Instant) -> None:
    clock, arrivals = decide([*CALM[:where], bad, *CALM[where:]])
    expected = [*CALM[:where], CALM[max(0, where - 1)], *CALM[where:]]
    assert clock.now == CALM[-1]
    if bad == NOON - DAY and where == 0:
        expected[0] = bad
    assert arrivals == expected


@pytest.mark.parametrize("bad", [0, THE_YEAR_2100])
def test_a_lone_wrong_date_beside_a_single_good_one_moves_nothing(bad: Instant) -> None:
    assert decide([bad, NOON])[0].now == NOON
    assert decide([NOON, bad])[0].now == NOON


def test_two_wrong_dates_in_twenty_move_nothing() -> None:
    claims = [*CALM[:10], THE_YEAR_2100, THE_YEAR_2100, *CALM[10:]]
    assert decide(claims)[0].now == CALM[-1]


def test_a_step_of_exactly_one_hour_is_believed_at_once() -> None:
    clock: ArrivalClock[int] = ArrivalClock(NOON)
    assert clock.offer(NOON + STEP, 0) == [(NOON + STEP, 0)]
    assert clock.offer(NOON + 2 * STEP + 1, 1) == []
    assert clock.is_in_doubt


def test_a_real_gap_of_hours_is_believed_after_twenty_witnesses() -> None:
    clock: ArrivalClock[int] = ArrivalClock(NOON)
    for number in range(WITNESSES):
        assert clock.offer(NOON + 8 * HOUR + number, number) == []
    assert len(clock.offer(NOON + 8 * HOUR + WITNESSES, WITNESSES)) == WITNESSES + 1
    assert clock.now == NOON + 8 * HOUR + WITNESSES


def test_a_real_gap_with_two_stragglers_among_its_witnesses_is_believed() -> None:
    claims = [NOON + 8 * HOUR + number for number in range(WITNESSES - 1)]
    clock, arrivals = decide([*claims[:5], NOON, NOON, *claims[5:]], now=NOON)
    assert arrivals[0] == NOON + 8 * HOUR
    assert clock.now == claims[-1]


def test_a_real_gap_at_the_end_of_the_input_is_believed() -> None:
    assert decide([*CALM, NOON + 8 * HOUR, NOON + 8 * HOUR + 1])[0].now == NOON + 8 * HOUR + 1


@pytest.mark.parametrize("distance", [10 * MINUTE, 2 * HOUR, DAY, 20 * DAY])
@pytest.mark.parametrize("count", [1, 2, 5, 25, 50])
def test_a_quiet_recording_is_believed_event_by_event(distance: int, count: int) -> None:
    claims = [NOON + number * distance for number in range(count)]
    _, arrivals = decide(claims)
    believed = len(claims) if distance <= UNSEEN_STEP_MOST else max(1, len(claims) - 1)
    assert arrivals[:believed] == claims[:believed]


def test_a_last_claim_without_witness_is_believed_within_a_week() -> None:
    assert decide([NOON, NOON + UNSEEN_STEP_MOST])[0].now == NOON + UNSEEN_STEP_MOST
    assert decide([NOON, NOON + 1, NOON + UNSEEN_STEP_MOST + 2])[0].now == NOON + 1


def test_a_lone_item_starts_the_clock() -> None:
    assert decide([NOON])[1] == [NOON]


def test_a_recording_may_start_a_year_before_its_second_event() -> None:
    assert decide([NOON, NOON + START_STEP_MOST])[1][0] == NOON


def test_an_item_without_any_time_is_given_the_clocks() -> None:
    assert decide([None, None, NOON, None])[1] == [NOON] * 4
    assert decide([None], now=NOON)[1] == [NOON]


def test_an_input_without_any_time_at_all_lies_at_the_beginning_of_time() -> None:
    assert decide([None, None])[1] == [0, 0]


def test_a_live_clock_decides_all_that_is_held() -> None:
    clock: ArrivalClock[str] = ArrivalClock(NOON)
    for claim, name in ((NOON + 2 * HOUR, "true"), (THE_YEAR_2100, "false"), (None, "silent")):
        assert clock.offer(claim, name) == []
    live = NOON + 2 * HOUR + 5
    assert clock.witness(live) == [(live - 5, "true"), (live - 5, "false"), (live - 5, "silent")]
    assert (clock.now, clock.is_in_doubt) == (live, False)


def test_a_live_clock_starts_one_that_has_none() -> None:
    clock: ArrivalClock[str] = ArrivalClock()
    clock.offer(THE_YEAR_2100, "false")
    assert clock.witness(NOON) == [(NOON, "false")]


def test_a_live_clock_never_moves_time_back() -> None:
    clock: ArrivalClock[str] = ArrivalClock(NOON)
    clock.witness(NOON - 1)
    assert clock.now == NOON


@pytest.mark.parametrize("now", [None, NOON])
def test_what_is_held_is_bounded_and_the_limit_speaks(now: Instant | None) -> None:
    clock: ArrivalClock[int] = ArrivalClock(now)
    clock.offer(THE_YEAR_2100 if now else None, 0)
    for number in range(1, 3 * HELD_MOST):
        clock.offer(None, number)
        assert clock.held < HELD_MOST
    assert clock.forced > 0


@given(st.lists(st.none() | st.sampled_from([0, NOON, NOON + 2 * HOUR, NOON + DAY, THE_YEAR_2100]) | st.integers(NOON, NOON + 6 * HOUR)))
def test_every_item_is_decided_once_in_order_and_time_never_goes_back(claims: list[Instant | None]) -> None:
    clock, arrivals = decide(claims)
    assert arrivals == sorted(arrivals)
    assert not arrivals or clock.now == arrivals[-1]


@given(st.lists(st.sampled_from([NOON, NOON + 2 * HOUR, NOON + 9 * HOUR, THE_YEAR_2100, 0, None]), max_size=60), st.integers(0, 60))
def test_a_clock_restarted_at_the_first_item_in_doubt_decides_the_same(claims: list[Instant | None], crash: int) -> None:
    first: ArrivalClock[int] = ArrivalClock(NOON)
    before = [pair for number, claim in enumerate(claims[:crash]) for pair in first.offer(claim, number)]
    second: ArrivalClock[int] = ArrivalClock(first.now)
    again = [pair for number, claim in enumerate(claims[len(before) :], start=len(before)) for pair in second.offer(claim, number)]
    again += second.end()
    assert [arrival for arrival, _ in [*before, *again]] == decide(claims, now=NOON)[1]
