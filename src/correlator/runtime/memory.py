"""The log in memory: the port's laws in dicts, deterministic and never waiting, for simulations and tests."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from correlator.model.instant import Duration, Instant
from correlator.runtime.alone import Alone
from correlator.runtime.ports import (
    Batch,
    Fenced,
    Headers,
    Messages,
    OffsetOutOfRange,
    Position,
    Refused,
    Standing,
    TopicPartition,
    TopicSettings,
)
from correlator.runtime.topics import other_partitions

_Record = tuple[Instant, bytes | None, bytes | None, Headers]  # timestamp, key, value, headers
_Sent = list[tuple[TopicPartition, list[_Record]]]


def _nothing(_name: str) -> None:
    """Let the call pass."""


def _epoch() -> Instant:
    """Stamp records whose sender gave no time: a log without a clock says 1970."""
    return 0


class _Partition:
    """Records by offset. `order` holds the offsets, ascending; those that compaction took from `records` leave it now and then."""

    def __init__(self, *, compacted: bool, cleans: bool) -> None:
        self.compacted = compacted
        self.cleans = cleans
        self.first = 0
        self.end = 0
        self.order: list[int] = []
        self.records: dict[int, _Record] = {}
        self.newest: dict[bytes | None, int] = {}
        self.marks: list[tuple[Instant, int]] = []

    def end_at(self, instant: Instant) -> int:
        """Return the newest end that was noted at this instant or before."""
        return max([end for noted, end in self.marks if noted <= instant], default=0)

    def append(self, record: _Record) -> None:
        offset, self.end = self.end, self.end + 1
        self.order.append(offset)
        self.records[offset] = record
        if self.compacted and self.cleans:
            older = self.newest.get(record[1])
            self.newest[record[1]] = offset
            if older is not None:
                del self.records[older]
        if len(self.order) > 2 * len(self.records) + 16:
            self.order = [kept for kept in self.order if kept in self.records]

    def read(self, position: int, most: int) -> list[int]:
        """Return up to `most` offsets at or above `position`."""
        found: list[int] = []
        index = bisect_left(self.order, position)
        while index < len(self.order) and len(found) < most:
            if self.order[index] in self.records:
                found.append(self.order[index])
            index += 1
        return found

    def deleted_by(self, offsets: Sequence[int]) -> list[int]:
        """Return the tombstones among these offsets, and the older records of their keys: without it they would be back."""
        last = {self.records[offset][1]: offset for offset in offsets if self.records[offset][2] is None}
        return [offset for offset in offsets if offset <= last.get(self.records[offset][1], -1)]

    def drop(self, offsets: Sequence[int]) -> None:
        """Take these records out of the log."""
        for offset in offsets:
            _, key, _, _ = self.records.pop(offset)
            self.newest.pop(key, None)
        self.order = [kept for kept in self.order if kept in self.records]


class MemoryLog:
    """A log that lives as long as this object; whoever holds the object is a client, and closing changes nothing.

    `on_call` is told "commit:before", "commit:after" and so on around every awaitable call of the port, its readers and its writers
    (only closing the log itself is not told). What it raises, the caller gets: raised before, the call never reached the log (a crash,
    a lost request); raised after, it did and only its reply is lost. A writer that is dropped with an open transaction leaves no trace.
    Without `cleans` compacted topics still show the older records of their keys, as Kafka does before its cleaner comes.
    Every such call lets the others run once, between "before" and what it does, so that any two clients can meet at any place.
    """

    def __init__(self, *, on_call: Callable[[str], None] = _nothing, clock: Callable[[], Instant] = _epoch, cleans: bool = True) -> None:
        self.on_call = on_call
        self._cleans = cleans
        self._clock = clock
        self._topics: dict[str, list[_Partition]] = {}
        self._positions: dict[tuple[str, TopicPartition], Position] = {}
        self._epochs: dict[str, int] = {}
        self._retention: dict[str, Duration | None] = {}

    async def reach(self, call: str) -> None:
        """Tell that a call is made and let the others run: one who loops over calls must not have the log for itself."""
        self.on_call(f"{call}:before")
        await asyncio.sleep(0)

    async def open_topics(self, topics: Sequence[TopicSettings]) -> None:
        """See `Log.open_topics`."""
        await self.reach("open_topics")
        for topic in topics:
            self._check(topic)
        for topic in topics:
            if topic.name not in self._topics:
                self._topics[topic.name] = [_Partition(compacted=topic.compacted, cleans=self._cleans) for _ in range(topic.partitions)]
            self._retention[topic.name] = topic.retention
        self.on_call("open_topics:after")

    def _check(self, topic: TopicSettings) -> None:
        there = self._topics.get(topic.name)
        if there is None:
            return
        if len(there) != topic.partitions:
            raise other_partitions(topic, len(there))
        if there[0].compacted != topic.compacted:
            raise Refused(f"topic {topic.name} is{'' if there[0].compacted else ' not'} compacted: choose another prefix")

    def _partition(self, tp: TopicPartition) -> _Partition:
        partitions = self._topics.get(tp.topic, [])
        if not 0 <= tp.partition < len(partitions):
            raise Refused(f"there is no partition {tp.topic}-{tp.partition}: topics are created when the service starts")
        return partitions[tp.partition]

    async def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        await self.reach("partitions")
        self._partition(TopicPartition(topic, 0))
        self.on_call("partitions:after")
        return len(self._topics[topic])

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        """See `Log.committed`."""
        await self.reach("committed")
        position = self._positions.get((group, tp))
        self.on_call("committed:after")
        return position

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """See `Log.bounds`."""
        await self.reach("bounds")
        partition = self._partition(tp)
        self.on_call("bounds:after")
        return partition.first, partition.end

    async def standings(self, group: str, tps: Sequence[TopicPartition]) -> list[Standing]:
        """See `Log.standings`."""
        return [Standing(await self.committed(group, tp), *await self.bounds(tp)) for tp in tps]

    def reader(self, tp: TopicPartition) -> "MemoryReader":
        """See `Log.reader`."""
        return MemoryReader(self, tp)

    def writer(self, transactional_id: str | None) -> "MemoryWriter":
        """See `Log.writer`."""
        return MemoryWriter(self, transactional_id)

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> Alone:  # noqa: ARG002
        """See `Log.membership`."""
        return Alone(stages)

    async def close(self) -> None:
        """See `Log.close`; the records stay."""

    async def trim(self, tp: TopicPartition, before_offset: int) -> None:
        """Drop what lies below `before_offset`: every record, or in a compacted topic the tombstones alone."""
        partition = self._partition(tp)
        below = partition.order[: bisect_left(partition.order, before_offset)]
        live = [offset for offset in below if offset in partition.records]
        if partition.compacted:
            partition.drop(partition.deleted_by(live))
            return
        partition.drop(live)
        partition.first = max(partition.first, min(before_offset, partition.end))

    async def expire(self, needed_from: Mapping[TopicPartition, int | None]) -> None:
        """See `Log.expire`."""
        await self.reach("expire")
        now = self._clock()
        for tp, needed in needed_from.items():
            partition, retention = self._partition(tp), self._retention.get(tp.topic)
            if retention is not None:
                partition.marks.append((now, partition.end))
                old = partition.end_at(now - retention)
                await self.trim(tp, old if needed is None else min(old, needed))
        self.on_call("expire:after")

    def fence(self, transactional_id: str) -> int:
        """Give the id to a new writer and return that writer's epoch."""
        self._epochs[transactional_id] = self._epochs.get(transactional_id, 0) + 1
        return self._epochs[transactional_id]

    def records_of(self, tp: TopicPartition, messages: Messages) -> list[_Record]:
        """Turn columns into records, refusing what the partition cannot keep."""
        count = len(messages.values)
        keys = messages.keys if messages.keys is not None else [None] * count
        if self._partition(tp).compacted and None in keys:
            raise Refused(f"topic {tp.topic} is compacted: every record needs a key")
        stamps = messages.timestamps if messages.timestamps is not None else [self._clock()] * count
        headers = messages.headers if messages.headers is not None else [()] * count
        return list(zip(stamps, keys, messages.values, headers, strict=True))

    def write(self, writer: "MemoryWriter") -> None:
        """Append a writer's transaction, unless a newer writer has its id."""
        if writer.transactional_id is not None and self._epochs.get(writer.transactional_id) != writer.epoch:
            raise Fenced(f"a newer writer has taken over {writer.transactional_id}")
        for tp, records in writer.sent:
            partition = self._partition(tp)
            for record in records:
                partition.append(record)
        self._positions.update(writer.positions)

    def read(self, tp: TopicPartition, position: int, *, most: int) -> tuple[Batch, int]:
        """Return up to `most` records from `position`, and the position behind them."""
        partition = self._partition(tp)
        if not partition.first <= position <= partition.end:
            raise OffsetOutOfRange(tp, position, first=partition.first, end=partition.end)
        offsets = partition.read(position, most)
        if not offsets:
            return Batch(), partition.end
        stamps, keys, values, headers = zip(*(partition.records[offset] for offset in offsets), strict=True)
        return Batch(offsets, stamps, keys, values, headers if any(headers) else None), offsets[-1] + 1


