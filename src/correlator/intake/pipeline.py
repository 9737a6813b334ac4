"""Intake: the bytes of one raw partition become frames; every item is forwarded or refused, none is lost.

In: batches of records in log order. Out: frames per domain, dead letters, and the position up to which all is decided.
Remembers a clock and a bounded cache of alerts; both may be lost, since the position is only ever moved past what was decided.

The common item (native, plain ASCII, an alert seen before) takes one short road through `step`; everything else goes through `_take`,
which must answer the same. `tests/intake/test_roads.py` holds the two against each other.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import xxhash

from correlator.frames.control import Control
from correlator.frames.frame import Extra, Frame, FrameKind, News
from correlator.intake.arrival import STEP, ArrivalClock
from correlator.intake.collapse import FrameBuilder, Statement, Track
from correlator.intake.decode import MAX_RECORD_BYTES
from correlator.intake.formats import Format, read_items
from correlator.intake.formats.fields import RefusedError, labels_of
from correlator.intake.identify import fingerprint_of
from correlator.intake.route import Router
from correlator.model.event import Event, Flag, Origin, Refusal, Rejection
from correlator.model.instant import DAY, MINUTE, Duration, Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import ENTITY_LABELS, Topology

AHEAD_MOST: Final[Duration] = 5 * MINUTE
"""An event time further than this after its arrival is implausible."""
BEHIND_MOST: Final[Duration] = DAY
"""An event time further than this before its arrival is implausible."""
RESEND: Final[Duration] = 5 * MINUTE
"""Labels travel again after this much log time; correlate keeps an alert at least three times as long."""
TRACKS_MOST: Final = 400_000
_SMALL_RECORD: Final = 16 * 1024
_IDS_MOST: Final = 50_000


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The common native event; anything else fails to decode and takes the long road."""

    at: int
    status: Literal["firing", "resolved"]
    labels: msgspec.Raw
    annotations: dict[str, str] = {}
    value: float | None = None
    source: str | None = None
    generatorURL: str | None = None  # noqa: N815 - the public contract's name
    receivedAt: int | None = None  # noqa: N815 - the public contract's name


_SAID: Final = msgspec.json.Decoder(_Said)
_LABELS: Final = msgspec.json.Decoder(dict[str, str])
_EPOCH_MOST: Final = 10**14


class DeadLetter(msgspec.Struct, frozen=True):
    """A record with refused items: its bytes as they came, where it lay, and which items were refused and why."""

    value: bytes
    offset: int
    refusals: list[Refusal]


class IntakeCounts(msgspec.Struct):
    """What one step did: `received` = `rejected` + `forwarded`, always. Items in doubt are counted when they are decided."""

    received: int = 0
    forwarded: int = 0
    rejected: Counter[Rejection] = msgspec.field(default_factory=Counter)
    flagged: Counter[Flag] = msgspec.field(default_factory=Counter)


class IntakeOutput(msgspec.Struct):
    """The effects of one step. `position` is the offset to commit; `frames` pairs a frames partition with a frame."""

    frames: list[tuple[int, Frame]]
    dead_letters: list[DeadLetter]
    position: int
    watermark: Instant | None
    counts: IntakeCounts


class _Reading(msgspec.Struct):
    """One record on the long road: its statements, and its refusals if any."""

    offset: int
    statements: list[Statement]
    dead_letter: DeadLetter | None = None


