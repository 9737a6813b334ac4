"""Pace: how far others let an intake go, what that costs, and how long it waits for one that stands still."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.model.instant import HOUR, MINUTE, NEVER, SECOND, Instant
from correlator.runtime.memory import MemoryLog
from correlator.runtime.pace import LOOK_HOLDS_S, PATIENCE_S, Note, Pace, hold_of, read_note
from correlator.runtime.ports import Messages, Position, TopicPartition, TopicSettings
from correlator.runtime.telemetry import Telemetry

from tests.builders import T0

GROUP = "intake"
HOLD = 4 * MINUTE
MINE, OTHER, THIRD = [TopicPartition("raw", number) for number in range(3)]


class World:
    """A log with three raw partitions, and a clock of seconds that a test moves."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.log = MemoryLog(on_call=self._count)
        self.now = 0.0
        self.rested: list[float] = []
        self.telemetry = Telemetry()

    def _count(self, call: str) -> None:
        self.calls[call] += 1

    async def opened(self) -> "World":
        await self.log.open_topics([TopicSettings("raw", 3)])
        self.calls.clear()
        return self

    async def _rest(self, seconds: float) -> None:
        self.rested.append(seconds)

    def pace(self, *others: TopicPartition, is_recording: bool = False) -> Pace:
        pace = Pace(
            self.log,
            GROUP,
            others,
            is_recording=is_recording,
            telemetry=self.telemetry,
            seconds=lambda: self.now,
            rest=self._rest,
        )
        pace.hold = HOLD
        return pace

    async def records(self, tp: TopicPartition, count: int = 10) -> None:
        writer = self.log.writer(None)
        await writer.begin()
        await writer.send(tp, Messages([b""] * count))
        await writer.commit()

    async def stands(self, tp: TopicPartition, offset: int, note: Note) -> None:
        writer = self.log.writer(f"writer of {tp}")
        await writer.start()
        await writer.begin()
        await writer.send_offsets(GROUP, {tp: Position(offset, note.written())})
        await writer.commit()

    @property
    def given_up(self) -> float:
        return self.telemetry.registry.get_sample_value("correlator_partitions_given_up_total") or 0


@given(watermark=st.integers(0, NEVER), latest=st.integers(0, NEVER), more=st.none() | st.integers(1, HOUR), is_live=st.booleans())
def test_a_note_is_read_as_it_was_written(watermark: Instant, latest: Instant, *, more: int | None, is_live: bool) -> None:
    note = Note(watermark, latest, watermark + more if more is not None else None, is_live)
    assert read_note(note.written()) == note


def test_a_note_of_an_earlier_version_is_read() -> None:
    assert read_note("7 9") == Note(7, 9)
    assert read_note("") == Note()


async def test_a_partition_alone_goes_as_far_as_it_likes_and_asks_nobody() -> None:
    world = await World().opened()
    pace = world.pace()
    await pace.refresh(NEVER)
    assert await pace.reaches(NEVER, is_end=True)
    assert not world.calls


async def test_who_is_not_behind_holds_nobody_back() -> None:
    world = await World().opened()
    await world.records(THIRD)
    await world.stands(THIRD, 10, Note(T0, T0))
    pace = world.pace(OTHER, THIRD)
    assert await pace.reaches(NEVER, is_end=True)


@pytest.mark.parametrize(
    ("note", "until"),
    [
        (Note(), 0),
        (Note(0, T0, T0), T0),
        (Note(T0, T0), T0 + HOLD),
        (Note(T0, T0, T0 + HOLD - 1), T0 + HOLD),
        (Note(T0, T0, T0 + HOUR), T0 + HOUR),
    ],
)
async def test_who_is_behind_lets_others_say_what_machines_wait_for_and_what_its_clock_has_passed(note: Note, until: Instant) -> None:
    world = await World().opened()
    await world.records(OTHER)
    await world.stands(OTHER, 3, note)
    pace = world.pace(OTHER)
    assert await pace.reaches(until)
    assert not await pace.reaches(until + 1)


async def test_all_wait_for_one_that_never_committed() -> None:
    world = await World().opened()
    for tp in (OTHER, THIRD):
        await world.records(tp)
    await world.stands(THIRD, 1, Note(T0 + HOUR, T0))
    assert not await world.pace(OTHER, THIRD).reaches(1)


