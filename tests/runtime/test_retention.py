"""What is old goes, and nothing else: not what somebody still needs, and not because its own time is long ago."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.config.settings import RetentionSettings, Settings
from correlator.intake.formats import Format
from correlator.model.instant import DAY, HOUR, MINUTE, SECOND
from correlator.runtime.caution import Caution
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.database import FILE_NAME
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.files import Records
from correlator.runtime.http import STARTING, Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.memory import MemoryLog
from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Full, Log, Messages, Refused, TopicPartition, TopicSettings
from correlator.runtime.publish import publish
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.trimming import MARKS
from correlator.runtime.upkeep import Upkeep
from correlator.runtime.worker import Worker

from tests.builders import a_control, an_event
from tests.runtime.test_telemetry import value

NOW = 1_800_000_000_000
EVENTS, STATE = TopicPartition("events", 0), TopicPartition("state", 0)
WEEK = 7 * DAY
TOPICS = [TopicSettings("events", retention=WEEK), TopicSettings("state", compacted=True, retention=DAY), TopicSettings("kept")]


class Clock:
    """A clock that a test moves, in ms."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "embedded"])
async def log(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Log:
    made: Log = MemoryLog(clock=clock) if request.param == "memory" else await EmbeddedLog.open(tmp_path, clock=clock)
    await made.open_topics(TOPICS)
    return made


async def write(log: Log, tp: TopicPartition, messages: Messages) -> None:
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(tp, messages)
    await writer.commit()
    await writer.close()


async def state(log: Log) -> dict[bytes | None, bytes | None]:
    reader = log.reader(STATE)
    batch = await reader.poll(max_records=1000, timeout_ms=0)
    return dict(zip(batch.keys, batch.values, strict=True))


# ---------------------------------------------------------------- age


async def test_a_record_stays_for_its_retention_and_then_goes(log: Log, clock: Clock) -> None:
    await write(log, EVENTS, Messages([b"old"] * 3))
    await log.expire({EVENTS: None})
    clock.now += WEEK - 1
    await write(log, EVENTS, Messages([b"new"]))
    await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (0, 4)
    clock.now += 1
    await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (3, 4)
    await log.close()


async def test_a_recording_of_long_ago_goes_by_when_it_was_published(log: Log, clock: Clock) -> None:
    await write(log, EVENTS, Messages([b"x"] * 3, timestamps=[0, 1, 2]))
    await log.expire({EVENTS: None})
    clock.now += WEEK - 1
    await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (0, 3)
    await log.close()


async def test_what_is_needed_stays_however_old_it_is_and_goes_when_it_is_not_needed_any_more(log: Log, clock: Clock) -> None:
    for number in range(5):
        await write(log, EVENTS, Messages([b"%d" % number]))
    await log.expire({EVENTS: 2})
    clock.now += 3 * WEEK
    for needed_from, first in ((0, 0), (2, 2), (2, 2), (4, 4), (5, 5)):
        await log.expire({EVENTS: needed_from})
        assert await log.bounds(EVENTS) == (first, 5)
    await log.close()


async def test_a_topic_without_retention_and_a_partition_that_is_not_named_keep_all(log: Log, clock: Clock) -> None:
    kept = TopicPartition("kept", 0)
    for tp in (EVENTS, kept):
        await write(log, tp, Messages([b"x"]))
    for _ in range(3):
        await log.expire({kept: None})
        clock.now += 3 * WEEK
    assert await log.bounds(EVENTS) == await log.bounds(kept) == (0, 1)
    await log.close()


async def test_tombstones_go_and_values_stay(log: Log, clock: Clock) -> None:
    await write(log, STATE, Messages([b"1", b"2", None], keys=[b"a", b"b", b"b"]))
    await log.expire({STATE: None})
    clock.now += DAY
    await write(log, STATE, Messages([None], keys=[b"c"]))
    await log.expire({STATE: None})
    assert await state(log) == {b"a": b"1", b"c": None}
    clock.now += DAY
    await log.expire({STATE: None})
    assert await state(log) == {b"a": b"1"}
    await log.close()


async def test_deleted_keys_do_not_come_back_where_older_records_are_still_there(clock: Clock) -> None:
    log = MemoryLog(clock=clock, cleans=False)
    await log.open_topics(TOPICS)
    await write(log, STATE, Messages([b"1", b"2", None], keys=[b"a", b"b", b"b"]))
    await log.expire({STATE: None})
    clock.now += DAY
    await log.expire({STATE: None})
    assert await state(log) == {b"a": b"1"}


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10 * DAY), st.integers(0, 40), st.booleans()), max_size=25)


