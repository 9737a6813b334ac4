"""What happens to a worker on a real broker: outages, topics that vanish, odd records, clocks that jump. Nothing is lost without a word."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Final, Literal

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from correlator.config.settings import Settings, TopicSettings
from correlator.frames.codec import decode_frame
from correlator.frames.control import Control
from correlator.intake.formats import Format
from correlator.model.instant import HOUR, SECOND, Instant
from correlator.runtime.caution import Caution
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.fatal import StoppedError
from correlator.runtime.http import Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka.writer import KafkaWriter
from correlator.runtime.ports import Messages, Position, Refused, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import END_HEADER, Topics
from correlator.runtime.worker import Worker

from loadtest.broker import Broker
from tests.builders import a_control, an_event
from tests.profile import IS_NIGHT

OUTAGE_S: Final = 60.0 if IS_NIGHT else 5.0
MB: Final = 1024 * 1024
NUMBERS: Final = count()
BELIEVED: Final = 25
"""So many events of a recording are witness enough for the time of the first."""
pytestmark = pytest.mark.timeout(240)


class Application:
    """One application on a broker, its worker made anew as often as a test likes."""

    def __init__(self, log: "BreakingLog", prefix: str) -> None:
        self.log = log
        self.settings = Settings(prefix=prefix, topics=(TopicSettings(name="events"),))
        self.topics = Topics(prefix)
        self.raw = TopicPartition(self.topics.raw("events"), 0)
        self.telemetry = Telemetry()
        self.readiness = Readiness()

    def worker(self, control: Control | None = None) -> Worker:
        control = control if control is not None else a_control()
        return Worker(self.log, self.settings, control, telemetry=self.telemetry, readiness=self.readiness)

    async def judge(self) -> None:
        """Run a worker until all is judged."""
        await self.worker().run(until_idle=True)

    async def publish(self, values: Sequence[bytes], stamps: Sequence[Instant] | None = None, *, to: TopicPartition | None = None) -> None:
        writer = self.log.writer(None)
        await writer.start()
        await writer.begin()
        await writer.send(to or self.raw, Messages(values, timestamps=stamps))
        await writer.commit()
        await writer.close()

    async def position(self) -> int:
        """Where intake stands."""
        committed = await self.log.committed(self.topics.intake_group, self.raw)
        return committed.offset if committed is not None else 0

    async def items(self) -> int:
        """Count the items on the internal log."""
        tp = TopicPartition(self.topics.frames, 0)
        return sum([decode_frame(value or b"").items async for batch in read_all(self.log, tp, most=1_000) for value in batch.values])

    async def until_items(self, count: int) -> None:
        while await self.items() < count:
            pass

    def count(self, name: str, **labels: str) -> int:
        return int(self.telemetry.registry.get_sample_value(f"correlator_{name}", labels) or 0)


@pytest.fixture
async def app(broker: Broker, request: pytest.FixtureRequest) -> AsyncIterator[Application]:
    """An application with a name of its own, whose topics are there."""
    log = await BreakingLog.open(Access([broker.address]), patience_ms=3_000)
    assert isinstance(log, BreakingLog)
    name = "".join([letter if letter.isalnum() else "-" for letter in request.node.name])[:50].strip("-").lower()
    made = Application(log, f"{name}-{next(NUMBERS)}")
    await made.judge()
    made.readiness = Readiness()  # the first worker's says that it stops
    yield made
    await log.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}, "what a broker interrupted is ended all the same"


@asynccontextmanager
async def admin(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    yield client
    await client.close()


def forget(broker: Broker, group: str) -> None:
    """Let the broker forget a group, as it does with one that is idle for too long."""
    kept = AdminClient({"bootstrap.servers": broker.address})
    for gone in kept.delete_consumer_groups([group]).values():
        gone.result(timeout=20)


def events(count: int, *, first: int = 0) -> list[bytes]:
    now = time.time_ns() // 1_000_000
    return [an_event(f"db/A{number}", now) for number in range(first, first + count)]


class BreakingLog(KafkaLog):
    """Its broker is killed when rules are about to be put in force, once."""

    broker: Broker | None = None

    def writer(self, transactional_id: str | None) -> KafkaWriter:
        if str(transactional_id).endswith("-control") and self.broker is not None:
            self.broker.kill()
            self.broker = None
        return super().writer(transactional_id)


@pytest.mark.parametrize("when", ["while it works", "while it starts"])
async def test_a_broker_that_is_gone_for_a_while_is_waited_for_and_nothing_is_lost(app: Application, broker: Broker, when: str) -> None:
    await app.publish(events(3))
    if when == "while it starts":
        app.log.broker = broker
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    if when == "while it works":
        await worker.opened.wait()
        await app.until_items(3)
        broker.kill()
    done, _ = await asyncio.wait((running,), timeout=OUTAGE_S)
    assert (done, app.readiness.is_ready, app.log.broker) == (set(), False, None)
    await asyncio.to_thread(broker.start)
    await app.publish(events(3, first=3))
    await app.until_items(6)
    while app.readiness.reasons:
        await app.items()
    assert app.count("failures_total", stage="intake") or when == "while it starts" or not IS_NIGHT  # a short one is sat out
    worker.stop.set()
    await running
    assert await app.items() == 6


@pytest.mark.parametrize("which", ["raw", "incidents", "frames"])
async def test_a_topic_that_vanishes_stops_it_and_it_says_which(app: Application, broker: Broker, which: str) -> None:
    gone = app.raw.topic if which == "raw" else f"{app.topics.prefix}.{which}"
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    await worker.opened.wait()
    await app.publish(events(1))
    await app.until_items(1)
    async with admin(broker) as client:
        await client.delete_topics([gone])
    if which == "incidents":
        await app.publish(events(2, first=1))
    with pytest.raises(Refused, match=rf"there is no partition {gone}-0: .* if it was deleted since, docs/operate.md says what is lost"):
        await running


async def test_poison_and_a_record_as_large_as_brokers_take_become_dead_letters_and_the_rest_goes_on(app: Application) -> None:
    overhead = 100  # of a batch and its one record; the broker's limit counts them too
    largest = b"[" + b" " * (MB - overhead - 2) + b"]"
    await app.publish([*events(2), b"\xff{", largest, *events(2, first=2)])
    await app.judge()
    assert await app.items() == 4
    letters = [value async for batch in read_all(app.log, TopicPartition(app.topics.dead_letters, 0), most=10) for value in batch.values]
    assert [letter[:3] if letter else None for letter in letters] == [b"\xff{", b"[  "]
    assert app.count("dead_letters_total") == 2


async def test_clocks_that_jump_by_an_hour_lose_nothing(app: Application) -> None:
    now = time.time_ns() // 1_000_000
    await app.publish(events(40), [now + (HOUR + number if number % 4 == 0 else number) for number in range(40)])
    await app.publish(events(40, first=40), [now - HOUR + number for number in range(40)])
    await app.judge()
    assert app.count("items_forwarded_total") == 80
    assert await app.items() == 80
    verdicts = [app.count("items_judged_total", verdict=verdict) for verdict in ("new", "update", "repeat", "late")]
    assert sum(verdicts) + app.count("items_waiting") == 80


async def test_records_that_retention_took_unread_are_counted_and_the_rest_goes_on(app: Application, broker: Broker) -> None:
    await app.publish(events(5))
    async with admin(broker) as client:
        await client.delete_records({KafkaPartition(*app.raw): RecordsToDelete(before_offset=3)})
    await app.judge()
    assert await app.items() == 2


async def test_records_that_retention_took_behind_our_position_are_counted(app: Application, broker: Broker) -> None:
    await app.publish(events(2))
    await app.judge()
    await app.publish(events(5, first=2))
    async with admin(broker) as client:
        await client.delete_records({KafkaPartition(*app.raw): RecordsToDelete(before_offset=4)})
    await app.judge()
    assert (await app.items(), app.count("records_lost_total")) == (5, 2)


async def test_a_position_beyond_the_end_stops_it(app: Application) -> None:
    writer = app.log.writer("elsewhere")
    await writer.start()
    await writer.begin()
    await writer.send_offsets(f"{app.topics.prefix}-intake", {app.raw: Position(1_000)})
    await writer.commit()
    await writer.close()
    with pytest.raises(
        StoppedError, match=r"events-0 has offsets 0 to 0, and 1000 was asked for; these records are gone, or this is another"
    ):
        await app.worker().run()


async def test_another_application_of_the_same_name_is_refused_and_ours_goes_on(app: Application) -> None:
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    await worker.opened.wait()
    stranger = Application(app.log, app.topics.prefix)
    stranger.settings = Settings(prefix=app.topics.prefix, topics=(TopicSettings(name="events", partitions=3),))
    with pytest.raises(Refused, match=r"events has 1 partition and the settings say 3: set `partitions: 1` for it in the settings"):
        await stranger.judge()
    await app.publish(events(2))
    await app.until_items(2)
    worker.stop.set()
    await running


async def test_a_topic_that_ends_in_markers_of_transactions_is_idle_when_its_records_are_judged(app: Application) -> None:
    writer = app.log.writer("publisher-with-transactions")
    await writer.start()
    for number in range(3):
        await writer.begin()
        await writer.send(app.raw, Messages(events(1, first=number)))
        await (writer.commit() if number < 2 else writer.abort())
    await writer.close()
    await app.judge()
    assert await app.items() == 2


@pytest.mark.parametrize("arrival", ["record", "item"])
async def test_a_position_ends_behind_what_is_no_record_so_that_nobody_waits_for_it(
    app: Application, arrival: Literal["record", "item"]
) -> None:
    app.settings = Settings(prefix=app.topics.prefix, topics=(TopicSettings(name="events", arrival=arrival),))
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    writer = app.log.writer("publisher-with-transactions")
    await writer.start()
    end = Messages([b""], headers=[END_HEADER]) if arrival == "item" else Messages(events(1, first=1))
    for number, messages in enumerate((Messages(events(1)), end, Messages(events(1, first=2)))):
        await writer.begin()
        await writer.send(app.raw, messages)
        await (writer.commit() if number < 2 else writer.abort())
    await writer.close()
    while await app.position() != (await app.log.bounds(app.raw))[1] or app.count(
        "lag_records", stage="intake", partition=f"{app.raw.topic}-0"
    ):
        pass
    worker.stop.set()
    await running
    assert await app.items() == (1 if arrival == "item" else 2)


async def test_a_raw_topic_that_left_the_settings_is_missed_no_more(app: Application) -> None:
    both = tuple([TopicSettings(name=name, arrival="item") for name in ("events", "other")])
    app.settings = Settings(prefix=app.topics.prefix, topics=both)
    await app.judge()
    await app.publish(events(BELIEVED), to=TopicPartition(app.topics.raw("other"), 0))
    await app.publish(events(BELIEVED, first=BELIEVED))
    await app.judge()
    app.settings = Settings(prefix=app.topics.prefix, topics=both[:1])
    await app.publish([an_event("db/A1", time.time_ns() // 1_000_000 + HOUR // 2)])
    await app.judge()
    assert (app.count("sources", standing="live"), app.count("sources", standing="fallen_out")) == (1, 0)


@pytest.mark.parametrize("stage", ["intake", "correlate"])
async def test_a_position_that_the_brokers_forgot_stops_it_and_it_says_what_to_do(app: Application, broker: Broker, stage: str) -> None:
    await app.publish(events(2))
    await app.judge()
    group = f"{app.topics.prefix}-{stage}"
    forget(broker, group)
    with pytest.raises(Refused, match=rf"the brokers forgot where {group} stood in .*-0, .* --group {group} --topic .*:0 --reset-offsets"):
        await app.judge()


async def test_who_is_idle_for_long_says_its_position_again_so_that_brokers_do_not_forget_it(app: Application, broker: Broker) -> None:
    app.settings = Settings(prefix=app.topics.prefix, topics=(TopicSettings(name="events", arrival="item"),))
    await app.publish(events(BELIEVED))
    await app.judge()
    hours = count()
    intake = IntakeTask(
        app.log,
        app.topics,
        app.raw,
        form=Format.AUTO,
        is_recording=True,
        caution=Caution(10),
        telemetry=app.telemetry,
        clock=lambda: next(hours) * HOUR,
    )
    correlate = CorrelateTask(
        app.log,
        app.topics,
        0,
        domain="default",
        checkpoint=app.settings.checkpoint,
        telemetry=app.telemetry,
        on_restored=lambda: None,
        clock=lambda: next(hours) * HOUR / SECOND,
    )
    for task, group, tp in (
        (intake, app.topics.intake_group, app.raw),
        (correlate, app.topics.correlate_group, TopicPartition(app.topics.frames, 0)),
    ):
        before = await app.log.committed(group, tp)
        running = asyncio.create_task(task.run())
        while task.needed_from is None:
            await app.position()
        forget(broker, group)
        while (after := await app.log.committed(group, tp)) is None:
            assert not running.done()
        running.cancel()
        await asyncio.wait((running,))
        await task.close()
        assert before is not None
        assert after.offset >= before.offset
