"""The membership on a real broker: who belongs to the group, and for how long."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownMemberIdError

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka import membership as memberships
from correlator.runtime.kafka.membership import REBALANCE_MS, SESSION_MS, KafkaMembership
from correlator.runtime.ports import Share, TopicPartition

from loadtest.broker import Broker

pytestmark = pytest.mark.timeout(120)
WORK = tuple(TopicPartition("work", number) for number in range(4))


class Member:
    """One member, what it was told last, and how often it was told anything."""

    def __init__(self, membership: KafkaMembership) -> None:
        self.membership = membership
        self.share: Share = frozenset()
        self.shares: list[Share] = []
        self._changed = asyncio.Condition()
        self._running = asyncio.create_task(membership.run(self._hear))

    def _hear(self, share: Share) -> None:
        self.shares.append(share)
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, parts: int) -> None:
        """Wait until it has so many partitions."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self.shares) and len(self.shares[-1]) == parts)

    async def end(self, *, says_goodbye: bool = True) -> None:
        """Leave as a service that stops, or be gone without a word as one that was killed."""
        if not says_goodbye:
            self.membership._member = ""  # noqa: SLF001 - it does not know that it is one
        self._running.cancel()
        await asyncio.wait((self._running,))


@asynccontextmanager
async def member(broker: Broker, group: str, *, instance: str | None = None) -> AsyncIterator[Member]:
    log = await KafkaLog.open(Access([broker.address]), instance=instance)
    one = Member(log.membership(group, [WORK]))
    try:
        yield one
    finally:
        await one.end()
        await log.close()


async def members(broker: Broker, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([group])
        [(_, _, _, _, _, found, *_)] = answer.groups
        return len(found)
    finally:
        await admin.close()


async def test_who_is_busy_for_longer_than_a_session_stays_a_member(broker: Broker) -> None:
    async with member(broker, "busy") as one, member(broker, "busy") as other:
        await one.until(2)
        await other.until(2)
        before = one.shares[-1], other.shares[-1], one.membership._generation  # noqa: SLF001
        threading.Event().wait(SESSION_MS / 1000 + 1.5)  # as a restore of a million alerts keeps a loop
        one.shares.clear()
        await one.until(2)
        assert (one.shares[-1], other.shares[-1], one.membership._generation) == before  # noqa: SLF001
        assert await members(broker, "busy") == 2


async def test_who_is_stuck_leaves_its_share_to_others_until_it_moves_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    async with member(broker, "stuck") as one:
        await one.until(4)
        monkeypatch.setattr(memberships, "BUSY_MOST_S", 1.0)
        told = len(one.shares)
        threading.Event().wait(3)
        monkeypatch.setattr(memberships, "BUSY_MOST_S", 60.0)
        assert await members(broker, "stuck") == 0
        assert len(one.shares) == told
        await one.until(4)
        while await members(broker, "stuck") != 1:
            pass


async def test_who_leaves_says_so(broker: Broker) -> None:
    async with member(broker, "goodbye") as one:
        await one.until(4)
        await one.end()
        assert await members(broker, "goodbye") == 0


async def test_who_comes_back_under_its_name_has_its_share_at_once(broker: Broker) -> None:
    async with member(broker, "named", instance="worker-1") as one:
        await one.until(4)
        await one.end(says_goodbye=False)
        async with member(broker, "named", instance="worker-1") as again, asyncio.timeout(REBALANCE_MS / 1000 / 2):
            await again.until(4)


async def test_who_was_shut_out_claims_nothing(broker: Broker) -> None:
    async with member(broker, "shut-out") as one:
        await one.until(4)
        one.membership._forget(UnknownMemberIdError())  # noqa: SLF001 - what a broker answers to one that was silent for too long
        assert one.membership._share == frozenset()  # noqa: SLF001