class MemoryReader:
    """See `Reader`. A poll returns at once: nothing comes while one waits, as nobody else runs."""

    def __init__(self, log: MemoryLog, tp: TopicPartition) -> None:
        self._log = log
        self._tp = tp
        self._position = 0

    @property
    def position(self) -> int:
        """See `Reader.position`."""
        return self._position

    def seek(self, offset: int) -> None:
        """See `Reader.seek`."""
        self._position = offset

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        """See `Reader.poll`; `timeout_ms` is not waited for."""
        assert max_records > 0
        assert timeout_ms >= 0
        await self._log.reach("poll")
        batch, position = self._log.read(self._tp, self._position, most=max_records)
        self._log.on_call("poll:after")
        self._position = position
        return batch

    async def close(self) -> None:
        """See `Reader.close`."""
        await self._log.reach("close")
        self._log.on_call("close:after")


class MemoryWriter:
    """See `Writer`. The transaction stays in the writer until its commit, so that it vanishes with it."""

    def __init__(self, log: MemoryLog, transactional_id: str | None) -> None:
        self._log = log
        self.transactional_id = transactional_id
        self.epoch = 0
        self.is_open = False
        self.sent: _Sent = []
        self.positions: dict[tuple[str, TopicPartition], Position] = {}

    async def start(self) -> None:
        """See `Writer.start`."""
        await self._log.reach("start")
        if self.transactional_id is not None:
            self.epoch = self._log.fence(self.transactional_id)
        self._log.on_call("start:after")

    async def begin(self) -> None:
        """See `Writer.begin`."""
        assert not self.is_open, "the last transaction is still open"
        await self._log.reach("begin")
        self.is_open = True
        self._log.on_call("begin:after")

    async def send(self, tp: TopicPartition, messages: Messages) -> None:
        """See `Writer.send`."""
        assert self.is_open, "no transaction is open"
        await self._log.reach("send")
        self.sent.append((tp, self._log.records_of(tp, messages)))
        self._log.on_call("send:after")

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Position]) -> None:
        """See `Writer.send_offsets`."""
        assert self.is_open, "no transaction is open"
        assert self.transactional_id is not None, "a plain producer sends no offsets"
        await self._log.reach("send_offsets")
        self.positions.update({(group, tp): offset for tp, offset in offsets.items()})
        self._log.on_call("send_offsets:after")

    async def commit(self) -> None:
        """See `Writer.commit`."""
        assert self.is_open, "no transaction is open"
        await self._log.reach("commit")
        self._log.write(self)
        self._drop()
        self._log.on_call("commit:after")

    async def abort(self) -> None:
        """See `Writer.abort`."""
        await self._log.reach("abort")
        self._drop()
        self._log.on_call("abort:after")

    async def close(self) -> None:
        """See `Writer.close`."""
        await self._log.reach("close")
        self._drop()
        self._log.on_call("close:after")

    def _drop(self) -> None:
        self.is_open = False
        self.sent = []
        self.positions = {}
