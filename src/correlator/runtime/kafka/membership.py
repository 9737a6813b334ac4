"""The membership: Kafka's group protocol in its four requests, without positions and without fetching anything.

One member, the leader, divides the partitions for all (`shares_of`). aiokafka's consumer is not used: it leaves the group when nobody
polls records from it. Heartbeats go out from a thread of their own, as those of Kafka's own client do: a state of a million alerts takes
ten seconds to restore, and a member that is silent for that long would lose it before it has it, as would the next.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka.client import CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    KafkaError,
    MemberIdRequired,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from correlator.runtime.kafka.beside import beside
from correlator.runtime.kafka.client import Client, check
from correlator.runtime.kafka.errors import port_error
from correlator.runtime.kafka.shares import Member, shares_of
from correlator.runtime.ports import PortError, Refused, Share, TopicPartition, Transient

if TYPE_CHECKING:
    from correlator.runtime.kafka.log import KafkaLog

HEARTBEAT_S: Final = 0.5
"""A rebalance waits for the heartbeat of each member: so often they ask."""
SESSION_MS: Final = 6_000
"""A member that is silent for longer is out: the least that brokers allow by default."""
REBALANCE_MS: Final = 5_000
"""For how long a rebalance waits for members; below the patience of a request."""
_PAUSE_S: Final = 0.2
_UNTOLD: Final = 25
"""So many times in a row, five seconds, a group may have no coordinator without a warning: a new broker first makes the topic for it."""
_LEAVE_PATIENCE_S: Final = 1.0
BUSY_MOST_S: Final = 300.0
"""A worker whose loop does not move for longer is taken to be stuck, as Kafka's own client has it (max.poll.interval.ms)."""
_TYPE: Final = "consumer"
_PROTOCOL: Final = "correlator"
_REFUSED: Final = (GroupAuthorizationFailedError, InvalidGroupIdError)
_logger: Final = logging.getLogger(__name__)