class Intake:
    """The intake of one raw partition. `source` names it in frames; `is_recording` says that items bring their own arrival."""

    def __init__(
        self, source: str, control: Control, *, form: Format = Format.AUTO, is_recording: bool = False, watermark: Instant | None = None
    ) -> None:
        self.source = source
        self._form = form
        self._is_recording = is_recording
        self._clock: ArrivalClock[list[_Reading]] = ArrivalClock(watermark)
        self._position = 0
        self._content_by_id: dict[str, int] = {}
        self.adopt(control)

    def adopt(self, control: Control) -> None:
        """Take over rules and topology from the log; the cache of alerts starts anew, so labels travel again."""
        self._rules: RuleSet = control.rules
        self._topology: Topology = control.topology
        self._router = Router(control.topology)
        self._digest = control.digest
        self._reorder, self._lateness = control.rules.time.reorder, control.rules.time.lateness
        gap = control.rules.shortest_expiry
        self._builders = [FrameBuilder(source=self.source, digest=self._digest, longest_gap=gap) for _ in self._router.domains]
        self._forget()

    def step(self, offsets: Sequence[int], values: Sequence[bytes], timestamps: Sequence[Instant] | None = None) -> IntakeOutput:
        """Take one batch of records; `timestamps` are the records' own arrivals, needed unless the topic is a recording."""
        output = self._output()
        if self._is_native_road:
            self._step_native(offsets, values, timestamps, output=output)
        else:
            for number, value in enumerate(values):
                self._take(value, offsets[number], timestamps[number] if timestamps is not None else None, output=output)
        if offsets:
            self._position = offsets[-1] + 1
        return self._finish(output)

    def end(self) -> IntakeOutput:
        """Close a recording: decide what is in doubt, then move time far enough that nothing stays pending."""
        output = self._output()
        self._accept_all(self._clock.end(), output)
        self._cut_all(output)
        if self._clock.now is not None:
            settle = max([self._rules.grouping.settle, *[rule.settle or 0 for rule in self._rules.alerts]])
            self._tick(self._clock.now + self._reorder + settle, output)
        return self._finish(output)

    def tick(self, now: Instant) -> IntakeOutput:
        """Say that the input was read to its end at this instant (a live clock's): silence moves time."""
        output = self._output()
        self._accept_all(self._clock.witness(now), output)
        self._cut_all(output)
        self._tick(now, output)
        return self._finish(output)

    @property
    def _is_native_road(self) -> bool:
        return self._form in (Format.AUTO, Format.NATIVE)

    def _output(self) -> IntakeOutput:
        return IntakeOutput([], [], self._position, None, IntakeCounts())

    def _finish(self, output: IntakeOutput) -> IntakeOutput:
        self._cut_all(output)
        output.position = self._clock.first_held[0].offset if self._clock.is_in_doubt else self._position
        output.watermark = self._clock.now
        if len(self._track_by_labels) > TRACKS_MOST:
            self._forget()
        return output

    def _forget(self) -> None:
        self._track_by_labels: dict[bytes, Track] = {}
        self._track_by_fingerprint: dict[bytes, Track] = {}

    def _step_native(
        self, offsets: Sequence[int], values: Sequence[bytes], timestamps: Sequence[Instant] | None, *, output: IntakeOutput
    ) -> None:
        """The short road. Locals instead of attributes, one loop: this is the hot path of the whole system."""
        clock, decode, tracks = self._clock, _SAID.decode, self._track_by_labels
        reorder, is_recording, flagged = self._reorder, self._is_recording, output.counts.flagged
        now, is_certain, taken = clock.now or 0, clock.now is not None and not clock.is_in_doubt, 0
        for number, value in enumerate(values):
            if is_certain and len(value) < _SMALL_RECORD and value.isascii() and b"\\" not in value:
                try:
                    said = decode(value)
                except (msgspec.DecodeError, RecursionError):
                    said = None
                if said is not None:
                    written, at = bytes(said.labels), said.at
                    track = tracks.get(written) or self._learn_written(written)
                    explicit = said.receivedAt if is_recording else None
                    if explicit is None and timestamps is not None:
                        explicit = timestamps[number]
                    claim = at if explicit is None else explicit
                    if track is not None and now - DAY <= claim <= now + STEP and at < _EPOCH_MOST:
                        if claim > now:
                            now = clock.now = claim
                        arrival = now if explicit is None else claim
                        lag = arrival - at
                        if -AHEAD_MOST <= lag <= reorder:
                            status = 0 if said.status == "firing" else 1
                            taken += 1
                            if track.flags:
                                flagged[track.flags] += 1
                            if track.builder.extend_run(track, status, at):
                                continue
                            news = None
                            if track.is_ambiguous or track.sent_status != status or track.sent_at is None or arrival - track.sent_at >= RESEND:
                                track.sent_status, track.sent_at = status, arrival
                                news = News(track.content, msgspec.json.encode(said.annotations), said.value)
                            track.builder.start_run(track, status, at, news)
                            if track.builder.is_full:
                                self._cut_all(output)
                            continue
            self._take(value, offsets[number], timestamps[number] if timestamps is not None else None, output=output)
            now, is_certain = clock.now or 0, clock.now is not None and not clock.is_in_doubt
        output.counts.received += taken
        output.counts.forwarded += taken

    def _take(self, value: bytes, offset: int, timestamp: Instant | None, *, output: IntakeOutput) -> None:
        """The long road: any bytes, any format."""
        reading = self._read(value, offset, timestamp)
        if reading.statements:
            claim = max([statement.claim for statement in reading.statements])
            self._accept_all(self._clock.offer(claim, [reading]), output)
        elif self._clock.is_in_doubt:
            self._clock.last_held.append(reading)
        else:
            self._accept(reading, self._clock.now or 0, output)

    def _read(self, value: bytes, offset: int, timestamp: Instant | None) -> _Reading:
        statements: list[Statement] = []
        refusals: list[Refusal] = []
        for item in read_items(value, self._form):
            if isinstance(item, Refusal):
                refusals.append(item)
            else:
                statements.append(self._statement(item, offset, timestamp))
        return _Reading(offset, statements, DeadLetter(value, offset, refusals) if refusals else None)

    def _statement(self, event: Event, offset: int, timestamp: Instant | None) -> Statement:
        explicit = event.received_at if self._is_recording else None
        if explicit is None:
            explicit = timestamp
        at = event.at
        if at is None and explicit is None:
            at = event.ends_at if event.status and event.ends_at is not None else event.starts_at
        claim = explicit if explicit is not None else at
        return Statement(
            track=self._track_of(event),
            status=int(event.status),
            at=at,
            claim=claim if claim is not None else self._clock.now or 0,
            is_explicit=explicit is not None,
            flags=event.flags | self._flag_of_id(event),
            origin=event.origin,
            expires=event.expires,
            annotations=msgspec.json.encode(event.annotations),
            value=event.value,
        )

    def _accept_all(self, decided: list[tuple[Instant, list[_Reading]]], output: IntakeOutput) -> None:
        for now, readings in decided:
            for reading in readings:
                self._accept(reading, now, output)

    def _accept(self, reading: _Reading, now: Instant, output: IntakeOutput) -> None:
        if reading.dead_letter is not None:
            output.dead_letters.append(reading.dead_letter)
            for refusal in reading.dead_letter.refusals:
                output.counts.rejected[refusal.reason] += 1
                output.counts.received += 1
        for statement in reading.statements:
            output.counts.received += 1
            output.counts.forwarded += 1
            self._forward(statement, now, output)

    def _forward(self, statement: Statement, now: Instant, output: IntakeOutput) -> None:
        """Judge a statement's time against its arrival and give it to its row."""
        is_own = statement.is_explicit and now - DAY <= statement.claim <= now
        arrival = statement.claim if is_own else now
        at = statement.at if statement.at is not None else arrival
        flags = statement.flags | statement.track.flags
        if not -AHEAD_MOST <= arrival - at <= BEHIND_MOST:
            at, flags = arrival, flags | Flag.IMPLAUSIBLE_TIME
        if arrival - at > self._lateness:
            flags |= Flag.LATE
        if flags:
            output.counts.flagged[flags] += 1
        self._add_row(statement, at, arrival, flags)
        if statement.track.builder.is_full:
            self._cut_all(output)

    def _add_row(self, statement: Statement, at: Instant, arrival: Instant, flags: Flag) -> None:
        track = statement.track
        effect = self._effect(at, arrival, flags)
        news = self._news(statement, arrival)
        if effect == at and statement.expires is None:
            if news is not None or not track.builder.extend_run(track, statement.status, at):
                track.builder.start_run(track, statement.status, at, news)
            return
        extra = Extra(int(flags & Flag.LATE), effect if effect != at else None, statement.expires)
        track.builder.add_alone(track, statement.status, at, extra=extra, news=news)

    def _effect(self, at: Instant, arrival: Instant, flags: Flag) -> Instant:
        return arrival if flags & Flag.LATE else max(at, arrival - self._reorder)

    def _news(self, statement: Statement, arrival: Instant) -> News | None:
        track = statement.track
        is_known = track.sent_status == statement.status and track.sent_at is not None and arrival - track.sent_at < RESEND
        if is_known and not track.is_ambiguous:
            return None
        track.sent_status, track.sent_at = statement.status, arrival
        return News(track.content, statement.annotations, statement.value, statement.origin)

    def _track_of(self, event: Event) -> Track:
        content = msgspec.json.encode(event.labels)
        track = self._track_by_labels.get(content)
        if track is None:
            track = self._learn(event.labels, content)
        return track

    def _learn_written(self, written: bytes) -> Track | None:
        """Learn a label set from its bytes in an event; None when they are no good labels, so that the long road says why."""
        try:
            labels = labels_of(_LABELS.decode(written))
        except (msgspec.DecodeError, RefusedError):
            return None
        track = self._learn(labels, msgspec.json.encode(labels))
        self._track_by_labels[written] = track
        return track

    def _learn(self, labels: dict[str, str], content: bytes) -> Track:
        """Fingerprint a label set seen for the first time; other writings of the same labels share its track."""
        fingerprint = fingerprint_of(labels, self._rules.identity)
        track = self._track_by_fingerprint.get(fingerprint)
        is_same = track is not None and _LABELS.decode(track.content) == labels
        if track is None or not is_same:
            is_ambiguous = track is not None or bool(self._rules.identity.only or self._rules.identity.ignore)
            entity = self._topology.entity_of(labels)
            builder = self._builders[self._router.partition_of(entity)]
            track = Track(fingerprint, builder, content=content, flags=_service_flag(labels, entity), is_ambiguous=is_ambiguous)
            self._track_by_fingerprint[fingerprint] = track
        self._track_by_labels[content] = track
        return track

    def _flag_of_id(self, event: Event) -> Flag:
        """Remember the content behind each id; a second content under one id is flagged."""
        if event.id is None:
            return Flag.NONE
        content = xxhash.xxh3_64_intdigest(msgspec.json.encode((event.status, event.at, event.labels)))
        known = self._content_by_id.setdefault(event.id, content)
        if len(self._content_by_id) > _IDS_MOST:
            del self._content_by_id[next(iter(self._content_by_id))]
        return Flag.NONE if known == content else Flag.SAME_ID_OTHER_CONTENT

    def _cut_all(self, output: IntakeOutput) -> None:
        for partition, builder in enumerate(self._builders):
            frame = builder.finish(self._clock.now or 0)
            if frame is not None:
                output.frames.append((partition, frame))

    def _tick(self, watermark: Instant, output: IntakeOutput) -> None:
        for partition in range(len(self._builders)):
            output.frames.append((partition, Frame(FrameKind.TICK, self.source, watermark, self._digest)))


def _service_flag(labels: dict[str, str], entity: str | None) -> Flag:
    if entity is not None:
        return Flag.NONE
    is_named = any(label in labels for label in (*ENTITY_LABELS, "client", "server"))
    return Flag.UNKNOWN_SERVICE if is_named else Flag.MISSING_SERVICE
