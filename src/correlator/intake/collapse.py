"""Collapse: items of one batch become rows, one per run of equal status of one alert.

In: statements with their effect. Out: a `Frame`. Remembers the rows of the frame being filled.
"""

from typing import Final

import msgspec

from correlator.frames.frame import MAX_SPAN, SPECIAL, Extra, Frame, FrameKind, News
from correlator.model.alert import Status
from correlator.model.event import Flag, Origin
from correlator.model.instant import Duration, Instant

FRAME_BYTES: Final = 512 * 1024
"""A frame is cut when its news has grown to this: half of Kafka's default record limit."""
FRAME_ROWS: Final = 16_000
_NO_ROW: Final = -1


class Track:
    """What intake remembers of one alert: where its open row lies, and when its looks were last sent. A cache, never the truth."""

    __slots__ = ("builder", "content", "fingerprint", "flags", "frame", "is_ambiguous", "last", "more", "row", "sent_at", "sent_status", "status")

    def __init__(self, fingerprint: bytes, builder: "FrameBuilder", *, content: bytes, flags: Flag, is_ambiguous: bool) -> None:
        self.fingerprint = fingerprint
        self.builder = builder
        self.content = content
        self.flags = flags
        self.is_ambiguous = is_ambiguous
        self.frame = _NO_ROW
        self.row = _NO_ROW
        self.status: int = Status.FIRING
        self.last: Instant = 0
        self.more: list[Instant] | None = None
        self.sent_at: Instant | None = None
        self.sent_status: int = _NO_ROW


class FrameBuilder:
    """Fills the frames of one domain, one after the other."""

    def __init__(self, *, source: str, digest: str, longest_gap: Duration) -> None:
        self._source = source
        self._digest = digest
        self._longest_gap = min(longest_gap, MAX_SPAN - 1)
        self.number = 0
        self._begin()

    def _begin(self) -> None:
        self.number += 1
        self.fingerprints: list[bytes] = []
        self.statuses: list[int] = []
        self.counts: list[int] = []
        self.firsts: list[Instant] = []
        self.lasts: list[Instant] = []
        self._extras: dict[int, Extra] = {}
        self._news: dict[int, News] = {}
        self._news_bytes = 0

    @property
    def is_full(self) -> bool:
        """Answer whether the frame should be cut."""
        return len(self.counts) >= FRAME_ROWS or self._news_bytes >= FRAME_BYTES

    def extend_run(self, track: Track, status: int, at: Instant) -> bool:
        """Add one plain item to the alert's open row if it continues that run; answer whether it did."""
        last = track.last
        if track.frame != self.number or track.status != status or not last <= at <= last + self._longest_gap:
            return False
        row = track.row
        if at - self.firsts[row] >= MAX_SPAN:
            return False
        self.counts[row] += 1
        if at != last:
            self.lasts[row] = track.last = at
            if track.more is None:
                track.more = []
                self._extras[row] = Extra(more=track.more)
            track.more.append(at)
        return True

    def start_run(self, track: Track, status: int, at: Instant, news: News | None) -> None:
        """Begin a row with one plain item."""
        track.frame, track.row, track.status, track.last, track.more = self.number, len(self.counts), status, at, None
        self._append(track.fingerprint, status, at, news)

    def add_alone(self, track: Track, status: int, at: Instant, *, extra: Extra, news: News | None) -> None:
        """Begin a row of one item that never folds (late, delayed, or with an end of its own)."""
        track.frame = _NO_ROW
        row = len(self.counts)
        self._append(track.fingerprint, status, at, news)
        self._extras[row] = extra
        self.statuses[row] |= SPECIAL

    def finish(self, watermark: Instant) -> Frame | None:
        """Cut the frame; None when it has no rows."""
        if not self.counts:
            return None
        frame = Frame(
            FrameKind.ROWS,
            self._source,
            watermark,
            self._digest,
            self.fingerprints,
            self.statuses,
            self.counts,
            self.firsts,
            self.lasts,
            self._extras,
            self._news,
        )
        self._begin()
        return frame

    def _append(self, fingerprint: bytes, status: int, at: Instant, news: News | None) -> None:
        if news is not None:
            self._news[len(self.counts)] = news
            self._news_bytes += len(news.labels) + len(news.annotations)
        self.fingerprints.append(fingerprint)
        self.statuses.append(status)
        self.counts.append(1)
        self.firsts.append(at)
        self.lasts.append(at)


class Statement(msgspec.Struct, gc=False):
    """One accepted item on its way into a row. `claim` is the arrival it claims; `is_explicit` says that it named one."""

    track: Track
    status: int
    at: Instant | None
    claim: Instant
    is_explicit: bool
    flags: Flag
    origin: Origin
    expires: Instant | None
    annotations: bytes
    value: float | None
