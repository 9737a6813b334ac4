"""The membership: Kafka's group protocol in its four requests, without positions and without fetching anything.

One member, the leader, divides the partitions for all (`shares_of`). aiokafka's consumer is not used: it leaves the group when nobody
polls records from it.
"""

import asyncio
import logging
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

    @property
    def is_shared(self) -> bool:
        """See `Membership.is_shared`."""
        return True

    async def run(self, on_share: Callable[[Share], None]) -> None:
        """See `Membership.run`."""
        told, absences = False, 0
        try:
            while True:
                try:
                    self._share = await self._join()
                    told, absences = False, 0
                    await self._stay(on_share)
                except (KafkaError, TimeoutError, OSError, Transient) as error:
                    self._forget(error)
                    absences = absences + 1 if isinstance(error, GroupCoordinatorNotAvailableError) else _UNTOLD
                    is_usual = isinstance(error, MemberIdRequired | RebalanceInProgressError)
                    if not told and not is_usual and absences >= _UNTOLD:
                        told = True
                        _logger.warning("group %s: %s; joining it again", self._group, _text(error))
                    await asyncio.sleep(0 if isinstance(error, MemberIdRequired) else _PAUSE_S)
        finally:
            await self._leave()

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

    async def _stay(self, on_share: Callable[[Share], None]) -> None:
        """Tell our share at each heartbeat, until the group wants another round. Raises aiokafka's error when it does not know us."""
        while True:
            on_share(self._share)
            await asyncio.sleep(HEARTBEAT_S)
            answer = await self._ask(HeartbeatRequest(self._group, self._generation, self._member))
            if answer.error_code == RebalanceInProgressError.errno:
                return
            check(answer.error_code)

    async def _leave(self) -> None:
        """Say goodbye, so that nobody waits for us; a group that does not hear it finds out by itself."""
        if self._client is None:
            return
        try:
            async with asyncio.timeout(_LEAVE_PATIENCE_S):
                if self._member and self._node is not None:
                    await self._ask(LeaveGroupRequest(self._group, self._member))
        except (KafkaError, TimeoutError, OSError) as error:
            _logger.info("group %s was left without a word: %s", self._group, _text(error))
        await self._client.close()


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
