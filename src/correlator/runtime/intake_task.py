"""The intake task: one raw partition to frames, one transaction a batch. Order reads so: poll, step, send, commit."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from correlator.frames.codec import encode_frame
from correlator.intake.formats import Format
from correlator.intake.output import DeadLetter, IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.incident import encode_document
from correlator.model.instant import MINUTE, NEVER, SECOND, Instant
from correlator.runtime.backlog import Backlog
from correlator.runtime.caution import Caution
from correlator.runtime.control import ControlReader
from correlator.runtime.embedded import wall_clock
from correlator.runtime.limits import LimitNotices, limits_of
from correlator.runtime.metrics import Stage
from correlator.runtime.pace import Note, Pace, check_arrival, hold_of, read_note
from correlator.runtime.ports import (
    RECOMMIT_EVERY,
    Batch,
    Headers,
    Log,
    Messages,
    OffsetOutOfRange,
    Position,
    TopicPartition,
    Transient,
)
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics, is_end

TICK_EVERY: Final = SECOND
POLL_MS: Final = 200
REFUSALS_TOLD_EVERY: Final = MINUTE
_logger: Final = logging.getLogger(__name__)


class _Part(NamedTuple):
    """Records in hand; or that none follow them any more (`is_last`); or the offset of an end mark."""

    batch: Batch = Batch()
    is_last: bool = False
    end: int | None = None


class IntakeTask:
    """Runs the intake of one raw partition until it fails or is cancelled. Its memory dies with it; its position is in the log.

    Rules and topology come from the control topic, at the start and between batches; `caution` knows what failed in earlier lives.
    It keeps pace with the `others`, the raw partitions beside its own, and tells `on_works` when it has committed or has nothing to do.
    `seconds` and `rest` are the clock and the sleep of its patience.
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
        others: Sequence[TopicPartition] = (),
        on_works: Callable[[], None] = lambda: None,
        clock: Callable[[], Instant] = wall_clock,
        seconds: Callable[[], float] = time.monotonic,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._topics = topics
        self._tp = tp
        self._form = form
        self._is_recording = is_recording
        self._caution = caution
        self._telemetry = telemetry
        self._on_works = on_works
        self._clock = clock
        self._writer = log.writer(topics.intake_writer(tp))
        self._reader = log.reader(tp)
        self._control = ControlReader(log, topics)
        self._group = topics.intake_group
        self._pace = Pace(log, self._group, others, is_recording=is_recording, telemetry=telemetry, seconds=seconds, rest=rest)
        self._parts: deque[_Part] = deque()
        self._ahead: Instant | None = None
        self._note = ""
        self._intake: Intake
        self._digest = ""
        self._told: Instant = 0
        self._doubts_told = 0
        self._limits = LimitNotices(self._name, clock)
        self.position = 0
        self.needed_from: int | None = None
        """The committed position once it is known: what lies below is never read again."""
        self.waiting_since: Instant | None = None
        """When the oldest record was appended that is not finished, None when all are."""
        self._backlog = Backlog(log, tp, stage=Stage.INTAKE, telemetry=telemetry, seconds=seconds)
        self._taken = 0
        self._committed: Instant = 0
        self._is_leaving = False

    async def run(self) -> None:
        """Fence older writers, go where they stood, and take batch after batch."""
        await self._writer.start()
        await self._resume()
        self._ticked = self._committed = self._clock()
        while not self._is_leaving:
            await self._follow_control()
            if self._ahead is not None:
                await self._catch_up(self._ahead)
            elif self._parts:
                await self._go_on(self._parts[0])
            else:
                await self._take_more()
            if self._reader.position >= self._backlog.end and not self._parts:
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
    def is_ahead(self) -> bool:
        """Whether it must wait for others before it may say how far its own time has come."""
        return self._ahead is not None

    @property
    def place(self) -> str:
        """Where in the log it stands, for messages."""
        return f"{self._name} offset {self.position}"

    @property
    def _name(self) -> str:
        return f"{self._tp.topic}-{self._tp.partition}"

    async def _take_more(self) -> None:
        """Poll a batch; say what time it is when there is nothing."""
        batch = await self._poll()
        if len(batch):
            self._taken = batch.offsets[-1] + 1
            self.waiting_since = batch.timestamps[0]
            self._parts.extend(_parts(batch) if self._is_recording else [_Part(batch)])
            await self._pace.refresh(NEVER if self._is_recording else batch.timestamps[-1])
            return
        await self._backlog.rested()
        now = self._clock()
        if not self._is_recording and now - self._ticked >= TICK_EVERY and await self._is_at_end():
            self._ticked = now
            await self._pace.refresh(now)
            await self._commit(self._intake.tick(now, until=self._pace.until))
            self._on_works()
        elif self._is_recording:
            self._tell_doubts()
            await self._commit(self._intake.say(self._pace.until))  # what came was no record, or the position is due again
            self._on_works()

    async def _go_on(self, part: _Part) -> None:
        """Take the next of the batch in hand, in one transaction. A recording does not end before all are heard that are behind."""
        if part.end is not None and self._note and not await self._pace.reaches(0, is_end=True):
            await self._pace.rest()
            return
        output = self._step(part)
        self._parts.popleft()
        await self._commit(output)
        if len(part.batch):
            self.waiting_since = part.batch.timestamps[-1]

    async def _catch_up(self, clock: Instant) -> None:
        """Say that time has come to where this intake stands as soon as the others allow it. Until then it takes nothing more."""
        if await self._pace.reaches(clock):
            await self._commit(self._intake.say(self._pace.until))
        else:
            await self._pace.rest()

    async def _follow_control(self) -> None:
        """Adopt rules and topology that were put in force since; what was decided before is committed."""
        control = await self._control.news()
        if control is not None and control.digest != self._digest:
            self._digest = control.digest
            self._intake.adopt(control)
            self._pace.hold = hold_of(control.rules.time.max_hold)

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

    def _tell_doubts(self) -> None:
        """Say why nothing goes on: whoever published a part of a recording, and no end, may wait for ever."""
        before, self._doubts_told = self._doubts_told, self._intake.in_doubt
        if self._doubts_told not in (0, before):
            _logger.info(
                "%s: %d records wait for later ones to confirm their time; publish what follows (without --more, if it is the last)",
                self._name,
                self._doubts_told,
            )

    async def _is_at_end(self) -> bool:
        """Answer whether all is read: a slow log may give nothing in time though records wait, and a backlog must not fire timers."""
        return self._reader.position >= (await self._log.bounds(self._tp))[1]

    async def _resume(self) -> None:
        committed = await self._log.committed(self._group, self._tp)
        check_arrival(self._tp, committed, is_recording=self._is_recording)
        first, _ = await self._log.bounds(self._tp)
        position = committed if committed is not None else Position(first)
        if position.offset < first:
            self._tell_lost(position.offset, first)
            position = Position(first, position.note)
        control = await self._control.in_force()
        self._digest = control.digest
        self._pace.hold = hold_of(control.rules.time.max_hold)
        self._note, note = position.note, read_note(position.note)
        self._ahead = _unsaid(note.watermark, note.clock)
        self._intake = Intake(
            self._name,
            control,
            form=self._form,
            is_recording=self._is_recording,
            watermark=note.watermark,
            clock=note.clock,
            latest=note.latest,
            position=position.offset,
        )
        self.position = self.needed_from = self._taken = position.offset
        self._reader.seek(position.offset)

    def _tell_lost(self, position: int, first: int) -> None:
        """Records that retention deleted unread cannot come back; what came after them can still be judged."""
        lost = first - position
        self._telemetry.records_lost(lost)
        _logger.error(
            "%s: %d records were deleted before they were read; going on at offset %d; raise its retention", self._name, lost, first
        )

    def _step(self, part: _Part) -> IntakeOutput:
        if part.end is not None:
            output = self._intake.end()
            output.position = part.end + 1
            return output
        if part.is_last:
            return self._intake.decide(self._pace.until)
        started = time.perf_counter()
        output = self._judged(part.batch)
        self._telemetry.batch(Stage.INTAKE, time.perf_counter() - started, len(part.batch))
        return output

    def _judged(self, batch: Batch) -> IntakeOutput:
        values = [value if value is not None else b"" for value in batch.values]
        fault = self._caution.aside.get(batch.offsets[0]) if len(batch) == 1 else None
        if fault is not None:
            return self._intake.refuse(batch.offsets[0], values[0], fault)
        stamps = None if self._is_recording else batch.timestamps
        with self._caution.taking(batch):
            return self._intake.step(batch.offsets, values, stamps, until=self._pace.until)

    def _reached(self, output: IntakeOutput) -> int:
        """Answer where to go on: where all is decided, behind what follows the last record, such as the markers of Kafka's transactions."""
        position = max(output.position, self.position)  # intake itself knows nothing of end marks
        is_all = not self._parts and position >= self._taken
        return max(position, self._reader.position) if is_all else position

    async def _commit(self, output: IntakeOutput) -> None:
        """Write frames, dead letters and the position in one transaction; nothing is written when nothing moved, but for once an hour."""
        note, position, now = (
            Note(output.watermark, output.latest, output.clock, not self._is_recording).written(),
            self._reached(output),
            self._clock(),
        )
        self._ahead = _unsaid(output.watermark, output.clock)
        is_due = now - self._committed >= RECOMMIT_EVERY
        if not output.frames and not output.dead_letters and position == self.position and note == self._note and not is_due:
            return
        started = time.perf_counter()
        await self._writer.begin()
        for partition, frame in output.frames:
            await self._writer.send(TopicPartition(self._topics.frames, partition), Messages([encode_frame(frame)]))
        if output.dead_letters:
            await self._writer.send(TopicPartition(self._topics.dead_letters, 0), _letters(output.dead_letters, self._tp))
        await self._writer.send_offsets(self._group, {self._tp: Position(position, note)})
        await self._writer.commit()
        self.position = self.needed_from = position
        self._note, self._committed = note, now
        await self._backlog.moved(position)
        self._tell_refusals(output.dead_letters)
        self._on_works()
        self._telemetry.commit(time.perf_counter() - started)
        self._telemetry.on_intake(output.counts, dead_letters=len(output.dead_letters))
        self._limits.note(limits_of(output.counts))


def _unsaid(watermark: Instant | None, clock: Instant | None) -> Instant | None:
    """Answer the clock where that is ahead of what was said."""
    return clock if watermark is not None and clock is not None and watermark < clock else None


def _parts(batch: Batch) -> list[_Part]:
    """Cut a batch of a recording at each end mark."""
    parts: list[_Part] = []
    first = 0
    for number, headers in enumerate(batch.headers or ()):
        if is_end(headers):
            records = [_Part(_slice(batch, first, number))] if first < number else []
            parts += [*records, _Part(is_last=True), _Part(end=batch.offsets[number])]
            first = number + 1
    if first < len(batch):
        parts.append(_Part(_slice(batch, first, len(batch))))
    return parts


def _slice(batch: Batch, first: int, last: int) -> Batch:
    return Batch(batch.offsets[first:last], batch.timestamps[first:last], batch.keys[first:last], batch.values[first:last])


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
