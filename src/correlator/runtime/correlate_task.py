"""The correlate task: one frames partition to documents, state and position, one transaction a batch."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from correlator.config.settings import CheckpointSettings
from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import alert_document
from correlator.frames.codec import decode_frame
from correlator.model.incident import encode_document, encode_incident
from correlator.model.instant import SECOND
from correlator.runtime.metrics import RowKind, Stage
from correlator.runtime.ports import Headers, Log, Messages, Position, TopicPartition
from correlator.runtime.restore import read_all, read_until
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, SCHEMA_HEADER, Topics

FRAMES_MOST: Final = 16
"""Frames of one transaction: each stands for up to 16,000 rows."""
POLL_MS: Final = 200
_RESTORE_RECORDS: Final = 50_000


class CorrelateTask:
    """Runs the machine of one domain until it fails or is cancelled. All it knows is in the log."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        partition: int,
        *,
        domain: str,
        checkpoint: CheckpointSettings,
        telemetry: Telemetry,
        on_restored: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` answers seconds that only grow: it says when a checkpoint is due, and nothing else."""
        self._log = log
        self._topics = topics
        self._partition = partition
        self._tp = TopicPartition(topics.frames, partition)
        self._checkpoint_settings = checkpoint
        self._telemetry = telemetry
        self._on_restored = on_restored
        self._writer = log.writer(f"{topics.prefix}-correlate-{partition}")
        self._reader = log.reader(self._tp)
        self._group = f"{topics.prefix}-correlate"
        self._machine = Machine(domain=domain)
        self._clock = clock
        self._checkpointed = clock()
        self._row_bytes = 0.0
        self.position = 0
        self.is_restored = False

    async def run(self) -> None:
        """Fence older writers, restore what they left, and take batch after batch."""
        await self._writer.start()
        await self._restore()
        while True:
            batch = await self._reader.poll(max_records=FRAMES_MOST, timeout_ms=POLL_MS)
            if len(batch):
                await self._take(batch.values, self._reader.position)
            else:
                self.position = self._reader.position  # what is left were holes, such as the markers of Kafka's transactions

    async def close(self) -> None:
        """Let go of reader and writer."""
        await self._reader.close()
        await self._writer.close()

    @property
    def alerts(self) -> int:
        """How many alerts the machine remembers."""
        return self._machine.row_counts[0]

    # Restore: rows, then the frames since, muted

    async def _restore(self) -> None:
        started = time.perf_counter()
        rows = await self._read_rows()
        marker = rows.pop(CHECKPOINT_KEY, None)
        self._machine.restore(rows)
        committed = await self._log.committed(self._group, self._tp)
        first, _ = await self._log.bounds(self._tp)
        start = int(marker) if marker is not None else first
        self.position = committed.offset if committed is not None else start
        self._reader.seek(start)
        await self._step_again()
        self._telemetry.restored(time.perf_counter() - started, len(rows), totals=self._machine.verdicts, partition=self._name)
        self._measure()
        self.is_restored = True
        self._on_restored()

    async def _read_rows(self) -> dict[bytes, bytes]:
        rows = dict[bytes, bytes]()
        tp = TopicPartition(self._topics.checkpoints, self._partition)
        async for batch in read_all(self._log, tp, most=_RESTORE_RECORDS):
            for key, value in zip(batch.keys, batch.values, strict=True):
                assert key is not None, "checkpoint rows have keys"
                if value is None:
                    rows.pop(key, None)
                else:
                    rows[key] = value
        return rows

    async def _step_again(self) -> None:
        """Judge again the frames that lie between the checkpoint and the position; what they wrote is written already."""
        async for batch in read_until(self._reader, self._tp, end=self.position, most=FRAMES_MOST):
            for offset, value in zip(batch.offsets, batch.values, strict=True):
                if offset < self.position:
                    self._machine.step(decode_frame(value or b""))
        self._reader.seek(self.position)

    # Batches

    async def _take(self, frames: Sequence[bytes | None], position: int) -> None:
        started = time.perf_counter()
        await self._writer.begin()
        written: list[Effects] = []
        for body in frames:
            effects = self._machine.step(decode_frame(body or b""))
            await self._send(effects)
            written.append(effects)
        if self._is_checkpoint_due():
            await self._checkpoint(position)
        await self._writer.send_offsets(self._group, {self._tp: Position(position)})
        stepped = time.perf_counter()
        await self._writer.commit()
        self.position = position
        self._telemetry.lag(Stage.CORRELATE, self._name, (await self._log.bounds(self._tp))[1] - position)
        for effects in written:
            self._count(effects)
        self._telemetry.batch(Stage.CORRELATE, stepped - started, len(frames))
        self._telemetry.commit(time.perf_counter() - stepped)
        self._measure()

    async def _send(self, effects: Effects) -> None:
        """Describe what one step changed and add it to the transaction."""
        incidents = {key.encode(): None if document is None else encode_incident(document) for key, document in effects.incidents.items()}
        alerts = {
            fingerprint.hex().encode(): None if alert is None else encode_document(alert_document(alert))
            for fingerprint, alert in effects.alerts.items()
        }
        await self._send_keyed(self._topics.incidents, incidents, headers=(SCHEMA_HEADER,))
        await self._send_keyed(self._topics.alerts, alerts)
        if effects.decisions:
            bodies = [encode_document(decision) for decision in effects.decisions]
            await self._writer.send(TopicPartition(self._topics.decisions, self._partition), Messages(bodies))

    def _count(self, effects: Effects) -> None:
        for document in effects.incidents.values():
            if document is not None:
                self._telemetry.on_incident(document.state)
        for decision in effects.decisions:
            self._telemetry.on_decision(decision.why)

    async def _send_keyed(self, topic: str, bodies: dict[bytes, bytes | None], headers: Headers | None = None) -> None:
        if bodies:
            all_headers = [headers] * len(bodies) if headers is not None else None
            messages = Messages(list(bodies.values()), keys=list(bodies), headers=all_headers)
            await self._writer.send(TopicPartition(topic, self._partition), messages)

    def _is_checkpoint_due(self) -> bool:
        settings = self._checkpoint_settings
        return self._machine.changed_rows >= settings.rows or (self._clock() - self._checkpointed) * SECOND >= settings.every

    async def _checkpoint(self, position: int) -> None:
        """Add the rows changed since the last checkpoint, and the position at which they are complete."""
        self._checkpointed = self._clock()
        rows = dict(self._machine.rows())
        self._row_bytes = sum([len(key) + len(value or b"") for key, value in rows.items()]) / len(rows)
        rows[CHECKPOINT_KEY] = str(position).encode()
        await self._send_keyed(self._topics.checkpoints, rows)

    @property
    def _name(self) -> str:
        return f"{self._tp.topic}-{self._tp.partition}"

    def _measure(self) -> None:
        telemetry, machine = self._telemetry, self._machine
        telemetry.on_verdicts(machine.verdicts, partition=self._name)
        telemetry.waiting(machine.waiting, partition=self._name)
        telemetry.sources(len(machine.sources.live), machine.sources.fallen_out, partition=self._name)
        telemetry.ticks_ignored(machine.sources.ticks_ignored, partition=self._name)
        counts = dict(zip(RowKind, machine.row_counts, strict=True))
        telemetry.state(counts, round(sum(counts.values()) * self._row_bytes), partition=self._name)
