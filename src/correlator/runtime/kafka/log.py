"""The log on brokers: topics, bounds, positions, and the makers of readers and writers."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest

from correlator.runtime.kafka.access import Access
from correlator.runtime.kafka.client import Client, check, refuse_unknown
from correlator.runtime.kafka.membership import KafkaMembership
from correlator.runtime.kafka.reader import READ_COMMITTED, KafkaReader
from correlator.runtime.kafka.topics import Topic, create, describe, refuse_difference
from correlator.runtime.kafka.writer import PATIENCE_MS, TRANSACTION_MS, KafkaWriter
from correlator.runtime.ports import Position, Refused, TopicPartition, TopicSettings

_EARLIEST, _LATEST = -2, -1


class KafkaLog:
    """The log of a Kafka cluster. Belongs to one event loop; any number of processes may have one."""

    instance: str | None = None
    """Who this client is in groups, if a process that ends may come back as the same one: it then gets its share back at once."""

    def __init__(self, access: Access, client: Client, *, replication: int | None, transaction_ms: int, patience_ms: int) -> None:
        self.access = access
        self.transaction_ms = transaction_ms
        self.patience_ms = patience_ms
        self._client = client
        self._replication = replication
        self._topics: dict[str, Topic] = {}
        self._coordinators: dict[str, int] = {}
        self._wrote: dict[TopicPartition, int] = {}

    @classmethod
    async def open(
        cls,
        access: Access,
        *,
        replication: int | None = None,
        instance: str | None = None,
        transaction_ms: int = TRANSACTION_MS,
        patience_ms: int = PATIENCE_MS,
    ) -> "KafkaLog":
        """Find the brokers. Topics are created with `replication` replicas, or with three where there are as many brokers.

        Brokers drop a transaction that is open for longer than `transaction_ms`; a writer waits `patience_ms` for them.
        Raises Transient when no broker answers within seconds, Refused when they do not let us in.
        """
        client = Client(access)
        await client.open()
        log = cls(access, client, replication=replication, transaction_ms=transaction_ms, patience_ms=patience_ms)
        log.instance = instance
        return log

    async def close(self) -> None:
        """See `Log.close`."""
        await self._client.close()

    async def open_topics(self, topics: Sequence[TopicSettings]) -> None:
        """See `Log.open_topics`."""
        missing: list[TopicSettings] = []
        for topic in topics:
            found = await self._client.patiently(f"topic {topic.name}", partial(describe, self._client, topic.name))
            if found is None:
                missing.append(topic)
            else:
                refuse_difference(topic, found)
                self._topics[topic.name] = found
        if not missing:
            return
        await self._client.patiently("the topics cannot be created", lambda: create(self._client, missing, self._replication))
        for topic in missing:
            refuse_difference(topic, await self._client.patiently(f"topic {topic.name}", partial(self._appeared, topic.name)))

    async def _appeared(self, name: str) -> Topic:
        """Describe a topic that was created just now: brokers hear of it one after the other."""
        found = await describe(self._client, name)
        if found is None:
            raise UnknownTopicOrPartitionError(name)
        self._topics[name] = found
        return found

    async def topic(self, name: str) -> Topic | None:
        """Answer what is known of a topic, or ask."""
        known = self._topics.get(name)
        if known is None:
            known = await self._client.patiently(f"topic {name}", lambda: describe(self._client, name))
            if known is not None:
                self._topics[name] = known
        return known

    def forget(self, name: str) -> None:
        """Ask anew at the next occasion: a leader moved."""
        self._topics.pop(name, None)

    async def partition(self, tp: TopicPartition) -> Topic:
        """Answer the topic of a partition. Raises Refused when there is no such partition."""
        topic = await self.topic(tp.topic)
        if topic is None or not 0 <= tp.partition < len(topic.leaders):
            raise refuse_unknown(*tp)
        return topic

    async def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        found = await self.topic(topic)
        if found is None:
            raise Refused(f"there is no topic {topic}: topics are created when the service starts")
        return len(found.leaders)

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        """See `Log.committed`."""
        return await self._client.patiently(f"the positions of {group}", lambda: self._committed(group, tp))

    async def _committed(self, group: str, tp: TopicPartition) -> Position | None:
        # The coordinator is asked for once: a wrong one says so, and then it is asked for again.
        node = self._coordinators.pop(group, None)
        if node is None:
            node = await self._client.coordinator(CoordinationType.GROUP, group)
        answer = await self._client.ask(OffsetFetchRequest(group, [(tp.topic, [tp.partition])]), node)
        check(answer.error_code)
        [(_, [(_, offset, note, code)])] = answer.topics
        check(code)
        self._coordinators[group] = node
        return None if offset < 0 else Position(offset, note or "")

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """See `Log.bounds`; the end lies behind the marker of the last commit, and before every open transaction.

        Brokers confirm a commit some milliseconds before its records can be read: those of this client count from then on.
        """
        first, end = await self._client.patiently(f"the bounds of {tp.topic}-{tp.partition}", lambda: self._bounds(tp))
        return first, max(end, self._wrote.get(tp, end))

    def wrote(self, tp: TopicPartition, end: int) -> None:
        """Take note of what a writer of ours committed: up to `end`."""
        self._wrote[tp] = max(end, self._wrote.get(tp, end))

    async def _bounds(self, tp: TopicPartition) -> tuple[int, int]:
        leader = (await self.partition(tp)).leaders[tp.partition]
        try:
            first, end = await asyncio.gather(self._offset(tp, leader, _EARLIEST), self._offset(tp, leader, _LATEST))
        except (KafkaError, TimeoutError, OSError):
            self.forget(tp.topic)
            raise
        return first, end

    async def _offset(self, tp: TopicPartition, leader: int, which: int) -> int:
        answer = await self._client.ask(OffsetRequest(-1, READ_COMMITTED, [(tp.topic, [(tp.partition, which)])]), leader)
        [(_, [(_, code, _, offset)])] = answer.topics
        check(code)
        assert isinstance(offset, int)
        return offset

    async def expire(self, needed_from: Mapping[TopicPartition, int | None]) -> None:
        """See `Log.expire`: brokers clean up by themselves, by the times of the records, and know nothing of who needs what."""

    def reader(self, tp: TopicPartition) -> KafkaReader:
        """See `Log.reader`."""
        return KafkaReader(self, tp)

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> KafkaMembership:
        """See `Log.membership`."""
        return KafkaMembership(self, group, stages, instance=self.instance)

    def writer(self, transactional_id: str | None) -> KafkaWriter:
        """See `Log.writer`."""
        return KafkaWriter(self, transactional_id)
