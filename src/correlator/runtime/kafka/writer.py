"""The writer: one producer, thrown away with its first error; records go out in batches, columns in."""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaPartition

from correlator.runtime.kafka.connections import Connections
from correlator.runtime.kafka.errors import told
from correlator.runtime.kafka.neglected import hush, sending, take_note
from correlator.runtime.ports import Fenced, Messages, Position, Refused, TopicPartition, Transient

if TYPE_CHECKING:
    from correlator.runtime.kafka.log import KafkaLog

T = TypeVar("T")

_BATCH_BYTES: Final = 512 * 1024
"""Of one batch, which one produce request carries per partition: below any broker's limit (1 MB); a larger record goes alone."""
TRANSACTION_MS: Final = 10_000
"""The broker drops a transaction open for longer: until then, one dead writer holds up every reader of its partitions."""
PATIENCE_MS: Final = 15_000
_CLOSE_PATIENCE_S: Final = 2.0
_NO_HEADERS: Final[list[tuple[str, bytes]]] = []


class _Sent(NamedTuple):
    """A batch on its way: its last record gets the offset that `arrival` answers, plus `records` less one."""

    tp: TopicPartition
    records: int
    arrival: asyncio.Future[Any]


class KafkaWriter:
    """See `Writer`. Positions of one transaction belong to one group."""

    def __init__(self, log: "KafkaLog", transactional_id: str | None) -> None:
        self._log = log
        self._id = transactional_id
        self._doing = f"writing as {transactional_id}" if transactional_id is not None else "publishing"
        self._producer: Any = None
        self._is_open = self._is_spent = False
        self._began = 0.0
        self._sent: list[_Sent] = []
        self._group = ""
        self._positions: dict[TopicPartition, Position] = {}
        self._stood: dict[tuple[str, TopicPartition], Position] = {}

    async def start(self) -> None:
        """See `Writer.start`."""
        assert self._producer is None, "a writer is started once"
        identity: dict[str, object] = {"enable_idempotence": True}
        if self._id is not None:
            identity = {"transactional_id": self._id, "transaction_timeout_ms": self._log.transaction_ms}
        self._producer = AIOKafkaProducer(**self._log.access.options(), **identity, max_batch_size=_BATCH_BYTES)
        Connections.take_over(self._producer)
        await self._patiently(self._producer.start())

    async def _patiently(self, step: Awaitable[T]) -> T:
        """Wait for a step of the producer, which by itself would try for ever; an error, or being cancelled, makes the writer spent."""
        self._is_spent = True
        with told(self._doing):
            async with asyncio.timeout(self._log.patience_ms / 1000):
                try:
                    result = await step
                except IllegalOperation as error:
                    raise self._failed or error from error
        self._is_spent = False
        return result

    @property
    def _failed(self) -> BaseException | None:
        """What ended aiokafka's sender: it tells whoever waits, and says "not in transaction" to whoever comes later."""
        sending: asyncio.Task[None] | None = self._producer._sender.sender_task  # noqa: SLF001
        return sending.exception() if sending is not None and sending.done() and not sending.cancelled() else None

    async def begin(self) -> None:
        """See `Writer.begin`."""
        assert not self._is_open, "the last transaction is still open"
        if self._id is not None:
            await self._excused(self._producer.begin_transaction())
        self._is_open = True
        self._began = time.monotonic()

    async def send(self, tp: TopicPartition, messages: Messages) -> None:
        """See `Writer.send`. Waits while the batch before is under way."""
        assert self._is_open, "no transaction is open"
        for column in (messages.keys, messages.timestamps, messages.headers):
            assert column is None or len(column) == len(messages.values), "columns of unequal length"
        if self._id is None:
            self._doing = f"publishing to {tp.topic}"
        topic = await self._log.partition(tp)
        if topic.compacted and (messages.keys is None or None in messages.keys):
            raise Refused(f"topic {tp.topic} is compacted: every record needs a key")
        for batch in self._batches(messages):
            arrival = await self._excused(self._producer.send_batch(batch, tp.topic, partition=tp.partition))
            self._sent.append(_Sent(tp, batch.record_count(), arrival))

    def _batches(self, messages: Messages) -> Iterator[Any]:
        """Fill batches up to their size, at least one record each."""
        count = len(messages.values)
        stamps: Sequence[int | None] = messages.timestamps if messages.timestamps is not None else [_now()] * count
        keys = messages.keys if messages.keys is not None else [None] * count
        headers = map(list, messages.headers) if messages.headers is not None else [_NO_HEADERS] * count
        batch = None
        for stamp, key, value, extra in zip(stamps, keys, messages.values, headers, strict=True):
            if batch is not None and batch.append(timestamp=stamp, key=key, value=value, headers=extra) is not None:
                continue
            if batch is not None:
                yield batch
            batch = self._producer.create_batch()
            batch.append(timestamp=stamp, key=key, value=value, headers=extra)
        if batch is not None:
            batch.close()
            yield batch

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Position]) -> None:
        """See `Writer.send_offsets`; they travel with the commit."""
        assert self._is_open, "no transaction is open"
        assert self._id is not None, "a plain producer sends no offsets"
        assert self._group in ("", group), "positions of one transaction belong to one group"
        self._group = group
        self._positions.update(offsets)

    async def commit(self) -> None:
        """See `Writer.commit`. Nothing is committed unless every record and position arrived."""
        assert self._is_open, "no transaction is open"
        try:
            await self._excused(self._finish())
        except Refused as error:
            self._tell_arrived(error)
            raise
        except Transient:
            for sent in self._sent:
                self._log.forget(sent.tp.topic)  # a leader moved, or the topic is gone: who sends to it next asks, and says which
            raise
        self._stood.update({(self._group, tp): position for tp, position in self._positions.items()})
        for sent in self._sent:
            self._log.wrote(sent.tp, sent.arrival.result().offset + sent.records)
        self._drop()

    def _tell_arrived(self, error: Refused) -> None:
        """Say how many records lie there all the same, where no transaction takes them back."""
        if self._id is None:
            arrived = sum([sent.records for sent in self._sent if not sent.arrival.cancelled() and sent.arrival.exception() is None])
            error.add_note(
                f"{arrived:,} of the {sum([sent.records for sent in self._sent]):,} records of this batch are there all the same"
            )

    async def _finish(self) -> None:
        arriving: list[Awaitable[object]] = [sent.arrival for sent in self._sent]
        if self._positions:
            kafkas = {KafkaPartition(*tp): OffsetAndMetadata(*position) for tp, position in self._positions.items()}
            arriving.append(self._producer.send_offsets_to_transaction(kafkas, self._group))
        await _all(arriving)
        if self._id is not None:
            await self._producer.commit_transaction()

    async def _excused(self, step: Awaitable[T]) -> T:
        try:
            return await self._patiently(step)
        except Fenced as error:
            await self._excuse(error)
            raise

    async def _excuse(self, error: Fenced) -> None:
        """Raise Transient where it was the broker that dropped the transaction, being too old: Kafka says the same for both.

        A newer writer would have moved on: our positions then stand elsewhere than where we left them.
        """
        if (time.monotonic() - self._began) * 1000 < self._log.transaction_ms:
            return
        for (group, tp), position in self._stood.items():
            if await self._log.committed(group, tp) != position:
                return
        raise Transient(f"{self._doing}: the transaction took longer than {self._log.transaction_ms} ms and was dropped") from error

    async def abort(self) -> None:
        """See `Writer.abort`."""
        assert self._is_open, "no transaction is open"
        if self._id is not None:
            await self._patiently(self._producer.abort_transaction())
        self._drop()

    async def close(self) -> None:
        """See `Writer.close`. A transaction that cannot be aborted at once is left to the broker, or to the next writer."""
        if self._producer is None:
            return
        begun = sending(self._producer)
        try:
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                if self._is_open and self._id is not None and not self._is_spent:
                    await self._producer.abort_transaction()
                await self._producer.stop()
        except (KafkaError, TimeoutError, OSError):
            pass  # what it was doing has failed before, and was told
        finally:
            await self._abandon(begun | sending(self._producer))
            self._drop()
            hush(self._producer)

    async def _abandon(self, begun: "set[asyncio.Task[Any]]") -> None:
        """End whatever aiokafka has begun and left: it would go on trying for ever. A producer that stopped well has left nothing."""
        for task in begun:
            task.cancel()
        if begun:
            await asyncio.wait(begun, timeout=_CLOSE_PATIENCE_S)
        given_up = KafkaError("the producer was given up")
        hush(self._producer)  # before: what fails now has left the producer a turn of the loop later
        self._producer._message_accumulator.fail_all(given_up)  # noqa: SLF001 - stop() left a task that waits for it
        with suppress(KafkaError, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_PATIENCE_S):
                await self._producer.client.close()

    def _drop(self) -> None:
        self._is_open = False
        for sent in self._sent:
            if not sent.arrival.cancel():
                take_note(sent.arrival)
        self._sent, self._positions, self._group = [], {}, ""


async def _all(arriving: Sequence[Awaitable[object]]) -> None:
    """Wait for all, then raise the first error: none is left behind untold."""
    results = await asyncio.gather(*arriving, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    for error in failed:
        if isinstance(error, ProducerFenced):
            raise error
    if failed:
        raise failed[0]


def _now() -> int:
    return time.time_ns() // 1_000_000
