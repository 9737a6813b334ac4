"""The intake task: one raw partition to frames, one transaction a batch. Order reads so: poll, step, send, commit."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from correlator.frames.codec import encode_frame
from correlator.intake.formats import Format
from correlator.intake.pipeline import DeadLetter, Intake, IntakeOutput
from correlator.model.incident import encode_document
from correlator.model.instant import MINUTE, SECOND, Instant
from correlator.runtime.caution import Caution
from correlator.runtime.control import ControlReader
from correlator.runtime.embedded import wall_clock
from correlator.runtime.limits import LimitNotices, limits_of
from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Batch, Headers, Log, Messages, OffsetOutOfRange, Position, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import END_HEADER, Topics

TICK_EVERY: Final = SECOND
POLL_MS: Final = 200
REFUSALS_TOLD_EVERY: Final = MINUTE
_logger: Final = logging.getLogger(__name__)


class IntakeTask:
    """Runs the intake of one raw partition until it fails or is cancelled. Its memory dies with it; its position is in the log.

    Rules and topology come from the control topic, at the start and between batches; `caution` knows what failed in earlier lives.
    """

    def __init__(
        self,
        log: Log,
        topics: Topics,
        tp: TopicPartition,
        *,
        form: Format,
        is_recording: bool,
        caution: Caution,
        telemetry: Telemetry,
        clock: Callable[[], Instant] = wall_clock,
    ) -> None:
        self._log = log
        self._topics = topics
        self._tp = tp
        self._form = form
        self._is_recording = is_recording
        self._caution = caution
        self._telemetry = telemetry
        self._clock = clock
        self._writer = log.writer(f"{topics.prefix}-intake-{tp.topic}-{tp.partition}")
        self._reader = log.reader(tp)
        self._control = ControlReader(log, topics)
        self._group = f"{topics.prefix}-intake"
        self._intake: Intake
        self._digest = ""
        self._told: Instant = 0
        self._limits = LimitNotices(f"{tp.topic}-{tp.partition}", clock)
        self.position = 0
        self.needed_from: int | None = None
        """The committed position once it is known: what lies below is never read again."""
        self.waiting_since: Instant | None = None
        """When the oldest record was appended that is not finished, None when all are."""
        self._end = 0
        self._is_leaving = False

    async def run(self) -> None:
        """Fence older writers, go where they stood, and take batch after batch."""
        await self._writer.start()
        await self._resume()
        ticked = self._clock()
        while not self._is_leaving:
            await self._follow_control()
            batch = await self._poll()
            now = self._clock()
            if len(batch):
                self.waiting_since = batch.timestamps[0]
                for part, end in _parts(batch) if self._is_recording else [(batch, None)]:
                    await self._commit(self._step(part, end))
                self.waiting_since = batch.timestamps[-1]
            elif not self._is_recording and now - ticked >= TICK_EVERY and await self._is_at_end():
                ticked = now
                await self._commit(self._intake.tick(now))
            if self._reader.position >= self._end:
                self.waiting_since = None

    def leave(self) -> None:
        """Stop behind the batch in hand: the partition is somebody else's now."""
        self._is_leaving = True

    async def close(self) -> None:
        """Let go of reader and writer."""
        await self._reader.close()
        await self._control.close()
        await self._writer.close()

    @property
    def place(self) -> str:
        """Where in the log it stands, for messages."""
        return f"{self._name} offset {self.position}"

    @property
    def _name(self) -> str:
        return f"{self._tp.topic}-{self._tp.partition}"

    async def _follow_control(self) -> None:
        """Adopt rules and topology that were put in force since; what was decided before is committed."""
        control = await self._control.news()
        if control is not None and control.digest != self._digest:
            self._digest = control.digest
            self._intake.adopt(control)

    async def _poll(self) -> Batch:
        try:
            return await self._reader.poll(max_records=self._caution.most(self._reader.position), timeout_ms=POLL_MS)
        except OffsetOutOfRange as error:
            if self._reader.position > error.end:
                raise
            raise Transient(str(error)) from error  # made anew it begins at the first record there is

    def _tell_refusals(self, letters: Sequence[DeadLetter]) -> None:
        """Warn of refused records, at most once a minute: they are safe among the dead letters, and somebody should look."""
        now = self._clock()
        if letters and now - self._told >= REFUSALS_TOLD_EVERY:
            self._told, first = now, letters[0]
            refusal = first.refusals[0]
            where = f"{self._name} offset {first.offset} item {refusal.item}"
            _logger.warning(
                "records were refused, the first at %s: %s: %s; see %s", where, refusal.reason, refusal.detail, self._topics.dead_letters
            )

    async def _is_at_end(self) -> bool:
        """Answer whether all is read: a slow log may give nothing in time though records wait, and a backlog must not fire timers."""
        return self._reader.position >= (await self._log.bounds(self._tp))[1]

    async def _resume(self) -> None:
        committed = await self._log.committed(self._group, self._tp)
        first, _ = await self._log.bounds(self._tp)
        position = committed if committed is not None else Position(first)
        if position.offset < first:
            self._tell_lost(position.offset, first)
            position = Position(first, position.note)
        control = await self._control.in_force()
        self._digest = control.digest
        watermark, latest = _read_note(position.note)
        self._intake = Intake(
            self._name,
            control,
            form=self._form,
            is_recording=self._is_recording,
            watermark=watermark,
            latest=latest,
            position=position.offset,
        )
        self.position = self.needed_from = position.offset
        self._reader.seek(position.offset)

    def _tell_lost(self, position: int, first: int) -> None:
        """Records that retention deleted unread cannot come back; what came after them can still be judged."""
        lost = first - position
        self._telemetry.records_lost(lost)
        _logger.error(
            "%s: %d records were deleted before they were read; going on at offset %d; raise its retention", self._name, lost, first
        )

    def _step(self, batch: Batch, end: int | None) -> IntakeOutput:
        started = time.perf_counter()
        output = self._judged(batch)
        if end is not None:
            output = _joined(output, self._intake.end())
            output.position = end + 1
        self._telemetry.batch(Stage.INTAKE, time.perf_counter() - started, len(batch))
        return output

    def _judged(self, batch: Batch) -> IntakeOutput:
        values = [value if value is not None else b"" for value in batch.values]
        fault = self._caution.aside.get(batch.offsets[0]) if len(batch) == 1 else None
        if fault is not None:
            return self._intake.refuse(batch.offsets[0], values[0], fault)
        with self._caution.taking(batch):
            return self._intake.step(batch.offsets, values, None if self._is_recording else batch.timestamps)

    async def _commit(self, output: IntakeOutput) -> None:
        """Write frames, dead letters and the position in one transaction; nothing is written when nothing moved."""
        if not output.frames and not output.dead_letters and output.position == self.position:
            return
        started = time.perf_counter()
        await self._writer.begin()
        for partition, frame in output.frames:
            await self._writer.send(TopicPartition(self._topics.frames, partition), Messages([encode_frame(frame)]))
        if output.dead_letters:
            await self._writer.send(TopicPartition(self._topics.dead_letters, 0), _letters(output.dead_letters, self._tp))
        note = f"{output.watermark} {output.latest}" if output.watermark is not None else ""
        await self._writer.send_offsets(self._group, {self._tp: Position(output.position, note)})
        await self._writer.commit()
        self.position = self.needed_from = output.position
        self._end = (await self._log.bounds(self._tp))[1]
        self._telemetry.lag(Stage.INTAKE, self._name, self._end - self.position)
        self._tell_refusals(output.dead_letters)
        self._telemetry.commit(time.perf_counter() - started)
        self._telemetry.on_intake(output.counts, dead_letters=len(output.dead_letters))
        self._limits.note(limits_of(output.counts))


