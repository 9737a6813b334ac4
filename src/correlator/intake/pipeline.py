"""Intake: the bytes of one raw partition become frames; every item is forwarded or refused, none is lost.

In: batches of records in log order. Out: frames per domain, dead letters, and the position up to which all is decided.
Remembers a clock and a bounded cache of alerts; both may be lost, since the position is only ever moved past what was decided.

The common item (native, plain ASCII, an alert seen before) takes one short road through `step`; everything else goes through `_take`,
which must answer the same. `tests/intake/test_roads.py` holds the two against each other.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import length_hint
from typing import Annotated, Final, Literal

import msgspec

from correlator.frames.control import Control
from correlator.frames.frame import Extra, Frame, FrameKind, News
from correlator.intake.arrival import STEP, ArrivalClock
from correlator.intake.collapse import FrameBuilder, Track
from correlator.intake.formats import Format, read_items
from correlator.intake.formats.fields import SURELY_WITHIN, RefusedError, is_no_time, labels_of
from correlator.intake.identify import fingerprint_of
from correlator.intake.normalise import AHEAD_MOST, BEHIND_MOST, Judged, Normaliser, Statement, digest_of, judge, service_flag
from correlator.intake.output import DeadLetter, IntakeCounts, IntakeOutput
from correlator.intake.route import Router
from correlator.model.calendar import parse_rfc3339_utc
from correlator.model.event import Flag, Refusal, Rejection
from correlator.model.instant import DAY, NEVER, Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology

FRAME_ITEMS: Final = 16_384
"""Frames are cut after this many records, or items on the long road, so that their event times are bounded too."""
TRACKS_MOST: Final = 60_000
"""Label sets remembered; with one more all are forgotten, which costs only that labels travel again."""
TRACK_BYTES_MOST: Final = 256 * 1024 * 1024
"""Bytes of label sets remembered."""
_SMALL_RECORD: Final = 16 * 1024
_BACKSLASH: Final = 92
_NOTHING: Final = b""
"""Added to a view of bytes it makes bytes of it, in half the time of a call."""


_Milliseconds = Annotated[int, msgspec.Meta(ge=10**10, lt=10**14)]
"""Larger times are written in another unit, and smaller ones may be."""
_Number = Annotated[float, msgspec.Meta(gt=-(2.0**63), lt=2.0**63)]
"""Larger values may have been written as integers beyond 64 bits."""


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The common native event; anything else fails to decode."""

    at: _Milliseconds
    status: Literal["firing", "resolved"]
    labels: msgspec.Raw
    annotations: dict[str, str] = {}
    value: _Number | None = None
    source: str | None = None
    generatorURL: str | None = None  # noqa: N815 - the public contract's name
    receivedAt: _Milliseconds | None = None  # noqa: N815 - the public contract's name


_Time = _Milliseconds | str
"""A time as it may be written; text is read after decoding."""


class _SaidMore(_Said, forbid_unknown_fields=True, gc=False, kw_only=True):
    """A native event with times as text, with the other times of Alertmanager or with an id; what fails here takes the long road."""

    at: _Time  # type: ignore[assignment] # an integer when `_said_more` answers it
    receivedAt: _Time | None = None  # type: ignore[assignment] # noqa: N815 - the public contract's name
    startsAt: _Time | None = None  # noqa: N815 - the public contract's name
    endsAt: _Time | None = None  # noqa: N815 - the public contract's name
    id: str | None = None


_SAID: Final = msgspec.json.Decoder(_Said)
_SAID_MORE: Final = msgspec.json.Decoder(_SaidMore)
_LABELS: Final = msgspec.json.Decoder(dict[str, str])
_ENCODE: Final = msgspec.json.Encoder().encode
_ENCODE_SORTED: Final = msgspec.json.Encoder(order="sorted").encode
_UNFIT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _said_more(value: bytes) -> _Said | None:
    """Read an event that is not as common, with its times as integers; None where the long road must say what it is."""
    try:
        said = _SAID_MORE.decode(value)
        said.at = _milliseconds(said.at)
        if said.receivedAt.__class__ is str:
            said.receivedAt = _milliseconds_if_any(said.receivedAt)
        if said.startsAt is not None:
            starts, ends = _milliseconds_if_any(said.startsAt), _milliseconds_if_any(said.endsAt)
            if said.status == "resolved" and starts is not None and (said.at if ends is None else ends) < starts:
                return None
        elif said.endsAt.__class__ is str:
            _milliseconds_if_any(said.endsAt)
    except _UNFIT:
        return None
    return said