async def test_a_recording_ends_when_all_that_are_behind_were_heard() -> None:
    world = await World().opened()
    await world.records(OTHER)
    pace = world.pace(OTHER)
    assert await pace.reaches(0)
    assert not await pace.reaches(0, is_end=True)
    await world.stands(OTHER, 1, Note(T0, T0, T0 + HOUR))
    assert await pace.reaches(0, is_end=True)


async def test_what_the_last_look_allows_costs_no_other_look() -> None:
    world = await World().opened()
    await world.records(OTHER)
    await world.stands(OTHER, 3, Note(T0, T0))
    pace = world.pace(OTHER)
    await pace.refresh(T0)
    world.calls.clear()
    for step in range(5):
        await pace.refresh(T0 + step * HOLD // 4)
        assert await pace.reaches(T0 + step * HOLD // 4)
    assert not world.calls


@pytest.mark.parametrize(("is_recording", "looks"), [(False, 2), (True, LOOK_HOLDS_S + 1)])
async def test_one_that_was_not_behind_may_be_by_now(is_recording: bool, looks: int) -> None:  # noqa: FBT001 - a kind of topic
    world = await World().opened()
    pace = world.pace(OTHER, is_recording=is_recording)
    for second in range(LOOK_HOLDS_S + 1):
        world.now = float(second)
        await pace.refresh(T0)
    assert world.calls["bounds:after"] == looks


async def test_patience_ends_when_the_slowest_stood_still_for_too_long(caplog: pytest.LogCaptureFixture) -> None:
    world = await World().opened()
    for tp in (OTHER, THIRD):
        await world.records(tp)
    await world.stands(OTHER, 1, Note(T0, T0))
    await world.stands(THIRD, 1, Note(T0, T0, T0 + SECOND))
    pace = world.pace(OTHER, THIRD)
    assert not await pace.reaches(T0 + HOUR)
    world.now = PATIENCE_S - 1
    assert not await pace.reaches(T0 + HOUR)
    await world.stands(OTHER, 2, Note(T0 + 1, T0))
    assert not await pace.reaches(T0 + HOUR)
    world.now += PATIENCE_S - 1
    assert not await pace.reaches(T0 + HOUR)
    assert world.given_up == 0
    world.now += 1
    assert not await pace.reaches(T0 + HOUR), "the third is the slowest now, and has its own time"
    assert (world.given_up, caplog.messages) == (
        1,
        ["raw-1 has a backlog and has not moved for 30 s; the other raw partitions go on without it"],
    )
    await world.stands(THIRD, 10, Note(T0 + 2 * HOUR, T0))
    assert await pace.reaches(NEVER - 1)
    await world.stands(OTHER, 3, Note(T0 + HOUR, T0))
    pace = world.pace(OTHER, THIRD)
    assert not await pace.reaches(T0 + 2 * HOUR), "it moves again, and is waited for again"


async def test_one_that_was_given_up_is_waited_for_again_when_it_moves() -> None:
    world = await World().opened()
    await world.records(OTHER)
    pace = world.pace(OTHER)
    assert not await pace.reaches(T0)
    world.now = PATIENCE_S
    assert not await pace.reaches(T0)
    assert await pace.reaches(T0)
    await world.stands(OTHER, 1, Note(T0, T0))
    world.now += LOOK_HOLDS_S
    await pace.refresh(T0)
    assert pace.until == T0 + HOLD


async def test_pauses_grow_while_nothing_moves_and_are_short_again_when_something_does() -> None:
    world = await World().opened()
    await world.records(OTHER)
    await world.stands(OTHER, 1, Note(T0, T0))
    pace = world.pace(OTHER)
    for _ in range(8):
        assert not await pace.reaches(T0 + HOUR)
        await pace.rest()
    assert world.rested == sorted(world.rested)
    await world.stands(OTHER, 2, Note(T0 + 1, T0))
    assert not await pace.reaches(T0 + HOUR)
    await pace.rest()
    assert world.rested[-1] == world.rested[0] < world.rested[-2] <= 0.1


@given(st.integers(SECOND, HOUR))
def test_a_hold_is_shorter_than_machines_wait(max_hold: int) -> None:
    assert 0 < hold_of(max_hold) < max_hold