def _read_note(note: str) -> tuple[Instant | None, Instant]:
    """Read what a position remembers of its partition's time: the watermark and the latest event time."""
    if not note:
        return None, 0
    watermark, latest = note.split()
    return int(watermark), int(latest)


def _parts(batch: Batch) -> list[tuple[Batch, int | None]]:
    """Cut a batch behind each end mark of a recording: records, and the offset of the mark that follows them."""
    parts: list[tuple[Batch, int | None]] = []
    first = 0
    for number, headers in enumerate(batch.headers or ()):
        if _is_end(headers):
            parts.append((_slice(batch, first, number), batch.offsets[number]))
            first = number + 1
    if first < len(batch):
        parts.append((_slice(batch, first, len(batch)), None))
    return parts


def _is_end(headers: Headers) -> bool:
    return any((name, value) == END_HEADER[0] for name, value in headers)


def _slice(batch: Batch, first: int, last: int) -> Batch:
    return Batch(batch.offsets[first:last], batch.timestamps[first:last], batch.keys[first:last], batch.values[first:last])


def _joined(first: IntakeOutput, second: IntakeOutput) -> IntakeOutput:
    """Put two outputs of one intake together: the second's position and watermark hold."""
    second.frames = [*first.frames, *second.frames]
    second.dead_letters = [*first.dead_letters, *second.dead_letters]
    second.counts.absorb(first.counts)
    return second


def _letters(letters: Sequence[DeadLetter], tp: TopicPartition) -> Messages:
    """Write dead letters: the value is the original's bytes (the first 256 KB of a longer one), the reasons lie in headers.

    `reason` is the first refusal's; `refused` counts all, of which `refusals` lists the first.
    """
    return Messages(
        [letter.kept for letter in letters],
        headers=[_letter_headers(letter, tp) for letter in letters],
    )


def _letter_headers(letter: DeadLetter, tp: TopicPartition) -> Headers:
    return (
        ("topic", tp.topic.encode()),
        ("partition", str(tp.partition).encode()),
        ("offset", str(letter.offset).encode()),
        ("length", str(len(letter.value)).encode()),
        ("xxh3_128", letter.digest.encode()),
        ("reason", letter.refusals[0].reason.encode()),
        ("refused", str(len(letter.refusals)).encode()),
        ("refusals", encode_document(letter.reasons)),
    )
