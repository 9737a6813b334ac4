"""The correlate task: one frames partition to documents, state and position, one transaction a batch."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from correlator.config.settings import CheckpointSettings
from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import alert_document
from correlator.frames.codec import decode_frame
from correlator.model.event import Flag
from correlator.model.incident import IncidentDocument, encode_document, encode_incident
from correlator.model.instant import SECOND, Instant
from correlator.runtime.backlog import Backlog
from correlator.runtime.limits import Limit, LimitNotices
from correlator.runtime.metrics import RowKind, Stage
from correlator.runtime.ports import RECOMMIT_EVERY, Batch, Headers, Log, Messages, Position, TopicPartition
from correlator.runtime.restore import read_all, read_until
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, REVISION_HEADER, SCHEMA_HEADER, Topics, complete_up_to

FRAMES_MOST: Final = 1_000
"""Frames of one transaction. Readers give 4 MB at once, so they are that many only where each is small: many partitions, little in each."""
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
        on_works: Callable[[], None] = lambda: None,
        raw: Collection[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`raw` names the raw partitions there are, as `topic-number`: others are waited for no more. None for all that ever spoke.

        It tells `on_works` when it has committed or has nothing to do. `clock` answers seconds that only grow: it says when a checkpoint is
        due, or the position again, and nothing else.
        """
        self._log = log
        self._topics = topics
        self._partition = partition
        self._tp = TopicPartition(topics.frames, partition)
        self._checkpoint_settings = checkpoint
        self._telemetry = telemetry
        self._on_restored = on_restored
        self._on_works = on_works
        self._writer = log.writer(topics.correlate_writer(partition))
        self._reader = log.reader(self._tp)
        self._group = topics.correlate_group
        self._machine = Machine(domain=domain)
        self._clock = clock
        self._checkpointed = self._committed = clock()
        self._raw = raw
        self._limits = LimitNotices(self._name, lambda: round(self._clock() * SECOND))
        self._evicted: dict[Limit, int] = {}
        self._row_bytes = 0.0
        self._offset = 0
        self.position = 0
        self.needed_from: int | None = None
        """The last checkpoint's position once it is known: a restore begins there."""
        self.waiting_since: Instant | None = None
        """When the oldest frame was appended that is not finished, None when all are."""
        self._backlog = Backlog(log, self._tp, stage=Stage.CORRELATE, telemetry=telemetry, seconds=clock)
        self._is_leaving = False
        self.is_restored = False

    async def run(self) -> None:
        """Fence older writers, restore what they left, and take batch after batch."""
        await self._writer.start()
        await self._restore()
        while not self._is_leaving:
            batch = await self._reader.poll(max_records=FRAMES_MOST, timeout_ms=POLL_MS)
            if len(batch):
                self.waiting_since = batch.timestamps[0]
                await self._take(batch)
                self.waiting_since = batch.timestamps[-1]
            else:
                self.position = self._reader.position  # what is left were holes, such as the markers of Kafka's transactions
                await self._backlog.rested()
                await self._say_again()
                self._on_works()
            if self._reader.position >= self._backlog.end:
                self.waiting_since = None

    def leave(self) -> None:
        """Stop behind the batch in hand: the partition is somebody else's now."""
        self._is_leaving = True

    async def close(self) -> None:
        """Let go of reader and writer."""
        await self._reader.close()
        await self._writer.close()

    @property
    def place(self) -> str:
        """Which frame it judged last, for messages."""
        return f"{self._name} offset {self._offset}"

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
        start = complete_up_to(marker)  # not the first there is: without rows all frames are needed
        self.position = committed.offset if committed is not None else start
        self._reader.seek(start)
        await self._step_again()
        self._evicted = self._limits_met
        self._telemetry.restored(
            time.perf_counter() - started, len(rows), totals=self._machine.verdicts, limits=self._evicted, partition=self._name
        )
        self._measure()
        self.needed_from = start
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
                    self._step(offset, value)
        self._reader.seek(self.position)

    # Batches

    def _step(self, offset: int, body: bytes | None) -> Effects:
        """Judge one frame. Raises `FrameError` or `NewerVersionError` for one that cannot be read: no machine may go on without it."""
        self._offset = offset
        return self._machine.step(decode_frame(body or b""))

    async def _take(self, batch: Batch) -> None:
        started, position = time.perf_counter(), self._reader.position
        await self._writer.begin()
        # The checkpoint says it, in the transaction of the first frame that is judged by it: a restore knows nothing of settings.
        has_left = self._raw is not None and self._machine.sources.end_all_but(self._raw)
        written: list[Effects] = []
        for offset, body in zip(batch.offsets, batch.values, strict=True):
            effects = self._step(offset, body)
            await self._send(effects)
            written.append(effects)
        needed_from = self.needed_from
        if has_left or self._is_checkpoint_due():
            await self._checkpoint(position)
            needed_from = position
        await self._writer.send_offsets(self._group, {self._tp: Position(position)})
        stepped = time.perf_counter()
        await self._writer.commit()
        self.position, self.needed_from, self._committed = position, needed_from, self._clock()
        await self._backlog.moved(position)
        self._count(written)
        self._telemetry.batch(Stage.CORRELATE, stepped - started, len(batch))
        self._on_works()
        self._telemetry.commit(time.perf_counter() - stepped)
        self._measure()

    async def _say_again(self) -> None:
        """Commit the position once more where nothing came for long."""
        if (self._clock() - self._committed) * SECOND < RECOMMIT_EVERY:
            return
        await self._writer.begin()
        await self._writer.send_offsets(self._group, {self._tp: Position(self.position)})
        await self._writer.commit()
        self._committed = self._clock()

    async def _send(self, effects: Effects) -> None:
        """Describe what one step changed and add it to the transaction."""
        incidents = {key.encode(): None if document is None else encode_incident(document) for key, document in effects.incidents.items()}
        alerts = {
            fingerprint.hex().encode(): None if alert is None else encode_document(alert_document(alert))
            for fingerprint, alert in effects.alerts.items()
        }
        await self._send_keyed(self._topics.incidents, incidents, headers=list(map(_incident_headers, effects.incidents.values())))
        await self._send_keyed(self._topics.alerts, alerts)
        if effects.decisions:
            bodies = [encode_document(decision) for decision in effects.decisions]
            await self._writer.send(TopicPartition(self._topics.decisions, self._partition), Messages(bodies))

    def _count(self, written: Sequence[Effects]) -> None:
        states = Counter([document.state for effects in written for document in effects.incidents.values() if document is not None])
        whys = Counter([decision.why for effects in written for decision in effects.decisions])
        for state, count in states.items():
            self._telemetry.on_incident(state, count=count)
        for why, count in whys.items():
            self._telemetry.on_decision(why, count=count)
        self._telemetry.on_flag(Flag.RESOLVED_BEFORE_FIRING, sum([effects.resolved_early for effects in written]))

    async def _send_keyed(self, topic: str, bodies: dict[bytes, bytes | None], headers: Sequence[Headers] | None = None) -> None:
        if bodies:
            messages = Messages(list(bodies.values()), keys=list(bodies), headers=headers)
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
        telemetry.sources(len(machine.sources.live), len(machine.sources.fallen_out), partition=self._name)
        telemetry.ticks_ignored(machine.sources.ticks_ignored, partition=self._name)
        self._tell_limits()
        counts = dict(zip(RowKind, machine.row_counts, strict=True))
        telemetry.state(counts, round(sum(counts.values()) * self._row_bytes), partition=self._name)

    @property
    def _limits_met(self) -> dict[Limit, int]:
        return dict(zip((Limit.ALERTS, Limit.INCIDENTS), self._machine.evicted, strict=True))

    def _tell_limits(self) -> None:
        """Report what the machine forgot for want of room."""
        totals = self._limits_met
        self._telemetry.limits_met(totals, partition=self._name)
        self._limits.note({limit: total - self._evicted.get(limit, 0) for limit, total in totals.items()})
        self._evicted = totals


def _incident_headers(document: IncidentDocument | None) -> Headers:
    """Say which revision a document is, so that a consumer knows one it has seen without reading it; a tombstone has none."""
    return (SCHEMA_HEADER,) if document is None else (SCHEMA_HEADER, (REVISION_HEADER, str(document.revision).encode()))
