"""The reader: one partition by fetches of its own, the next one under way while the last is taken."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka import errors
from aiokafka.protocol.fetch import FetchRequest

from correlator.runtime.kafka.client import Client, check
from correlator.runtime.kafka.records import batch_of
from correlator.runtime.ports import Batch, OffsetOutOfRange, TopicPartition
from correlator.runtime.segments import joined, rows_of

if TYPE_CHECKING:
    from correlator.runtime.kafka.log import KafkaLog

READ_COMMITTED: Final = 1
_FETCH_BYTES: Final = 1024 * 1024
"""Of one answer; a larger record comes all the same, alone. Larger answers cost more a byte: they are copied through cold memory."""
_AHEAD_BYTES: Final = 4 * 1024 * 1024
"""Of the answers that are taken together where a backlog waits: large batches make few transactions. A reader holds two of these."""
_WAIT_MS: Final = 500
"""How long a broker may hold a fetch back until there is something: as long as that, a reader that is idle costs nothing."""
BEAT_S: Final = 0.05
"""At most so often is a little fetched. Each batch costs its reader a transaction of some ten requests, however small it is."""
_ABORTED_SINCE: Final = 11  # from this version of the answer on, one more column follows the aborted transactions


class _Fetched(NamedTuple):
    """Committed records, the offset behind all that the broker gave, and how many bytes that was."""

    batch: Batch
    end: int
    size: int


class KafkaReader:
    """See `Reader`. An offset between the last stable one and the partition's end is not out of range: nothing comes yet.

    A broker that is away for a few seconds is waited for: polls return nothing meanwhile.
    """

    def __init__(self, log: "KafkaLog", tp: TopicPartition) -> None:
        self._log = log
        self._tp = tp
        self._client: Client | None = None
        self._position = 0
        self._ahead, self._taken = Batch(), 0
        self._behind = 0
        self._fetching: asyncio.Task[_Fetched] | None = None
        self._has_looked = False
        self._rests_until = 0.0

    @property
    def position(self) -> int:
        """See `Reader.position`."""
        return self._position

    def seek(self, offset: int) -> None:
        """See `Reader.seek`."""
        if self._fetching is not None:
            self._fetching.cancel()
        self._fetching = None
        self._forget(offset)

    def _forget(self, offset: int) -> None:
        self._position = self._behind = offset
        self._ahead, self._taken = Batch(), 0
        self._has_looked = False
        self._rests_until = 0.0

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        """See `Reader.poll`. The first one after a seek waits for the broker's answer, however short the timeout."""
        assert max_records > 0
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        if self._taken < len(self._ahead):
            await asyncio.sleep(0)  # a long backlog must let the other tasks run
        while self._taken >= len(self._ahead):
            if not await self._has_answer(deadline):
                return Batch()
            self._accept()
            if not len(self._ahead) and asyncio.get_running_loop().time() >= deadline:
                return Batch()
        return self._take(max_records)

    async def _has_answer(self, deadline: float) -> bool:
        """Wait for the fetch that is under way, or for a new one; a wait that is cancelled leaves it under way."""
        now = asyncio.get_running_loop().time
        if self._fetching is None:
            await asyncio.sleep(min(self._rests_until, deadline) - now())
            self._fetch_next()
        assert self._fetching is not None
        left = max(0.0, deadline - now()) if self._has_looked else None
        done, _ = await asyncio.wait((self._fetching,), timeout=left)
        return bool(done)

    def _accept(self) -> None:
        """Take over what was fetched, and let the next fetch begin."""
        assert self._fetching is not None
        fetching, self._fetching = self._fetching, None
        self._has_looked = False  # after an error, the next poll waits for its answer too
        self._ahead, self._behind, size = fetching.result()
        self._taken, self._has_looked = 0, True
        if _is_full(size):
            self._fetch_next()
        elif len(self._ahead):
            self._rests_until = asyncio.get_running_loop().time() + BEAT_S
        if not len(self._ahead):
            self._position = self._behind

    def _take(self, most: int) -> Batch:
        batch = rows_of(self._ahead, self._taken, self._taken + most)
        self._taken += len(batch)
        if self._taken < len(self._ahead):
            self._position = batch.offsets[-1] + 1
        else:
            self._position = self._behind
            self._ahead, self._taken = Batch(), 0
        return batch

    def _fetch_next(self) -> None:
        self._fetching = asyncio.create_task(self._fetch(self._behind, _WAIT_MS if self._has_looked else 0))

    async def _fetch(self, offset: int, wait_ms: int) -> _Fetched:
        if self._client is None:
            await self._log.partition(self._tp)
            client = Client(self._log.access)
            await client.open()
            self._client = client
        doing = f"reading {self._tp.topic}-{self._tp.partition}"
        parts = [await self._client.patiently(doing, partial(self._asked, self._client, offset, wait_ms=wait_ms))]
        size = parts[0].size
        while _is_full(parts[-1].size) and size < _AHEAD_BYTES:
            parts.append(await self._client.patiently(doing, partial(self._asked, self._client, parts[-1].end, wait_ms=0)))
            size += parts[-1].size
        filled = [part.batch for part in parts if len(part.batch)]  # behind the last record an answer is empty
        return _Fetched(joined(filled) if filled else Batch(), parts[-1].end, size)

    async def _asked(self, client: Client, offset: int, *, wait_ms: int) -> _Fetched:
        topic, number = self._tp
        try:
            leader = (await self._log.partition(self._tp)).leaders[number]
            request = FetchRequest(wait_ms, 1, _FETCH_BYTES, READ_COMMITTED, [(topic, [(number, offset, _FETCH_BYTES)])])
            answer = await client.ask(request, leader)
            check(getattr(answer, "error_code", 0))
            if not answer.topics:
                return _Fetched(Batch(), offset, 0)  # a quota of the broker's: later
            [(_, [(_, code, *columns)])] = answer.topics
            check(code)
        except errors.OffsetOutOfRangeError:
            await self._refuse(offset)
            raise
        except (errors.KafkaError, TimeoutError, OSError):
            self._log.forget(topic)  # the leader moved, perhaps
            raise
        aborted = columns[3] if answer.API_VERSION >= _ABORTED_SINCE else columns[-2]
        return _Fetched(*batch_of(columns[-1], aborted or (), start=offset), len(columns[-1]))

    async def _refuse(self, offset: int) -> None:
        """Raise OffsetOutOfRange, unless the log moved between the two questions."""
        first, end = await self._log.bounds(self._tp)
        if not first <= offset <= end:
            raise OffsetOutOfRange(self._tp, offset, first=first, end=end)

    async def close(self) -> None:
        """See `Reader.close`."""
        fetching = self._fetching
        self.seek(self._position)
        if fetching is not None:
            await asyncio.gather(fetching, return_exceptions=True)
        if self._client is not None:
            await self._client.close()


def _is_full(size: int) -> bool:
    """Answer whether an answer of so many bytes tells of a backlog: then the next is fetched at once, while this one is taken."""
    return size > _FETCH_BYTES / 2
