"""What happens to a worker on a real broker: outages, topics that vanish, odd records, clocks that jump. Nothing is lost without a word."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from correlator.config.settings import Settings, TopicSettings
from correlator.frames.codec import decode_frame
from correlator.frames.control import Control
from correlator.model.instant import HOUR, Instant
from correlator.runtime.fatal import StoppedError
from correlator.runtime.http import Readiness
from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.ports import Messages, Position, Refused, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.worker import Worker

from loadtest.broker import Broker
from tests.builders import a_control, an_event

OUTAGE_S: Final = 60.0 if os.environ.get("HYPOTHESIS_PROFILE") == "night" else 5.0
MB: Final = 1024 * 1024
pytestmark = pytest.mark.timeout(240)


class Application:
    """One application on a broker, its worker made anew as often as a test likes."""

    def __init__(self, log: KafkaLog, prefix: str) -> None:
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

    async def publish(self, values: Sequence[bytes], stamps: Sequence[Instant] | None = None) -> None:
        writer = self.log.writer(None)
        await writer.start()
        await writer.begin()
        await writer.send(self.raw, Messages(values, timestamps=stamps))
        await writer.commit()
        await writer.close()

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
    log = await KafkaLog.open(Access([broker.address]), patience_ms=3_000)
    name = "".join([letter if letter.isalnum() else "-" for letter in request.node.name])[:60].strip("-").lower()
    made = Application(log, name)
    await made.judge()
    made.readiness = Readiness()  # the first worker's says that it stops
    yield made
    await log.close()


@asynccontextmanager
async def admin(broker: Broker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    yield client
    await client.close()


def events(count: int, *, first: int = 0) -> list[bytes]:
    now = time.time_ns() // 1_000_000
    return [an_event(f"db/A{number}", now) for number in range(first, first + count)]


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "night", reason="an outage of a minute, only at night")
@pytest.mark.parametrize("when", ["while it works", "while it starts"])
async def test_a_broker_that_is_gone_for_a_while_is_waited_for_and_nothing_is_lost(app: Application, broker: Broker, when: str) -> None:
    await app.publish(events(3))
    worker = app.worker()
    if when == "while it starts":
        broker.kill()
    running = asyncio.create_task(worker.run())
    if when == "while it works":
        await worker.opened.wait()
        await app.until_items(3)
        broker.kill()
    done, _ = await asyncio.wait((running,), timeout=OUTAGE_S)
    assert (done, app.readiness.is_ready) == (set(), False)
    await asyncio.to_thread(broker.start)
    await app.publish(events(3, first=3))
    await app.until_items(6)
    while app.readiness.reasons:
        await app.items()
    assert app.count("failures_total", stage="intake") or when == "while it starts"
    worker.stop.set()
    await running
    assert await app.items() == 6


async def test_a_topic_that_vanishes_stops_it_and_it_says_which(app: Application, broker: Broker) -> None:
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    await worker.opened.wait()
    await app.publish(events(1))
    await app.until_items(1)
    async with admin(broker) as client:
        await client.delete_topics([app.raw.topic])
    with pytest.raises(Refused, match=rf"there is no partition {app.raw.topic}-0: topics are created when the service starts"):
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
