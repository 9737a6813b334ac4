"""The log in Kafka, on a real broker: the port's laws with few examples, and what only brokers do."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from time import monotonic
from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka.reader import BEAT_S
from correlator.runtime.kafka.topics import settings_of
from correlator.runtime.ports import (
    Fenced,
    Log,
    Messages,
    OffsetOutOfRange,
    Position,
    Refused,
    TopicPartition,
    TopicSettings,
    Transient,
    Writer,
)
from correlator.runtime.restore import read_until
from correlator.runtime.topics import Topics

from loadtest.broker import Broker
from tests.runtime import test_contract as contract
from tests.runtime.brokers import Storage
from tests.runtime.test_contract import LogFactory

MANY: Final = [TopicPartition(f"kafka.many-{number}", 0) for number in range(4)]
FEW: Final = settings(max_examples=12, deadline=None)


@pytest.fixture(scope="module")
def log_factory(broker: Broker) -> LogFactory:
    """Make a fresh storage on the broker, as the contract suite wants it."""
    return lambda: Storage(broker.address).open


# ---------------------------------------------------------------------------------------------------- the port's laws


@FEW
@given(plan=contract.transactions)
async def test_committed_transactions_are_read_exactly_once_in_order_and_others_never(log_factory: LogFactory, plan: list[dict]) -> None:  # type: ignore[type-arg]
    law = contract.test_committed_transactions_are_read_exactly_once_in_order_and_others_never
    await law.hypothesis.inner_test(log_factory, plan)


@FEW
@given(sent=st.lists(contract.records, min_size=1, max_size=4), at_most=st.integers(1, 30))
async def test_every_column_comes_back_as_it_was_sent(log_factory: LogFactory, sent: list[list[tuple]], at_most: int) -> None:  # type: ignore[type-arg]
    await contract.test_every_column_comes_back_as_it_was_sent.hypothesis.inner_test(log_factory, sent, at_most)


@FEW
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), start=st.integers(0, 200), at_most=st.integers(1, 50))
async def test_reading_from_any_offset_in_steps_of_any_size_gives_the_same_records(
    log_factory: LogFactory, sizes: list[int], *, start: int, at_most: int
) -> None:
    law = contract.test_reading_from_any_offset_in_steps_of_any_size_gives_the_same_records
    await law.hypothesis.inner_test(log_factory, sizes, start=start, at_most=at_most)


@FEW
@given(plan=st.lists(contract.changes, max_size=6), at_most=st.integers(1, 9))
async def test_a_compacted_topic_reads_as_the_last_value_of_each_key(
    log_factory: LogFactory, plan: list[list[tuple[bytes, bytes | None]]], at_most: int
) -> None:
    await contract.test_a_compacted_topic_reads_as_the_last_value_of_each_key.hypothesis.inner_test(log_factory, plan, at_most)


# ---------------------------------------------------------------------------------------------------- what only brokers do

EVENTS: Final = TopicPartition("kafka.events", 0)
LARGEST: Final = 8_000_000
SHORT_MS: Final = 1_000


@pytest.fixture
async def log(broker: Broker) -> AsyncIterator[KafkaLog]:
    """A log whose transactions may last a second, and whose writers are not patient."""
    found = await KafkaLog.open(Access([broker.address]), transaction_ms=SHORT_MS, patience_ms=3_000)
    await found.open_topics([TopicSettings(EVENTS.topic, largest=LARGEST)])
    yield found
    await found.close()


async def started(log: Log) -> Writer:
    writer = log.writer("kafka-test")
    await writer.start()
    return writer


async def write(writer: Writer, *values: bytes, position: int) -> None:
    """Write records and where we stand, in one transaction."""
    await writer.begin()
    await writer.send(EVENTS, Messages(values))
    await writer.send_offsets("kafka-test", {EVENTS: Position(position)})
    await writer.commit()


async def dropped(log: Log, writer: Writer) -> None:
    """Open a transaction and wait until the broker drops it for its age: only then is read what others wrote behind it."""
    await writer.begin()
    await writer.send(EVENTS, Messages([b"z" * 600_000] * 3))  # a batch each: the third waits for the second, and that for the first
    _, end = await log.bounds(EVENTS)
    plain = log.writer(None)
    await plain.start()
    await plain.begin()
    await plain.send(EVENTS, Messages([b"behind it"]))
    await plain.commit()
    await plain.close()
    reader = log.reader(EVENTS)
    reader.seek(end)
    while b"behind it" not in (await reader.poll(max_records=1_000, timeout_ms=5_000)).values:
        pass
    await reader.close()


async def test_a_transaction_that_the_broker_dropped_for_its_age_may_be_tried_again(log: KafkaLog) -> None:
    writer = await started(log)
    await write(writer, b"first", position=1)
    await dropped(log, writer)
    with pytest.raises(Transient, match="took longer than 1000 ms and was dropped"):
        await writer.commit()
    await writer.close()


async def test_a_transaction_that_was_dropped_is_told_so_by_what_is_sent_next_too(log: KafkaLog) -> None:
    await log.open_topics([TopicSettings(tp.topic) for tp in MANY])
    writer = await started(log)
    await write(writer, b"first", position=1)
    await dropped(log, writer)
    with pytest.raises(Transient, match="took longer than 1000 ms and was dropped"):
        await send_on(writer)
    await writer.close()


async def send_on(writer: Writer) -> None:
    """Send to partitions that are new to the transaction, until that fails."""
    for tp in MANY:
        await writer.send(tp, Messages([b"z" * 600_000] * 3))


async def test_a_ghost_that_comes_back_late_is_fenced_where_the_newer_writer_moved_on(log: KafkaLog) -> None:
    ghost = await started(log)
    await write(ghost, b"first", position=1)
    await dropped(log, ghost)
    newer = await started(log)
    await write(newer, b"newer's", position=2)
    with pytest.raises(Fenced):
        await ghost.commit()
    await ghost.close()
    await newer.close()


async def fenced(log: KafkaLog, *, sent_before: int) -> None:
    """Fence a writer amid its transaction, and let it find out."""
    ghost = await started(log)
    await ghost.begin()
    for tp in MANY[:sent_before]:
        await ghost.send(tp, Messages([b"x" * 300_000] * 4))
    newer = await started(log)
    with suppress(Fenced):
        for tp in MANY[sent_before:]:
            await ghost.send(tp, Messages([b"x"]))
        await ghost.send_offsets("kafka-test", {EVENTS: Position(1)})
        await ghost.commit()
        pytest.fail("it was not fenced")
    await ghost.close()
    await newer.close()


@pytest.mark.parametrize("sent_before", [0, 1, 4])
async def test_a_fenced_writer_leaves_no_error_that_nobody_asks_for(log: KafkaLog, sent_before: int) -> None:
    neglected: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: neglected.append(context))
    await log.open_topics([TopicSettings(tp.topic) for tp in MANY])
    await fenced(log, sent_before=sent_before)
    gc.collect()
    assert neglected == []


@pytest.mark.parametrize("identity", [None, "kafka-test"])
async def test_a_writer_given_up_while_its_broker_is_silent_leaves_no_error_that_nobody_asks_for(
    broker: Broker, identity: str | None
) -> None:
    neglected: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: neglected.append(context))
    log = await KafkaLog.open(Access([broker.address]), patience_ms=500)
    await log.open_topics([TopicSettings(tp.topic) for tp in MANY])
    writer = log.writer(identity)
    await writer.start()
    for size in (1, 300_000):
        await writer.begin()
        for tp in MANY:
            await writer.send(tp, Messages([b"x" * size]))
        if size == 1:
            await writer.commit()
            broker.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Transient):
            await writer.commit()
        await writer.close()
    finally:
        broker.signal(signal.SIGCONT)
    await log.close()
    del writer
    gc.collect()
    assert neglected == []


async def test_a_broker_that_falls_silent_is_transient_for_writers_and_waited_for_by_readers(log: KafkaLog, broker: Broker) -> None:
    writer = await started(log)
    reader = log.reader(EVENTS)
    reader.seek((await log.bounds(EVENTS))[1])
    assert not await reader.poll(max_records=1, timeout_ms=0)
    await writer.begin()
    broker.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Transient, match="writing as kafka-test: no answer in time"):
            await write_on(writer)
        assert not await reader.poll(max_records=1, timeout_ms=100)
        closing = monotonic()
        await writer.close()
        assert monotonic() - closing < 10
        assert not [task for task in asyncio.all_tasks() if "aiokafka/producer" in repr(task)], "the producer's tasks ended with it"
    finally:
        broker.signal(signal.SIGCONT)
    again = await started(log)
    await write(again, b"after", position=3)
    found: list[bytes | None] = []
    while b"after" not in found:
        found += (await reader.poll(max_records=100, timeout_ms=1_000)).values
    assert b"never" not in found
    await again.close()
    await reader.close()


async def write_on(writer: Writer) -> None:
    await writer.send(EVENTS, Messages([b"never"]))
    await writer.commit()


async def test_a_record_larger_than_a_batch_goes_alone(log: KafkaLog) -> None:
    values = [b"small", b"x" * 5_000_000, b"small", *[b"y" * 300_000] * 5]
    first = (await log.bounds(EVENTS))[1]
    writer = await started(log)
    await write(writer, *values, position=4)
    await writer.close()
    reader = log.reader(EVENTS)
    reader.seek(first)
    found: list[bytes | None] = []
    while len(found) < len(values):
        found += (await reader.poll(max_records=100, timeout_ms=5_000)).values
    assert found == values
    await reader.close()


async def test_a_fetch_that_finds_nothing_behind_a_large_one_ends_the_backlog(log: KafkaLog) -> None:
    """An answer of more than half a fetch is followed by another, which is empty where the first held all there is."""
    first = (await log.bounds(EVENTS))[1]
    values = [b"z" * 7_000] * 100
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(EVENTS, Messages(values))
    await writer.commit()
    await writer.close()
    reader = log.reader(EVENTS)
    reader.seek(first)
    found: list[bytes | None] = []
    async for batch in read_until(reader, EVENTS, end=first + len(values), most=1_000):
        found += batch.values
    await reader.close()
    assert found == values


async def test_what_comes_little_by_little_is_given_out_at_most_once_a_beat(log: KafkaLog) -> None:
    reader = log.reader(EVENTS)
    reader.seek((await log.bounds(EVENTS))[1])
    await reader.poll(max_records=1, timeout_ms=0)
    publishing = asyncio.create_task(publish_one_by_one(log, 50))
    given: list[float] = []
    count = 0
    while count < 50:
        batch = await reader.poll(max_records=100, timeout_ms=5_000)
        count += len(batch)
        given.append(monotonic())
    assert all(later - earlier > BEAT_S * 0.9 for earlier, later in pairwise(given))
    await publishing
    await reader.close()


async def publish_one_by_one(log: KafkaLog, count: int) -> None:
    writer = log.writer(None)
    await writer.start()
    for _ in range(count):
        await writer.begin()
        await writer.send(EVENTS, Messages([b"one"]))
        await writer.commit()
    await writer.close()


async def test_a_record_beyond_the_limit_is_refused_with_what_to_change(log: KafkaLog) -> None:
    writer = await started(log)
    with pytest.raises(Refused, match=r"writing as kafka-test: .*MessageSizeTooLargeError: raise the topic's max\.message\.bytes"):
        await write(writer, b"x" * (LARGEST + 1), position=5)
    await writer.close()


async def written(writer: Writer, *values: bytes) -> None:
    await writer.send(EVENTS, Messages(values))
    await writer.commit()


async def test_what_is_published_beside_a_record_beyond_the_limit_is_told(log: KafkaLog) -> None:
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    with pytest.raises(Refused, match=rf"publishing to {EVENTS.topic}: .*MessageSizeTooLargeError: raise the topic's max") as caught:
        await written(writer, b"small", b"x" * (LARGEST + 1))
    assert caught.value.__notes__ == ["1 of the 2 records of this batch are there all the same"]
    await writer.close()


async def test_more_replicas_than_brokers_are_refused_with_what_to_change(broker: Broker) -> None:
    log = await KafkaLog.open(Access([broker.address]), replication=3)
    with pytest.raises(Refused, match=r"InvalidReplicationFactor.*set `kafka\.replication` to at most the number of brokers"):
        await log.open_topics([TopicSettings("too-many-replicas")])
    await log.close()


def test_topics_are_created_for_what_they_carry() -> None:
    wanted = {topic.name: settings_of(topic, 3) for topic in Topics("p").settings({"events": 4}, 2)}
    assert "max.message.bytes" not in wanted["p.events"]
    assert wanted["p.events"]["message.timestamp.after.max.ms"] == str(2**63 - 1)
    assert wanted["p.checkpoints"]["delete.retention.ms"] == str(24 * 3_600_000)
    assert wanted["p.frames"]["retention.ms"] == str(7 * 24 * 3_600_000)
    assert wanted["p.frames"]["max.message.bytes"] == str(16 * 1024 * 1024)
    compacted = {name for name, settings in wanted.items() if settings.get("cleanup.policy") == "compact"}
    assert compacted == {"p.control", "p.checkpoints", "p.incidents", "p.alerts"}


async def test_a_reader_comes_to_the_end_over_what_was_aborted(log: KafkaLog) -> None:
    first = (await log.bounds(EVENTS))[1]
    writer = await started(log)
    await write(writer, b"kept", position=6)
    await writer.begin()
    await writer.send(EVENTS, Messages([b"z" * 600_000] * 3))
    await writer.abort()
    await writer.close()
    await (await started(log)).close()  # what the last one left is settled now
    _, end = await log.bounds(EVENTS)
    reader = log.reader(EVENTS)
    reader.seek(first)
    found = [value async for batch in read_until(reader, EVENTS, end=end, most=100) for value in batch.values]
    assert found == [b"kept"]
    assert reader.position == end
    await reader.close()


async def test_a_position_below_the_first_record_is_out_of_range(log: KafkaLog, broker: Broker) -> None:
    writer = await started(log)
    await write(writer, b"old", position=7)
    await writer.close()
    await (await started(log)).close()  # what the last one left is settled now
    first, end = await log.bounds(EVENTS)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.delete_records({KafkaPartition(*EVENTS): RecordsToDelete(before_offset=end)})
    await admin.close()
    reader = log.reader(EVENTS)
    reader.seek(first)
    with pytest.raises(OffsetOutOfRange) as caught:
        await reader.poll(max_records=1, timeout_ms=0)
    assert (caught.value.first, caught.value.end) == (end, end) == await log.bounds(EVENTS)
    assert reader.position == first
    await reader.close()


async def test_records_of_any_time_are_taken(log: KafkaLog) -> None:
    first = (await log.bounds(EVENTS))[1]
    stamps = [0, 4_102_444_800_000, 1]  # 1970, 2100
    writer = await started(log)
    await writer.begin()
    await writer.send(EVENTS, Messages([b"x"] * 3, timestamps=stamps))
    await writer.commit()
    await writer.close()
    reader = log.reader(EVENTS)
    reader.seek(first)
    assert list((await reader.poll(max_records=3, timeout_ms=5_000)).timestamps) == stamps
    await reader.close()