@pytest.mark.parametrize("name", ["memory", "embedded"])
@given(plan=steps)
async def test_nothing_young_or_needed_ever_goes_and_the_rest_does(
    tmp_path_factory: pytest.TempPathFactory, name: str, plan: list[tuple[int, int, int, bool]]
) -> None:
    clock = Clock()
    log: Log = MemoryLog(clock=clock) if name == "memory" else await EmbeddedLog.open(tmp_path_factory.mktemp("log"), clock=clock)
    await log.open_topics(TOPICS)
    came: list[int] = []
    needed = 0
    for records, pause, read, looks in plan:
        clock.now += pause
        if records:
            await write(log, EVENTS, Messages([b"x"] * records, timestamps=[0] * records))
            came += [clock.now] * records
        needed = min(len(came), max(needed, read))
        if looks:
            await log.expire({EVENTS: needed})
        young = next((number for number, at in enumerate(came) if clock.now - at < WEEK), len(came))
        first, end = await log.bounds(EVENTS)
        assert first <= min(young, needed)
        assert end == len(came)
    for later in (0, WEEK // MARKS, WEEK):
        clock.now += later
        await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (len(came), len(came))
    await log.close()


# ---------------------------------------------------------------- the embedded file


async def test_marks_are_bounded_however_often_one_looks(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock)
    await log.open_topics(TOPICS)
    for _ in range(3 * MARKS):
        clock.now += WEEK // MARKS // 2
        await write(log, EVENTS, Messages([b"x"]))
        await log.expire({EVENTS: None})
    (marks,) = log._db.execute("SELECT count(*) FROM marks").fetchone()  # noqa: SLF001 - no reader ever sees a mark
    assert marks <= MARKS + 3
    first, end = await log.bounds(EVENTS)
    assert 2 * MARKS <= end - first <= 2 * MARKS + 4
    await log.close()


async def test_a_file_of_schema_1_is_given_marks_and_keeps_all_it_has_for_a_whole_retention(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock)
    await log.open_topics(TOPICS)
    await write(log, EVENTS, Messages([b"x"]))
    await log.close()
    file = sqlite3.connect(tmp_path / FILE_NAME)
    file.executescript("DROP TABLE marks; PRAGMA user_version = 1")
    file.close()
    for later, first in ((0, 0), (WEEK - 1, 0), (1, 1)):
        clock.now += later
        log = await EmbeddedLog.open(tmp_path, clock=clock)
        await log.open_topics(TOPICS)
        await log.expire({EVENTS: None})
        assert await log.bounds(EVENTS) == (first, 1)
        await log.close()


async def test_many_segments_go_in_slices_and_their_room_is_used_again(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock)
    await log.open_topics(TOPICS)
    body = Messages([b"x" * 1000] * 100)
    for _ in range(100):
        await write(log, EVENTS, body)
    await log.expire({EVENTS: None})
    clock.now += WEEK
    await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (10_000, 10_000)
    (pages,) = log._db.execute("PRAGMA page_count").fetchone()  # noqa: SLF001 - the size of the file, WAL included
    for _ in range(90):
        await write(log, EVENTS, body)
    assert log._db.execute("PRAGMA page_count").fetchone() == (pages,)  # noqa: SLF001
    await log.close()


async def test_a_file_that_cannot_be_written_refuses_to_be_trimmed_and_is_whole(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock)
    await log.open_topics(TOPICS)
    await write(log, EVENTS, Messages([b"x"]))
    await log.expire({EVENTS: None})
    clock.now += WEEK
    log._db.execute("PRAGMA query_only = ON")  # noqa: SLF001 - SQLite's own way to the error of a read-only disk
    with pytest.raises(Refused, match="cannot be written: give this user write permission"):
        await log.expire({EVENTS: None})
    log._db.execute("PRAGMA query_only = OFF")  # noqa: SLF001
    assert await log.bounds(EVENTS) == (0, 1)
    await log.expire({EVENTS: None})
    assert await log.bounds(EVENTS) == (1, 1)
    await log.close()


async def test_a_full_log_can_be_trimmed_and_takes_records_again(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock, max_bytes=3_000_000)
    await log.open_topics(TOPICS)
    body = Messages([b"x" * 10_000] * 20)
    with pytest.raises(Full):
        await asyncio.gather(*[write(log, EVENTS, body) for _ in range(100)])
    await log.expire({EVENTS: None})
    clock.now += WEEK
    await log.expire({EVENTS: None})
    _, end = await log.bounds(EVENTS)
    assert await log.bounds(EVENTS) == (end, end)
    await write(log, EVENTS, body)
    await log.close()


# ---------------------------------------------------------------- the service

NAMES = Topics("correlator")
RAW, FRAMES = TopicPartition(NAMES.raw("events"), 0), TopicPartition(NAMES.frames, 0)
SETTINGS = Settings.model_validate({"topics": [{"name": "events", "arrival": "item"}], "checkpoint": {"rows": 1}})


async def run_until_idle(log: Log, clock: Clock) -> Telemetry:
    telemetry = Telemetry()
    worker = Worker(log, SETTINGS, a_control(), telemetry=telemetry, readiness=Readiness(), clock=clock)
    await worker.run(until_idle=True)
    return telemetry


async def publish_story(log: Log, first: int) -> None:
    lines = [an_event("db/Down", f"{first + number}m") for number in range(3)]
    await publish(log, RAW.topic, iter([Records(lines, list(range(1, 4)))]), marks_end=True)


async def test_a_service_drops_what_it_has_done_and_goes_on_from_its_checkpoint(tmp_path: Path, clock: Clock) -> None:
    log = await EmbeddedLog.open(tmp_path, clock=clock)
    await run_until_idle(log, clock)
    clock.now += HOUR * 2
    await publish_story(log, 0)
    await run_until_idle(log, clock)
    done = [await log.bounds(tp) for tp in (RAW, FRAMES)]
    assert [first for first, _ in done] == [0, 0]
    clock.now += WEEK
    await publish_story(log, 3)
    telemetry = await run_until_idle(log, clock)
    assert [(await log.bounds(tp))[0] for tp in (RAW, FRAMES)] == [end for _, end in done]
    assert value(telemetry, "items_judged_total", verdict="repeat") == 3, "the alert is known from the checkpoint"
    await log.close()


def an_upkeep(log: Log, clock: Clock) -> tuple[Upkeep, Readiness, Telemetry, IntakeTask, CorrelateTask]:
    readiness, telemetry = Readiness(), Telemetry()
    readiness.ready(STARTING)
    intake = IntakeTask(log, NAMES, RAW, form=Format.AUTO, is_recording=True, caution=Caution(10), telemetry=telemetry, clock=clock)
    correlate = CorrelateTask(
        log, NAMES, 0, domain="default", checkpoint=SETTINGS.checkpoint, telemetry=telemetry, on_restored=lambda: None
    )
    upkeep = Upkeep(
        log,
        NAMES,
        RetentionSettings(),
        intakes={RAW: intake},
        correlates={0: correlate},
        telemetry=telemetry,
        readiness=readiness,
        clock=clock,
    )
    return upkeep, readiness, telemetry, intake, correlate


@pytest.mark.parametrize(("age", "is_ready"), [(0, True), (WEEK // 2, True), (WEEK // 2 + 1, False), (3 * WEEK, False)])
async def test_a_backlog_of_frames_past_half_of_their_retention_is_not_ready(clock: Clock, *, age: int, is_ready: bool) -> None:
    upkeep, readiness, telemetry, _, correlate = an_upkeep(MemoryLog(clock=clock), clock)
    correlate.waiting_since = clock.now
    clock.now += age
    upkeep.look()
    assert readiness.is_ready is is_ready
    assert value(telemetry, "lag_seconds", stage=Stage.CORRELATE) == age / SECOND
    correlate.waiting_since = None
    upkeep.look()
    assert readiness.is_ready
    assert value(telemetry, "lag_seconds", stage=Stage.CORRELATE) == 0


async def test_the_reason_says_what_is_behind_and_what_to_do(clock: Clock) -> None:
    upkeep, readiness, _, intake, _ = an_upkeep(MemoryLog(clock=clock), clock)
    intake.waiting_since = clock.now - 4 * DAY - 2 * HOUR - 5 * MINUTE - 1
    upkeep.look()
    assert readiness.reasons == [
        "intake is 4d2h5m behind on correlator.events-0, whose records are kept for 7d: speed it up, or raise log_retention.raw"
    ]


class GrowingLog(MemoryLog):
    """A log whose topics have two partitions more than they were made with, when it `has_grown`."""

    has_grown = False

    async def partitions(self, topic: str) -> int:
        return await super().partitions(topic) + (2 if self.has_grown else 0)


async def test_raw_partitions_that_were_added_are_told_since_nobody_reads_them(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = GrowingLog(clock=clock)
    await log.open_topics(NAMES.settings({"events": 1}, 1))
    upkeep, readiness, _, _, _ = an_upkeep(log, clock)
    await upkeep.count()
    assert readiness.is_ready
    log.has_grown = True
    for _ in range(2):
        await upkeep.count()
    told = "correlator.events has 3 partitions now, and 1 when we started: nobody reads the others; set `partitions: 3` and restart"
    assert readiness.reasons == caplog.messages == [told]


async def test_a_partition_whose_task_does_not_know_where_it_stands_is_left_alone(clock: Clock) -> None:
    log = MemoryLog(clock=clock)
    await log.open_topics(NAMES.settings({"events": 1}, 1))
    await write(log, RAW, Messages([b"x"]))
    upkeep, _, _, intake, _ = an_upkeep(log, clock)
    for _ in range(3):
        await upkeep.clean()
        clock.now += WEEK
    assert await log.bounds(RAW) == (0, 1)
    intake.needed_from = 1
    for _ in range(2):
        await upkeep.clean()
        clock.now += WEEK
    assert await log.bounds(RAW) == (1, 1)
