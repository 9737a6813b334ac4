"""Limits that are met are told to people: soon, with their number, and at most once a minute each."""

import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.output import IntakeCounts
from correlator.model.event import Flag, Rejection
from correlator.model.instant import MINUTE
from correlator.runtime.limits import MEANING_BY_LIMIT, Limit, LimitNotices, limits_of


class Clock:
    """A clock that a test moves, in ms."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[object, ...]]:
    return [record.args[1:3] for record in caplog.records if isinstance(record.args, tuple)]


def test_a_limit_is_told_at_once_then_once_a_minute_with_all_that_happened_meanwhile(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    notices = LimitNotices("events-0", clock)
    with caplog.at_level(logging.WARNING):
        for step in range(0, 2 * MINUTE + 1, MINUTE // 4):
            clock.now = 1_000 + step
            notices.note({Limit.IDS: 2, Limit.DOUBTS: 0})
    assert told(caplog) == [(Limit.IDS, 2), (Limit.IDS, 8), (Limit.IDS, 8)]
    assert caplog.records[0].getMessage().startswith("degraded: events-0: limit 'ids' met 2 times: ")


def test_each_limit_is_told_for_itself(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    notices = LimitNotices("frames-0", clock)
    with caplog.at_level(logging.WARNING):
        notices.note({Limit.ALERTS: 1})
        notices.note({Limit.ALERTS: 1, Limit.INCIDENTS: 4})
    assert told(caplog) == [(Limit.ALERTS, 1), (Limit.INCIDENTS, 4)]


def test_every_limit_has_a_meaning() -> None:
    assert list(MEANING_BY_LIMIT) == list(Limit)


numbers = st.integers(0, 1_000)
VALUES = {
    "rejected": st.dictionaries(st.sampled_from(Rejection), st.integers(1, 9)).map(Counter),
    "flagged": st.dictionaries(st.sampled_from(Flag), st.integers(1, 9)).map(Counter),
}
counts = st.builds(IntakeCounts, **{name: VALUES.get(name, numbers) for name in IntakeCounts.__struct_fields__})


@given(counts, counts)
def test_no_field_is_forgotten_when_counts_are_added(one: IntakeCounts, other: IntakeCounts) -> None:
    before = {name: getattr(one, name) for name in IntakeCounts.__struct_fields__}
    one.absorb(other)
    for name in IntakeCounts.__struct_fields__:
        assert getattr(one, name) == before[name] + getattr(other, name)


def test_every_count_of_intake_that_is_a_limit_is_one_of_the_limits() -> None:
    funnel = {"received", "forwarded", "rejected", "flagged"}
    for name in IntakeCounts.__struct_fields__:
        counts = IntakeCounts()
        if name not in funnel:
            setattr(counts, name, 3)
            assert sum(limits_of(counts).values()) == 3
