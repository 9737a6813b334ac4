"""The timer wheel against a plain scan of all due times."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from correlator.model.instant import HOUR, MINUTE, NEVER, SECOND, Instant
from correlator.state.wheel import ASLEEP, STALE_MOST, TimerWheel

DUES = st.integers(-3 * SECOND, 3 * SECOND) | st.integers(0, HOUR) | st.just(NEVER)


@dataclass(eq=False)
class Sleeper:
    """An item whose due time tests may move at will."""

    key: bytes
    due: Instant = NEVER
    wake: int = field(default=ASLEEP)


def a_wheel() -> TimerWheel[Sleeper]:
    return TimerWheel(lambda sleeper: sleeper.due)


def drain(wheel: TimerWheel[Sleeper]) -> list[tuple[Instant, bytes]]:
    order = []
    while (due := wheel.next_due()) < NEVER:
        sleeper = wheel.pop()
        order.append((due, sleeper.key))
    return order


class AWheelIsAPlainScan(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.wheel = a_wheel()
        self.sleepers = [Sleeper(bytes([number])) for number in range(6)]

    def _scan(self) -> tuple[Instant, bytes]:
        return min((sleeper.due, sleeper.key) for sleeper in self.sleepers)

    @rule(number=st.integers(0, 5), due=DUES)
    def move(self, number: int, due: Instant) -> None:
        self.sleepers[number].due = due
        self.wheel.schedule(self.sleepers[number])

    @rule(number=st.integers(0, 5), later=st.integers(0, HOUR))
    def postpone_in_silence(self, number: int, later: int) -> None:
        if self.sleepers[number].due < NEVER:
            self.sleepers[number].due += later

    @rule(number=st.integers(0, 5))
    def cancel_in_silence(self, number: int) -> None:
        self.sleepers[number].due = NEVER

    @precondition(lambda self: self._scan()[0] < NEVER)
    @rule(again=DUES)
    def wake_the_first(self, again: Instant) -> None:
        due, key = self._scan()
        assert self.wheel.next_due() == due
        first = self.wheel.pop()
        assert first.key == key
        first.due = again
        self.wheel.schedule(first)

    @rule()
    def look(self) -> None:
        assert self.wheel.next_due() == self._scan()[0]

    @invariant()
    def no_more_live_entries_than_items(self) -> None:
        assert self.wheel.live == sum(sleeper.wake != ASLEEP for sleeper in self.sleepers) <= 6
        assert self.wheel.live <= self.wheel.entries <= 2 * self.wheel.live + STALE_MOST

    def teardown(self) -> None:
        expected = sorted((sleeper.due, sleeper.key) for sleeper in self.sleepers if sleeper.due < NEVER)
        assert drain(self.wheel) == expected
        assert (self.wheel.live, self.wheel.entries) == (0, 0)


TestAWheelIsAPlainScan = AWheelIsAPlainScan.TestCase


@given(st.lists(st.integers(-5 * SECOND, 5 * SECOND), max_size=40))
def test_items_wake_in_the_order_of_due_and_key(dues: list[int]) -> None:
    wheel = a_wheel()
    sleepers = [Sleeper(bytes([number]), due) for number, due in enumerate(dues)]
    for sleeper in sleepers:
        wheel.schedule(sleeper)
    assert drain(wheel) == sorted((sleeper.due, sleeper.key) for sleeper in sleepers)


def test_a_million_postponements_of_one_item_cost_one_entry() -> None:
    wheel, sleeper = a_wheel(), Sleeper(b"a", 10 * SECOND)
    for _ in range(10_000):
        sleeper.due += SECOND
        wheel.schedule(sleeper)
    assert wheel.entries == 1


@pytest.mark.parametrize("far", [15 * MINUTE, 5 * HOUR])
def test_an_item_that_flaps_between_near_and_far_leaves_bounded_stale_entries(far: int) -> None:
    wheel, sleeper = a_wheel(), Sleeper(b"a")
    for second in range(5 * STALE_MOST):
        now = second * SECOND
        sleeper.due = now + far
        wheel.schedule(sleeper)
        sleeper.due = now + 1
        wheel.schedule(sleeper)
        assert wheel.next_due() == now + 1
        assert wheel.pop() is sleeper
        assert wheel.entries <= 2 + STALE_MOST


def test_an_item_that_moves_earlier_again_and_again_leaves_bounded_stale_entries() -> None:
    wheel = a_wheel()
    near, moving = Sleeper(b"a", 0), Sleeper(b"b", 999)
    for sleeper in (near, moving):
        wheel.schedule(sleeper)
    assert wheel.next_due() == 0
    for due in range(998, 0, -1):
        moving.due = due
        wheel.schedule(moving)
    moving.due = 900
    assert wheel.entries <= 2 * wheel.live + STALE_MOST
    assert drain(wheel) == [(0, b"a"), (900, b"b")]


def test_throwing_out_stale_entries_keeps_the_near_ones() -> None:
    wheel = a_wheel()
    others = [Sleeper(number.to_bytes(2, "big"), number) for number in range(100)]
    flapping = Sleeper(b"\xff\xff")
    for sleeper in others:
        wheel.schedule(sleeper)
    assert wheel.next_due() == 0
    for second in range(2 * STALE_MOST, 0, -1):
        flapping.due = second * SECOND + HOUR
        wheel.schedule(flapping)
    assert wheel.entries <= 2 * wheel.live + STALE_MOST
    assert [key for _, key in drain(wheel)] == [sleeper.key for sleeper in [*others, flapping]]


def test_an_item_without_a_due_time_is_not_kept() -> None:
    wheel = a_wheel()
    wheel.schedule(Sleeper(b"a"))
    assert (wheel.entries, wheel.next_due()) == (0, NEVER)