def _milliseconds(written: int | str) -> Instant:
    at = written if isinstance(written, int) else parse_rfc3339_utc(written)
    if at is None or is_no_time(written):
        raise msgspec.DecodeError
    return at


def _milliseconds_if_any(written: int | str | None) -> Instant | None:
    return None if written is None or is_no_time(written) else _milliseconds(written)


class _Reading(msgspec.Struct):
    """One record on the long road: its statements, and its refusals if any."""

    offset: int
    statements: list[Statement]
    dead_letter: DeadLetter | None = None


class Intake:
    """The intake of one raw partition. `source` names it in frames; `is_recording` says that items bring their own arrival.

    `position`, `watermark`, `clock` and `latest` are those of the last output that was committed; a new partition has none. A clock that is
    left out stands at the watermark.
    """

    def __init__(
        self,
        source: str,
        control: Control,
        *,
        form: Format = Format.AUTO,
        is_recording: bool = False,
        watermark: Instant | None = None,
        clock: Instant | None = None,
        latest: Instant = 0,
        position: int = 0,
    ) -> None:
        self.source = source
        self._form = form
        self._is_recording = is_recording
        self._clock: ArrivalClock[_Reading] = ArrivalClock(clock if clock is not None else watermark)
        self._reached, self._watermark = self._clock.now, watermark
        self._until: Instant = NEVER
        self._position = position
        self._latest = latest
        self._uncut = 0
        self._normaliser = Normaliser(is_recording=is_recording)
        self.adopt(control)

    def adopt(self, control: Control) -> None:
        """Take over rules and topology from the log; the cache of alerts starts anew, so labels travel again. Call it between steps."""
        self._rules: RuleSet = control.rules
        self._topology: Topology = control.topology
        self._router = Router(control.topology)
        self._digest = control.digest
        self._reorder, self._lateness = max(control.rules.time.reorder, 1), control.rules.time.lateness
        self._is_partial = bool(control.rules.identity.only or control.rules.identity.ignore)
        gap = control.rules.shortest_expiry
        self._builders = [FrameBuilder(source=self.source, digest=self._digest, longest_gap=gap) for _ in self._router.domains]
        self._said = [self._watermark] * len(self._builders)
        self._forget()

    def step(
        self, offsets: Sequence[int], values: Sequence[bytes], timestamps: Sequence[Instant] | None = None, *, until: Instant = NEVER
    ) -> IntakeOutput:
        """Take one batch of records; `timestamps` are the records' own arrivals, needed unless the topic is a recording.

        All are forwarded, but time is said to have come no further than `until`: machines must not wait for what nobody else has yet.
        """
        output = self._output(until)
        for start in range(0, len(values), FRAME_ITEMS):
            part = slice(start, start + FRAME_ITEMS)
            taken = self._step_native if self._is_native_road else self._step_any
            taken(offsets[part], values[part], timestamps[part] if timestamps is not None else None, output=output)
            self._cut_all(output)
        if offsets:
            self._position = offsets[-1] + 1
        return self._finish(output)

    def refuse(self, offset: int, value: bytes, fault: str) -> IntakeOutput:
        """Set aside a record on which `step` itself failed: it becomes a dead letter, whatever it holds."""
        output = self._output(self._until)
        self._offer(_Reading(offset, [], DeadLetter(value, offset, [Refusal(Rejection.FAULT, fault)])), size=len(value), output=output)
        self._position = offset + 1
        return self._finish(output)

    def say(self, until: Instant) -> IntakeOutput:
        """Say how far time has come, but no further than `until`."""
        return self._finish(self._output(until))

    def decide(self, until: Instant = NEVER) -> IntakeOutput:
        """Decide what is in doubt by the witnesses there are: no others will come."""
        output = self._output(until)
        self._accept_all(self._clock.end(), output)
        return self._finish(output)

    def end(self) -> IntakeOutput:
        """Close a recording: decide what is in doubt, then move time far enough that nothing stays pending."""
        output = self._output()
        self._accept_all(self._clock.end(), output)
        self._cut_all(output)
        if self._clock.now is not None:
            settle = max([self._rules.grouping.settle, *[rule.settle or 0 for rule in self._rules.alerts]])
            self._say(FrameKind.END, max(self._clock.now, self._latest) + self._reorder + settle, output)
        return self._finish(output)

    def tick(self, now: Instant, *, until: Instant = NEVER) -> IntakeOutput:
        """Say that the input was read to its end at this instant (a live clock's): silence moves time, though no further than `until`."""
        output = self._output(until)
        self._accept_all(self._clock.witness(now), output)
        self._cut_all(output)
        self._reached = self._clock.now
        if now <= until:
            self._watermark = now
            self._say(FrameKind.TICK, now, output)
        return self._finish(output)

    @property
    def in_doubt(self) -> int:
        """How many items wait for witnesses of their time."""
        return self._clock.held

    @property
    def _is_native_road(self) -> bool:
        return self._form in (Format.AUTO, Format.NATIVE)

    def _output(self, until: Instant = NEVER) -> IntakeOutput:
        self._until = until
        return IntakeOutput([], [], self._position, None, self._latest, IntakeCounts())

    def _finish(self, output: IntakeOutput) -> IntakeOutput:
        self._cut_all(output)
        self._say_time(output)
        output.position = self._clock.first_held.offset if self._clock.is_in_doubt else self._position
        output.watermark, output.clock, output.latest = self._watermark, self._clock.now, self._latest
        output.counts.ids_forgotten, self._normaliser.ids_forgotten = self._normaliser.ids_forgotten, 0
        output.counts.doubts_forced, self._clock.forced = self._clock.forced, 0
        if len(self._track_by_labels) > TRACKS_MOST or self._track_bytes > TRACK_BYTES_MOST:
            output.counts.cache_resets += 1
            self._forget()
        return output

    def _forget(self) -> None:
        """Start the cache anew; only between frames, since an open row belongs to one track."""
        self._track_bytes = 0
        self._track_by_labels: dict[bytes, Track] = {}
        self._track_by_fingerprint: dict[bytes, Track] = {}

    @property
    def _is_certain(self) -> bool:
        return self._clock.now is not None and not self._clock.is_in_doubt

    def _step_native(  # noqa: C901, PLR0912, PLR0915 - one loop that calls little is the point; the unusual leaves for the long road
        self, offsets: Sequence[int], values: Sequence[bytes], timestamps: Sequence[Instant] | None, *, output: IntakeOutput
    ) -> None:
        """The short road. Locals instead of attributes, one loop, few calls: this is the hot path of the whole system."""
        clock, find, is_recording = self._clock, self._track_by_labels.get, self._is_recording
        decode: Callable[[bytes], _Said | None] = _SAID.decode
        lag_most, gap = min(self._reorder - 1, self._lateness, BEHIND_MOST), self._builders[0].gap
        flagged, following, is_more = defaultdict[int, int](int), iter(values), False
        now, small, taken = clock.now or 0, _SMALL_RECORD if self._is_certain else 0, len(values)
        oldest, newest = now - lag_most, now + STEP
        stamps: Iterable[Instant | None] = timestamps if timestamps is not None else repeat(None)
        for value, stamp in zip(following, stamps, strict=False):
            said = None
            if len(value) < small and (_BACKSLASH not in value or b"\\u" not in value):
                try:
                    said = decode(value)
                except _UNFIT:
                    said = _said_more(value)  # where it fits the next ones mostly do too, and it reads the common event as well
                    decode, is_more = (decode, is_more) if said is None else (_said_more, True)
            if said is not None:
                written, at = _NOTHING + said.labels, said.at
                track = find(written) or self._learn_written(written)
                claim = stamp if not is_recording or said.receivedAt is None else said.receivedAt
                if claim is None:
                    arrival, is_timely = at if at > now else now, oldest <= at <= newest  # noqa: FURB136 - a call costs 5 % of this road
                else:
                    arrival = claim if claim > now or claim < at - AHEAD_MOST else now
                    is_timely = -AHEAD_MOST <= arrival - at <= lag_most and now - DAY <= claim <= newest
                if is_timely and track is not None:
                    if arrival > now:
                        now, oldest, newest = arrival, arrival - lag_most, arrival + STEP
                    flags = track.flags if not is_more else track.flags | self._flag_of_id(said, track)
                    if flags:
                        flagged[flags] += 1
                    more, last = track.more, track.last
                    if more and last < at < last + gap and at < track.end and track.word == said.status:
                        more.append(at)
                        track.last = at
                        continue
                    status, builder = 0 if said.status == "firing" else 1, track.builder
                    if not builder.extend_run(track, status, at):
                        news = None
                        if track.is_news(status, arrival, at):
                            news = News(track.content, _ENCODE(said.annotations), said.value)
                        self._start_row(track, status, at, news=news)
                        if builder.is_full:
                            clock.now = self._reached = now
                            self._cut_all(output)
                    continue
            if small:
                clock.now = self._reached = now
            taken -= 1
            self._take(value, offsets[-1 - length_hint(following)], stamp, output=output)
            now, small = clock.now or 0, _SMALL_RECORD if self._is_certain else 0
            oldest, newest = now - lag_most, now + STEP
        if small:
            clock.now = self._reached = now
        output.counts.received += taken
        output.counts.forwarded += taken
        output.counts.flagged.update({Flag(flags): count for flags, count in flagged.items()})

    def _flag_of_id(self, said: _Said, track: Track) -> int:
        if not isinstance(said, _SaidMore) or said.id is None or isinstance(said.at, str):
            return 0
        if track.labels_digest is None:
            track.labels_digest = digest_of(_LABELS.decode(track.content))
        status = 0 if said.status == "firing" else 1
        return int(self._normaliser.flag_of_id((said.source, said.id), (status, said.at, track.labels_digest)))

    def _step_any(
        self, offsets: Sequence[int], values: Sequence[bytes], timestamps: Sequence[Instant] | None, *, output: IntakeOutput
    ) -> None:
        for number, value in enumerate(values):
            self._take(value, offsets[number], timestamps[number] if timestamps is not None else None, output=output)

    def _take(self, value: bytes, offset: int, timestamp: Instant | None, *, output: IntakeOutput) -> None:
        """The long road: any bytes, any format."""
        self._offer(self._read(value, offset, timestamp), size=len(value), output=output)

    def _offer(self, reading: _Reading, *, size: int, output: IntakeOutput) -> None:
        claims = [statement.claim for statement in reading.statements]
        self._accept_all(self._clock.take(claims, reading, size=size), output)

    def _read(self, value: bytes, offset: int, timestamp: Instant | None) -> _Reading:
        statements: list[Statement] = []
        refusals: list[Refusal] = []
        for item in read_items(value, self._form):
            if isinstance(item, Refusal):
                refusals.append(item)
            else:
                statements.append(self._normaliser.statement(item, timestamp))
        return _Reading(offset, statements, DeadLetter(value, offset, refusals) if refusals else None)

    def _accept_all(self, decided: list[tuple[Instant, _Reading]], output: IntakeOutput) -> None:
        for now, reading in decided:
            self._accept(reading, now, output)

    def _accept(self, reading: _Reading, now: Instant, output: IntakeOutput) -> None:
        if reading.statements:
            self._reached = now
        if reading.dead_letter is not None:
            output.dead_letters.append(reading.dead_letter)
            for refusal in reading.dead_letter.refusals:
                output.counts.rejected[refusal.reason] += 1
                output.counts.received += 1
        for statement in reading.statements:
            output.counts.received += 1
            output.counts.forwarded += 1
            self._forward(statement, now, output)
            self._uncut += 1
            if self._uncut >= FRAME_ITEMS:
                self._cut_all(output)

    def _forward(self, statement: Statement, now: Instant, output: IntakeOutput) -> None:
        """Judge a statement's time against its arrival and give it to its row."""
        track = self._track_by_labels.get(statement.content) or self._learn_written(statement.content)
        assert track is not None, "labels that were read once can be read again"
        judged = judge(statement, now, self._lateness)
        flags = judged.flags | track.flags
        if flags:
            output.counts.flagged[Flag(flags)] += 1
        self._add_row(statement, track, judged=judged, arrival=now)
        if track.builder.is_full:
            self._cut_all(output)

    def _add_row(self, statement: Statement, track: Track, *, judged: Judged, arrival: Instant) -> None:
        """Add an item that the clock had reached `arrival` for. Its effect is later than all that machines may have judged by then."""
        at, is_late = judged.at, bool(judged.flags & Flag.LATE)
        effect = arrival if is_late else max(at, arrival - self._reorder + 1)
        oddness = statement.flags & Flag.RESOLVED_BEFORE_FIRING
        is_plain = effect == at and judged.expires is None and not oddness
        if is_plain and track.builder.extend_run(track, statement.status, at):
            return
        news = None
        if track.is_news(statement.status, arrival, at):
            news = News(track.content, statement.annotations, statement.value, statement.origin)
        if is_plain:
            self._start_row(track, statement.status, at, news=news)
            return
        self._end_other_run(track)
        extra = Extra(int(oddness | (Flag.LATE if is_late else Flag.NONE)), effect if effect != at else None, judged.expires)
        track.builder.add_alone(track, statement.status, at, extra=extra, news=news)

    def _start_row(self, track: Track, status: int, at: Instant, *, news: News | None) -> None:
        self._end_other_run(track)
        track.builder.start_run(track, status, at, news=news)

    def _end_other_run(self, track: Track) -> None:
        """A run of one label set is broken by an item of another that has the same fingerprint."""
        if track.is_ambiguous:
            self._track_by_fingerprint[track.fingerprint].end_run()
            self._track_by_fingerprint[track.fingerprint] = track

    def _learn_written(self, written: bytes) -> Track | None:
        """Learn a label set from its bytes in an event; None when they are no good labels, so that the long road says why."""
        try:
            labels = _LABELS.decode(written)
            if len(written) > SURELY_WITHIN or not labels.get("alertname"):
                labels = labels_of(labels)
        except (*_UNFIT, RefusedError):
            return None
        return self._learn(labels, written)

    def _learn(self, labels: dict[str, str], content: bytes) -> Track:
        """Fingerprint a label set seen for the first time; other writings of the same labels share its track."""
        fingerprint = fingerprint_of(labels, self._rules.identity)
        sibling = self._track_by_fingerprint.get(fingerprint)
        plainly = _ENCODE_SORTED(labels) if self._is_partial else content
        track = self._track_by_labels.get(plainly) if self._is_partial else sibling
        if track is None:
            entity = self._topology.entity_of(labels)
            builder = self._builders[self._router.partition_of(entity)]
            flags = int(service_flag(labels, entity))
            track = Track(fingerprint, builder, content=content, flags=flags, is_ambiguous=self._is_partial)
            if sibling is not None:
                sibling.end_run()
            self._track_by_fingerprint[fingerprint] = track
        self._track_by_labels[content] = self._track_by_labels[plainly] = track
        self._track_bytes += len(content)
        return track

    def _cut_all(self, output: IntakeOutput) -> None:
        watermark, self._uncut = self._sayable(), 0
        for partition, builder in enumerate(self._builders):
            frame = builder.finish(watermark)
            if frame is not None:
                self._latest, self._said[partition] = max(self._latest, *frame.lasts), watermark
                output.frames.append((partition, frame))

    def _sayable(self) -> Instant:
        """How far time may be said to have come; a time that was said is never taken back."""
        return max(self._watermark or 0, min(self._reached or 0, self._until))

    def _say(self, kind: FrameKind, watermark: Instant, output: IntakeOutput) -> None:
        for partition in range(len(self._builders)):
            self._said[partition] = watermark
            output.frames.append((partition, Frame(kind, self.source, watermark, self._digest)))

    def _say_time(self, output: IntakeOutput) -> None:
        """Tell the domains that got no rows how far time has come: a partition that is silent to them would hold them back.

        The first time all are told, if only that there is such a source: they must not end without it.
        """
        if self._reached is None:
            return
        now = self._watermark = self._sayable()
        for partition, said in enumerate(self._said):
            if said is None or said < now:
                self._said[partition] = now
                output.frames.append((partition, Frame(FrameKind.ROWS, self.source, now, self._digest)))
