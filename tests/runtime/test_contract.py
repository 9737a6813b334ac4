"""The laws of the port, the same for every log; a new log joins by a line in `log_factory`."""

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import (
    Batch,
    Fenced,
    Log,
    Messages,
    OffsetOutOfRange,
    Position,
    Refused,
    TopicPartition,
    TopicSettings,
    Writer,
)

from tests.runtime.brokers import Storage

EVENTS = TopicPartition("events", 0)
EVENTS_1 = TopicPartition("events", 1)
FRAMES = TopicPartition("frames", 0)
STATE = TopicPartition("state", 0)
TOPICS = [TopicSettings("events", partitions=2), TopicSettings("frames"), TopicSettings("state", compacted=True)]

Opener = Callable[[], Awaitable[Log]]
LogFactory = Callable[[], Opener]


@pytest.fixture(scope="module", params=["memory", "embedded", "kafka"])
def log_factory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LogFactory:
    """Return a function that makes a fresh storage; what it returns opens a client of that storage, as often as called."""

    def memory() -> Opener:
        log = MemoryLog(clock=itertools.count(1).__next__)

        async def open_it() -> Log:
            return log

        return open_it

    def embedded() -> Opener:
        return partial(EmbeddedLog.open, tmp_path_factory.mktemp("embedded"))

    def kafka() -> Opener:
        return Storage(request.getfixturevalue("broker").address).open

    return {"memory": memory, "embedded": embedded, "kafka": kafka}[request.param]


# A law tries many storages. On Kafka, where every transaction takes its time, it tries a few: test_kafka.py.
quick_logs = pytest.mark.parametrize("log_factory", ["memory", "embedded"], indirect=True)


async def opened(log_factory: LogFactory) -> Log:
    log = await log_factory()()
    await log.open_topics(TOPICS)
    return log


async def started(log: Log, transactional_id: str | None = "correlator-test-0") -> Writer:
    writer = log.writer(transactional_id)
    await writer.start()
    return writer


async def succeed(log: Log) -> None:
    """Let a writer take over, as after a restart: then, at the latest, all positions of the one before stand."""
    await (await started(log)).close()


async def committed_write(log: Log, tp: TopicPartition, values: Sequence[bytes]) -> None:
    writer = await started(log, None)
    await writer.begin()
    await writer.send(tp, Messages(values))
    await writer.commit()
    await writer.close()


async def batches(log: Log, tp: TopicPartition, *, start: int = 0, at_most: int = 1000) -> list[Batch]:
    """Read a partition from `start` to the end it has now."""
    _, end = await log.bounds(tp)
    reader = log.reader(tp)
    reader.seek(start)
    found = []
    while reader.position < end:
        batch = await reader.poll(max_records=at_most, timeout_ms=500)
        if not batch:
            break  # what is left are holes
        found.append(batch)
    await reader.close()
    return found


async def values(log: Log, tp: TopicPartition) -> list[bytes | None]:
    return [value for batch in await batches(log, tp) for value in batch.values]


# ---------------------------------------------------------------------------------------------------- topics


async def test_topics_that_exist_as_wanted_may_be_opened_again(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    await log.open_topics(TOPICS)
    assert [await log.partitions(topic.name) for topic in TOPICS] == [2, 1, 1]
    await log.close()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            TopicSettings("events", partitions=3),
            "topic events has 2 partitions and the settings say 3: set `partitions: 2` for it in the settings",
        ),
        (TopicSettings("frames", compacted=True), "topic frames is not compacted: choose another prefix"),
        (TopicSettings("state"), "topic state is compacted: choose another prefix"),
    ],
)
async def test_a_topic_that_differs_is_refused_and_nothing_is_created(log_factory: LogFactory, wanted: TopicSettings, message: str) -> None:
    log = await opened(log_factory)
    with pytest.raises(Refused, match=message):
        await log.open_topics([TopicSettings("fresh"), wanted])
    with pytest.raises(Refused):
        await log.partitions("fresh")
    await log.close()


