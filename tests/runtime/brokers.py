"""A view of a log in Kafka in which every storage has names of its own."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.ports import (
    Batch,
    Log,
    Membership,
    Messages,
    PortError,
    Position,
    Reader,
    Share,
    Standing,
    TopicPartition,
    TopicSettings,
    Writer,
)

_numbers: Final = itertools.count()


class Storage:
    """Fresh names on a broker: what one storage writes, no other sees."""

    def __init__(self, address: str) -> None:
        self._access = Access([address])
        self._prefix = f"storage-{next(_numbers)}."

    async def open(self) -> Log:
        """Open a client of this storage."""
        return _Log(await KafkaLog.open(self._access), self._prefix)


@contextmanager
def _names(prefix: str) -> Iterator[None]:
    """Leave the prefix out of messages."""
    try:
        yield
    except PortError as error:
        error.args = (str(error).replace(prefix, ""),)
        raise


class _Log:
    def __init__(self, log: Log, prefix: str) -> None:
        self._log = log
        self._prefix = prefix

    def place(self, tp: TopicPartition) -> TopicPartition:
        return TopicPartition(self._prefix + tp.topic, tp.partition)

    async def open_topics(self, topics: Sequence[TopicSettings]) -> None:
        with _names(self._prefix):
            await self._log.open_topics([msgspec.structs.replace(topic, name=self._prefix + topic.name) for topic in topics])

    async def partitions(self, topic: str) -> int:
        with _names(self._prefix):
            return await self._log.partitions(self._prefix + topic)

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        return await self._log.committed(self._prefix + group, self.place(tp))

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        with _names(self._prefix):
            return await self._log.bounds(self.place(tp))

    async def standings(self, group: str, tps: Sequence[TopicPartition]) -> list[Standing]:
        with _names(self._prefix):
            return await self._log.standings(self._prefix + group, [self.place(tp) for tp in tps])

    async def expire(self, needed_from: Mapping[TopicPartition, int | None]) -> None:
        await self._log.expire({self.place(tp): offset for tp, offset in needed_from.items()})

    def reader(self, tp: TopicPartition) -> Reader:
        return _Reader(self._log.reader(self.place(tp)), self._prefix)

    def writer(self, transactional_id: str | None) -> Writer:
        name = None if transactional_id is None else self._prefix + transactional_id
        return _Writer(self._log.writer(name), self, self._prefix)

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> Membership:
        return _Membership(self._log.membership(self._prefix + group, [[self.place(tp) for tp in stage] for stage in stages]), self._prefix)

    async def close(self) -> None:
        await self._log.close()


class _Membership:
    def __init__(self, membership: Membership, prefix: str) -> None:
        self._membership = membership
        self._prefix = prefix

    @property
    def is_shared(self) -> bool:
        return self._membership.is_shared

    async def run(self, on_share: Callable[[Share], None]) -> None:
        def told(share: Share) -> None:
            on_share(frozenset(TopicPartition(tp.topic.removeprefix(self._prefix), tp.partition) for tp in share))

        await self._membership.run(told)


class _Reader:
    def __init__(self, reader: Reader, prefix: str) -> None:
        self._reader = reader
        self._prefix = prefix

    @property
    def position(self) -> int:
        return self._reader.position

    def seek(self, offset: int) -> None:
        self._reader.seek(offset)

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        with _names(self._prefix):
            return await self._reader.poll(max_records=max_records, timeout_ms=timeout_ms)

    async def close(self) -> None:
        await self._reader.close()


class _Writer:
    def __init__(self, writer: Writer, log: _Log, prefix: str) -> None:
        self._writer = writer
        self._log = log
        self._prefix = prefix
        self.start, self.begin, self.commit = writer.start, writer.begin, writer.commit
        self.abort, self.close = writer.abort, writer.close

    async def send(self, tp: TopicPartition, messages: Messages) -> None:
        with _names(self._prefix):
            await self._writer.send(self._log.place(tp), messages)

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Position]) -> None:
        await self._writer.send_offsets(self._prefix + group, {self._log.place(tp): position for tp, position in offsets.items()})
