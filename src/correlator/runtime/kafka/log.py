"""The log on brokers: topics, bounds, positions, and the makers of readers and writers."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

from aiokafka.client import CoordinationType
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.offset import OffsetRequest

from correlator.runtime.kafka.access import Access
from correlator.runtime.kafka.client import Client, check, refuse_unknown
from correlator.runtime.kafka.membership import KafkaMembership
from correlator.runtime.kafka.reader import READ_COMMITTED, KafkaReader
from correlator.runtime.kafka.topics import Topic, create, describe, refuse_difference, tell_short
from correlator.runtime.kafka.writer import PATIENCE_MS, TRANSACTION_MS, KafkaWriter
from correlator.runtime.ports import Position, Refused, Standing, TopicPartition, TopicSettings

_EARLIEST, _LATEST = -2, -1
_Offsets = dict[TopicPartition, int]
_topic = attrgetter("topic")


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
                tell_short(topic, found)
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
        """See `Log.partitions`; asks anew, since somebody may have added some."""
        self.forget(topic)
        found = await self.topic(topic)
        if found is None:
            raise Refused(f"there is no topic {topic}: topics are created when the service starts")
        return len(found.leaders)

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        """See `Log.committed`."""
        return (await self._positions(group, [tp]))[tp]

    async def standings(self, group: str, tps: Sequence[TopicPartition]) -> list[Standing]:
        """See `Log.standings`: three requests for all."""
        positions, bounds = await self._positions(group, tps), await self._all_bounds(tps)
        return [Standing(positions[tp], *bounds[tp]) for tp in tps]

    async def _positions(self, group: str, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Position | None]:
        return await self._client.patiently(f"the positions of {group}", lambda: self._committed(group, tps))

    async def _committed(self, group: str, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Position | None]:
        # The coordinator is asked for once: a wrong one says so, and then it is asked for again.
        node = self._coordinators.get(group)
        if node is None:
            node = self._coordinators[group] = await self._client.coordinator(CoordinationType.GROUP, group)
        try:
            return await self._committed_at(node, group, tps)
        except (KafkaError, TimeoutError, OSError):
            self._coordinators.pop(group, None)
            raise

    async def _committed_at(self, node: int, group: str, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Position | None]:
        numbers = [(topic, [tp.partition for tp in some]) for topic, some in groupby(sorted(tps), key=_topic)]
        answer = await self._client.ask(OffsetFetchRequest(group, numbers), node)
        check(answer.error_code)
        found: dict[TopicPartition, Position | None] = {}
        for topic, partitions in answer.topics:
            for number, offset, note, code in partitions:
                check(code)
                found[TopicPartition(topic, number)] = None if offset < 0 else Position(offset, note or "")
        return found

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """See `Log.bounds`; the end lies behind the marker of the last commit, and before every open transaction.

        Brokers confirm a commit some milliseconds before its records can be read: those of this client count from then on.
        """
        return (await self._all_bounds([tp]))[tp]

    def wrote(self, tp: TopicPartition, end: int) -> None:
        """Take note of what a writer of ours committed: up to `end`."""
        self._wrote[tp] = max(end, self._wrote.get(tp, end))

    async def _all_bounds(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        named = ", ".join([f"{tp.topic}-{tp.partition}" for tp in tps])
        firsts, ends = await self._client.patiently(f"the bounds of {named}", lambda: self._offsets(tps))
        return {tp: (firsts[tp], max(ends[tp], self._wrote.get(tp, ends[tp]))) for tp in tps}

    async def _offsets(self, tps: Sequence[TopicPartition]) -> tuple[_Offsets, _Offsets]:
        """Ask for the first offsets and the ends."""
        leaders = {tp: (await self.partition(tp)).leaders[tp.partition] for tp in sorted(tps)}
        try:
            firsts, ends = await asyncio.gather(self._asked(leaders, _EARLIEST), self._asked(leaders, _LATEST))
        except (KafkaError, TimeoutError, OSError):
            for tp in tps:
                self.forget(tp.topic)
            raise
        return firsts, ends

    async def _asked(self, leaders: Mapping[TopicPartition, int], which: int) -> _Offsets:
        """Ask each leader once."""
        found: _Offsets = {}
        for leader in sorted(set(leaders.values())):
            wanted = groupby([tp for tp in leaders if leaders[tp] == leader], key=_topic)
            numbers = [(topic, [(tp.partition, which) for tp in some]) for topic, some in wanted]
            answer = await self._client.ask(OffsetRequest(-1, READ_COMMITTED, numbers), leader)
            for topic, partitions in answer.topics:
                for number, code, _, offset in partitions:
                    check(code)
                    found[TopicPartition(topic, number)] = offset
        return found

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