async def test_an_unknown_partition_is_refused(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    nowhere = TopicPartition("events", 2)
    writer = await started(log)
    await writer.begin()
    with pytest.raises(Refused, match="there is no partition events-2"):
        await writer.send(nowhere, Messages([b"x"]))
    with pytest.raises(Refused, match="there is no partition events-2"):
        await log.reader(nowhere).poll(max_records=1, timeout_ms=0)
    with pytest.raises(Refused, match="there is no partition events-2"):
        await log.bounds(nowhere)
    await writer.close()
    await log.close()


# ---------------------------------------------------------------------------------------------------- transactions

payloads = st.binary(max_size=20)
transactions = st.lists(
    st.fixed_dictionaries(
        {
            "fate": st.sampled_from(["commit", "commit", "abort", "abandon"]),
            "sends": st.lists(
                st.tuples(st.sampled_from([EVENTS, EVENTS_1, FRAMES]), st.lists(payloads, min_size=1, max_size=30)), max_size=4
            ),
            "next": st.none() | st.integers(0, 1000),
        }
    ),
    max_size=8,
)


@quick_logs
@given(plan=transactions)
async def test_committed_transactions_are_read_exactly_once_in_order_and_others_never(log_factory: LogFactory, plan: list[dict]) -> None:  # type: ignore[type-arg]
    opener = log_factory()
    log = await opener()
    await log.open_topics(TOPICS)
    expected: defaultdict[TopicPartition, list[bytes]] = defaultdict(list)
    position = None
    writer = await started(log)
    for transaction in plan:
        await writer.begin()
        for tp, sent in transaction["sends"]:
            await writer.send(tp, Messages(sent))
        if transaction["next"] is not None:
            await writer.send_offsets("group", {EVENTS: Position(transaction["next"])})
        if transaction["fate"] == "abandon":  # the old writer's process died, or hangs and comes back
            ghost, writer = writer, await started(log)
            if transaction["sends"] or transaction["next"] is not None:
                with pytest.raises(Fenced):
                    await ghost.commit()
            await ghost.close()
        elif transaction["fate"] == "abort":
            await writer.abort()
        else:
            await writer.commit()
            for tp, sent in transaction["sends"]:
                expected[tp] += sent
            position = transaction["next"] if transaction["next"] is not None else position
    await writer.close()
    await log.close()
    log = await opener()  # and all of it is there after a restart
    await succeed(log)
    for tp in (EVENTS, EVENTS_1, FRAMES):
        found = await batches(log, tp, at_most=7)
        offsets = [offset for batch in found for offset in batch.offsets]
        assert [value for batch in found for value in batch.values] == expected[tp]
        assert offsets == sorted(set(offsets))
    assert await log.committed("group", EVENTS) == (None if position is None else Position(position))
    await log.close()


async def test_nothing_of_an_open_transaction_can_be_read(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    await writer.begin()
    await writer.send(EVENTS, Messages([b"x"]))
    await writer.send(STATE, Messages([b"x"], keys=[b"k"]))
    await writer.send_offsets("group", {FRAMES: Position(5)})
    assert await values(log, EVENTS) == await values(log, STATE) == []
    assert await log.committed("group", FRAMES) is None
    await writer.commit()
    assert await values(log, EVENTS) == await values(log, STATE) == [b"x"]
    await succeed(log)
    assert await log.committed("group", FRAMES) == Position(5)
    await writer.close()
    await log.close()


async def test_a_fenced_writer_writes_neither_records_nor_positions(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    old = await started(log)
    await old.begin()
    await old.send(EVENTS, Messages([b"old"]))
    await old.send_offsets("group", {FRAMES: Position(1)})
    new = await started(log)
    with pytest.raises(Fenced):
        await old.commit()
    await new.begin()
    await new.send(EVENTS, Messages([b"new"]))
    await new.commit()
    assert await values(log, EVENTS) == [b"new"]
    assert await log.committed("group", FRAMES) is None
    await old.close()
    await new.close()
    await log.close()


async def test_writers_of_different_ids_do_not_fence_each_other(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    first, second = await started(log, "correlator-intake-0"), await started(log, "correlator-intake-1")
    for writer in (first, second):
        await writer.begin()
        await writer.send(EVENTS, Messages([b"x"]))
    await second.commit()
    await first.commit()
    assert await values(log, EVENTS) == [b"x", b"x"]
    await first.close()
    await second.close()
    await log.close()


async def test_a_writer_closed_amid_a_transaction_leaves_no_trace(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    await writer.begin()
    await writer.send(EVENTS, Messages([b"x"]))
    await writer.close()
    await committed_write(log, EVENTS, [b"y"])
    assert await values(log, EVENTS) == [b"y"]
    await log.close()


async def test_positions_are_kept_for_each_group_and_partition(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    await writer.begin()
    await writer.send_offsets("a", {EVENTS: Position(1, "a note"), EVENTS_1: Position(2)})
    await writer.commit()
    await writer.begin()
    await writer.send_offsets("b", {EVENTS: Position(3)})
    await writer.commit()
    await succeed(log)
    assert [await log.committed("a", EVENTS), await log.committed("a", EVENTS_1), await log.committed("b", EVENTS)] == [
        Position(1, "a note"),
        Position(2),
        Position(3),
    ]
    assert await log.committed("b", EVENTS_1) is None
    await writer.close()
    await log.close()


# ---------------------------------------------------------------------------------------------------- records

headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2)
records = st.lists(st.tuples(st.none() | payloads, st.none() | payloads, st.integers(0, 2**53), headers), min_size=1, max_size=20)


@quick_logs
@given(sent=st.lists(records, min_size=1, max_size=4), at_most=st.integers(1, 30))
async def test_every_column_comes_back_as_it_was_sent(log_factory: LogFactory, sent: list[list[tuple]], at_most: int) -> None:  # type: ignore[type-arg]
    log = await opened(log_factory)
    writer = await started(log)
    for part in sent:
        keys, payload, stamps, extra = (list(column) for column in zip(*part, strict=True))
        await writer.begin()
        await writer.send(EVENTS, Messages(payload, keys=keys, timestamps=stamps, headers=extra if any(extra) else None))
        await writer.commit()
    found: list[tuple[object, ...]] = []
    for batch in await batches(log, EVENTS, at_most=at_most):
        assert len(batch) <= at_most
        extra = [[(name, value) for name, value in each] for each in batch.headers] if batch.headers is not None else [[]] * len(batch)
        found += zip(batch.keys, batch.values, batch.timestamps, extra, strict=True)
    assert found == [record for part in sent for record in part]
    await writer.close()
    await log.close()


async def test_records_without_a_time_bear_the_instant_of_sending(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    await committed_write(log, EVENTS, [b"x", b"y"])
    [batch] = await batches(log, EVENTS)
    assert all(stamp > 0 for stamp in batch.timestamps)
    await log.close()


@quick_logs
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), start=st.integers(0, 200), at_most=st.integers(1, 50))
async def test_reading_from_any_offset_in_steps_of_any_size_gives_the_same_records(
    log_factory: LogFactory, sizes: list[int], *, start: int, at_most: int
) -> None:
    log = await opened(log_factory)
    total = sum(sizes)
    sent = iter(range(total))
    for size in sizes:
        await committed_write(log, EVENTS, [b"%d" % number for number in itertools.islice(sent, size)])
    whole = [pair for batch in await batches(log, EVENTS) for pair in zip(batch.offsets, batch.values, strict=True)]
    start = min(start, whole[-1][0])
    parts = await batches(log, EVENTS, start=start, at_most=at_most)
    assert all(0 < len(batch) <= at_most for batch in parts)
    found = [pair for batch in parts for pair in zip(batch.offsets, batch.values, strict=True)]
    assert found == [pair for pair in whole if pair[0] >= start]
    await log.close()


async def test_a_reader_follows_what_is_committed_and_seeks_back(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    reader = log.reader(EVENTS)
    assert not await reader.poll(max_records=10, timeout_ms=0)
    await committed_write(log, EVENTS, [b"a", b"b", b"c"])
    first = await reader.poll(max_records=2, timeout_ms=5_000)
    assert list(first.values) == [b"a", b"b"]
    assert reader.position > first.offsets[-1]
    assert list((await reader.poll(max_records=2, timeout_ms=5_000)).values) == [b"c"]
    assert not await reader.poll(max_records=2, timeout_ms=0)
    reader.seek(first.offsets[1])
    assert list((await reader.poll(max_records=2, timeout_ms=5_000)).values) == [b"b", b"c"]
    await reader.close()
    await log.close()


async def test_bounds_tell_the_first_offset_and_the_end(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    first, end = await log.bounds(EVENTS)
    assert first == end
    await committed_write(log, EVENTS, [b"a", b"b"])
    [batch] = await batches(log, EVENTS)
    first, end = await log.bounds(EVENTS)
    assert first == batch.offsets[0]
    assert end > batch.offsets[-1]
    await log.close()


async def test_standings_are_positions_and_bounds_of_each(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    await writer.begin()
    await writer.send(EVENTS_1, Messages([b"a", b"b"]))
    await writer.send_offsets("group", {EVENTS_1: Position(1, "half of it")})
    await writer.commit()
    await writer.close()
    await succeed(log)
    for tps in ([EVENTS_1, FRAMES, EVENTS], [EVENTS], []):
        each = [(await log.committed("group", tp), *await log.bounds(tp)) for tp in tps]
        assert await log.standings("group", tps) == each
    assert (await log.standings("group", [EVENTS_1]))[0].position == Position(1, "half of it")
    with pytest.raises(Refused, match="there is no partition events-2"):
        await log.standings("group", [TopicPartition("events", 2)])
    await log.close()


async def test_a_position_beyond_the_end_is_out_of_range(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    await committed_write(log, EVENTS, [b"a"])
    first, end = await log.bounds(EVENTS)
    reader = log.reader(EVENTS)
    reader.seek(end + 1)
    with pytest.raises(OffsetOutOfRange) as caught:
        await reader.poll(max_records=1, timeout_ms=0)
    assert (caught.value.first, caught.value.end) == (first, end)
    assert reader.position == end + 1
    await reader.close()
    await log.close()


# ---------------------------------------------------------------------------------------------------- compacted topics

few_keys = st.sampled_from([b"a:1", b"a:2", b"i:1", b"", b"\xff"])
changes = st.lists(st.tuples(few_keys, st.none() | payloads), min_size=1, max_size=12)


@quick_logs
@given(plan=st.lists(changes, max_size=6), at_most=st.integers(1, 9))
async def test_a_compacted_topic_reads_as_the_last_value_of_each_key(
    log_factory: LogFactory, plan: list[list[tuple[bytes, bytes | None]]], at_most: int
) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    expected: dict[bytes | None, bytes | None] = {}
    for change in plan:
        await writer.begin()
        await writer.send(STATE, Messages([value for _, value in change], keys=[key for key, _ in change]))
        await writer.commit()
        expected.update(change)
    found: dict[bytes | None, bytes | None] = {}
    offsets: list[int] = []
    for batch in await batches(log, STATE, at_most=at_most):
        assert len(batch) <= at_most
        found.update(zip(batch.keys, batch.values, strict=True))
        offsets += batch.offsets
    assert found == expected
    assert offsets == sorted(set(offsets))
    await writer.close()
    await log.close()


async def test_a_reader_of_a_compacted_topic_sees_a_key_that_changes_behind_it_again(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    reader = log.reader(STATE)
    for value in (b"1", b"2"):
        await writer.begin()
        await writer.send(STATE, Messages([value], keys=[b"k"], timestamps=[77], headers=[[("v", b"1")]]))
        await writer.commit()
        batch = await reader.poll(max_records=10, timeout_ms=5_000)
        assert (list(batch.keys), list(batch.values), list(batch.timestamps)) == ([b"k"], [value], [77])
        assert batch.headers is not None
        assert [tuple(each) for each in batch.headers[0]] == [("v", b"1")]
    await reader.close()
    await writer.close()
    await log.close()


async def test_a_compacted_topic_needs_keys(log_factory: LogFactory) -> None:
    log = await opened(log_factory)
    writer = await started(log)
    await writer.begin()
    with pytest.raises(Refused, match="topic state is compacted: every record needs a key"):
        await writer.send(STATE, Messages([b"x", b"y"], keys=[b"k", None]))
    await writer.close()
    await log.close()
