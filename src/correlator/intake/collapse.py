"""Collapse: items of one batch become rows, one per run of equal status of one alert.

In: statements with their effect. Out: a `Frame`. Remembers the rows of the frame being filled.
"""

from typing import Final

import msgspec

from correlator.frames.frame import MAX_SPAN, SPECIAL, Extra, Frame, FrameKind, News
from correlator.model.alert import Status
from correlator.model.instant import MINUTE, Duration, Instant

FRAME_BYTES: Final = 2 * 1024 * 1024
"""A frame is cut when it has grown to about this: a whole batch in most cases, and far below what the frames topic allows (16 MB).

Every frame makes a revision of each incident it concerns: of a million new alerts, frames of 0.5 MB cost a quarter more than these do.
Those of 4 MB cost a twentieth less, and 16 MB of resident memory more.
"""
_ROW_BYTES: Final = 40
_EXTRA_BYTES: Final = 40
RESEND: Final[Duration] = 5 * MINUTE
"""Labels travel again after this much log time; correlate keeps an alert at least three times as long."""
_WORDS: Final = {int(status): status.name.lower() for status in Status}
_NO_ROW: Final = -1
_NEVER_SENT: Final = -(2**62)


class Track(msgspec.Struct, eq=False, gc=False):
    """What intake remembers of one label set: where its open row lies, and when its looks were last sent. A cache, never the truth.

    `is_ambiguous` says that other label sets may have the same fingerprint, so that its looks travel with every row. While `more` is a
    list, the open row is a run of the status `word` that further items may join. `labels_digest` is made when an id asks for it.
    """

    # Left out of the collector: its one cycle, through the open rows of its builder, ends with the frame.
    fingerprint: bytes
    builder: "FrameBuilder"
    content: bytes
    flags: int
    is_ambiguous: bool
    labels_digest: int | None = None
    frame: int = _NO_ROW
    row: int = _NO_ROW
    status: int = Status.FIRING
    word: str = _WORDS[Status.FIRING]
    last: Instant = 0
    end: Instant = 0
    more: list[Instant] | None = None
    sent_at: Instant = _NEVER_SENT
    sent_status: int = _NO_ROW
    sent_with: Instant = 0

    def is_news(self, status: int, arrival: Instant, at: Instant) -> bool:
        """Answer whether the looks must travel with the row that begins now, `at` this time; the caller then sends them.

        So they must with a row that came behind a later one: it is judged first, and its looks are those of the stretch that it begins.
        """
        if not self.is_ambiguous and self.sent_status == status and arrival - self.sent_at < RESEND and at >= self.sent_with:
            return False
        self.sent_status, self.sent_at, self.sent_with = status, arrival, at
        return True

    def end_run(self) -> None:
        """Let no further item join the open row."""
        self.frame, self.more = _NO_ROW, None


class FrameBuilder:
    """Fills the frames of one domain, one after the other."""

    def __init__(self, *, source: str, digest: str, longest_gap: Duration) -> None:
        self._source = source
        self._digest = digest
        self.gap = min(longest_gap, MAX_SPAN)
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
        self._open: list[Track] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Answer whether the frame should be cut."""
        return self._bytes >= FRAME_BYTES

    def extend_run(self, track: Track, status: int, at: Instant) -> bool:
        """Add one plain item to the alert's open row if it continues that run; answer whether it did."""
        last = track.last
        if track.frame != self.number or track.status != status or not last <= at < last + self.gap or at >= track.end:
            return False
        if at == last:
            self.counts[track.row] += 1
            return True
        track.last = at
        if track.more is None:
            track.more = [at]
            self._open.append(track)
            self._extras[track.row] = Extra(more=track.more)
        else:
            track.more.append(at)
        return True

    def start_run(self, track: Track, status: int, at: Instant, *, news: News | None) -> None:
        """Begin a row with one plain item."""
        track.frame, track.row, track.status, track.last, track.more = self.number, len(self.counts), status, at, None
        track.end, track.word = at + MAX_SPAN, _WORDS[status]
        self._append(track, status, at, news=news)

    def add_alone(self, track: Track, status: int, at: Instant, *, extra: Extra, news: News | None) -> None:
        """Begin a row of one item that never folds (late, delayed, or with an end of its own)."""
        track.end_run()
        row = len(self.counts)
        self._append(track, status, at, news=news)
        self._extras[row] = extra
        self._bytes += _EXTRA_BYTES
        self.statuses[row] |= SPECIAL

    def finish(self, watermark: Instant) -> Frame | None:
        """Cut the frame; None when it has no rows."""
        if not self.counts:
            return None
        self._sum_up()
        for track in self._open:
            track.more = None
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

    def _sum_up(self) -> None:
        """Fill in what the open runs left for the end: a count and a last time per row instead of per item."""
        for row, extra in self._extras.items():
            if extra.more:
                self.counts[row] += len(extra.more)
                self.lasts[row] = extra.more[-1]

    def _append(self, track: Track, status: int, at: Instant, *, news: News | None) -> None:
        self._bytes += _ROW_BYTES
        if news is not None:
            self._news[len(self.counts)] = news
            self._bytes += len(news.labels) + len(news.annotations)
        self.fingerprints.append(track.fingerprint)
        self.statuses.append(status)
        self.counts.append(1)
        self.firsts.append(at)
        self.lasts.append(at)