class KafkaMembership:
    """See `Membership`. With an `instance` it is a static member: a new process of that name takes the place of one that died, at once."""

    def __init__(self, log: "KafkaLog", group: str, stages: Sequence[Sequence[TopicPartition]], *, instance: str | None = None) -> None:
        self._log = log
        self._group = group
        self._stages = tuple(map(tuple, stages))
        self._instance = instance
        self._client: Client | None = None
        self._node: int | None = None
        self._member = ""
        self._generation = -1
        self._share: Share = frozenset()
        self._told: Share | None = None
        self._heard = 0.0

    @property
    def is_shared(self) -> bool:
        """See `Membership.is_shared`."""
        return True

    async def run(self, on_share: Callable[[Share], None]) -> None:
        """See `Membership.run`. Where the loop of the caller was busy, it is told the newest share alone."""
        loop = asyncio.get_running_loop()
        self._heard = time.monotonic()

        def hear() -> None:
            self._heard = time.monotonic()
            if self._told is not None:
                on_share(self._told)

        await beside(lambda: self._keep(lambda: loop.call_soon_threadsafe(hear)))

    # What follows runs in the thread

    async def _keep(self, tell: Callable[[], object]) -> None:
        """Be a member; `tell` has the caller's loop look at what there is to hear."""
        is_warned, absences = False, 0
        try:
            while True:
                try:
                    self._share = await self._join()
                    is_warned, absences = False, 0
                    await self._stay(tell)
                except (KafkaError, TimeoutError, OSError, Transient) as error:
                    self._forget(error)
                    absences = absences + 1 if isinstance(error, GroupCoordinatorNotAvailableError) else _UNTOLD
                    is_usual = isinstance(error, MemberIdRequired | RebalanceInProgressError)
                    if not is_warned and not is_usual and absences >= _UNTOLD:
                        is_warned = True
                        _logger.warning("group %s: %s; joining it again", self._group, _text(error))
                    await asyncio.sleep(0 if isinstance(error, MemberIdRequired) else _PAUSE_S)
        finally:
            await self._leave()
            if self._client is not None:
                await self._client.close()

    def _forget(self, error: Exception) -> None:
        """Forget what an error proves wrong. Raises Refused for one that will not pass."""
        if isinstance(error, _REFUSED):
            raise port_error(error, f"group {self._group}") from error
        if isinstance(error, InconsistentGroupProtocolError):
            raise Refused(f"group {self._group} belongs to other consumers: choose another `prefix`") from error
        if isinstance(error, UnknownMemberIdError | IllegalGenerationError):
            self._member, self._share = "", frozenset()  # what was ours may be somebody else's by now: nothing to claim
        elif not isinstance(error, MemberIdRequired | RebalanceInProgressError):
            self._node = None

    async def _ask(self, request: object) -> Any:  # noqa: ANN401 - answers are aiokafka's, which has no types
        """Ask the coordinator, on a connection of our own: a join is answered when all have joined."""
        if self._client is None:
            client = Client(self._log.access)
            await client.open()
            self._client = client
        if self._node is None:
            await self._client.learn_brokers()
            self._node = await self._client.coordinator(CoordinationType.GROUP, self._group)
        return await self._client.ask(request, self._node)

    async def _join(self) -> Share:
        """Take part in a round of the group; answer our share. Raises aiokafka's errors."""
        topics = sorted({tp.topic for stage in self._stages for tp in stage})
        told = ConsumerProtocolMemberMetadata(0, topics, msgspec.msgpack.encode(Member(self._stages, tuple(sorted(self._share)))))
        protocols = [(_PROTOCOL, told.encode())]
        joining = JoinGroupRequest(self._group, SESSION_MS, REBALANCE_MS, self._member, self._instance, _TYPE, protocols)
        answer = await self._ask(joining)
        self._member = answer.member_id or self._member
        check(answer.error_code)
        self._generation = answer.generation_id
        divided = _divided(answer.members) if answer.leader_id == self._member else []
        answer = await self._ask(SyncGroupRequest(self._group, self._generation, self._member, self._instance, divided))
        check(answer.error_code)
        given = ConsumerProtocolMemberAssignment.decode(answer.member_assignment).partitions()
        return frozenset([TopicPartition(tp.topic, tp.partition) for tp in given])

    async def _stay(self, tell: Callable[[], object]) -> None:
        """Tell our share at each heartbeat, until the group wants another round. Raises aiokafka's error when it does not know us."""
        while True:
            self._told = self._share
            tell()
            await asyncio.sleep(HEARTBEAT_S)
            if time.monotonic() - self._heard > BUSY_MOST_S:
                return await self._stand_aside(tell)
            answer = await self._ask(HeartbeatRequest(self._group, self._generation, self._member))
            if answer.error_code == RebalanceInProgressError.errno:
                return None
            check(answer.error_code)

    async def _stand_aside(self, tell: Callable[[], object]) -> None:
        """Leave the work to others until the caller's loop moves again."""
        _logger.error(
            "group %s: this worker has been at one thing for %s s; others take its share until it is done", self._group, BUSY_MOST_S
        )
        await self._leave()
        self._member, self._share, self._told = "", frozenset(), None
        stuck = self._heard
        while self._heard == stuck:
            tell()
            await asyncio.sleep(HEARTBEAT_S)

    async def _leave(self) -> None:
        """Say goodbye, so that nobody waits for us; a group that does not hear it finds out by itself."""
        try:
            async with asyncio.timeout(_LEAVE_PATIENCE_S):
                if self._member and self._node is not None:
                    await self._ask(LeaveGroupRequest(self._group, self._member))
        except (KafkaError, TimeoutError, OSError) as error:
            _logger.info("group %s was left without a word: %s", self._group, _text(error))


def _divided(members: Sequence[tuple[Any, ...]]) -> list[tuple[str, bytes]]:
    """Divide the work among members as the broker lists them: the id first, what they told last."""
    told = {name: ConsumerProtocolMemberMetadata.decode(metadata) for name, *_, metadata in members}
    known = {name: msgspec.msgpack.decode(metadata.user_data, type=Member) for name, metadata in told.items()}
    return [(name, _written(share)) for name, share in shares_of(known).items()]


def _written(share: Share) -> bytes:
    topics = [(topic, [tp.partition for tp in tps]) for topic, tps in groupby(sorted(share), key=lambda tp: tp.topic)]
    encoded: bytes = ConsumerProtocolMemberAssignment(0, topics, b"").encode()
    return encoded


def _text(error: Exception) -> str:
    return str(error if isinstance(error, PortError) else port_error(error, "asking its coordinator"))
