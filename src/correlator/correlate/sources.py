"""Machine time: the minimum over the raw partitions that are live.

In: watermarks of sources. Out: the time that all live ones have reached. Remembers a watermark per source.

A source is live while it lags the furthest by less than `max_hold`. One that falls out holds nobody back any more; its rows are
then judged where the machine stands. A tick more than `RUNAWAY` ahead of every other source is ignored, until another source's tick
agrees with it (after a night without workers all sources tick far ahead of where they stood, and none of them is wrong), or until its
own ticks have gone on for `RUNAWAY` and no other source has said a word: who is silent cannot gainsay, and may be gone. One that has
ended, or left the settings, is nobody's witness.
"""

from collections.abc import Collection
from typing import Final

from correlator.frames.frame import FrameKind
from correlator.model.instant import MINUTE, Duration, Instant

RUNAWAY: Final[Duration] = 5 * MINUTE
SOURCES_MOST: Final = 10_000


class Sources:
    """Watermarks by source, and machine time, which never goes back."""

    def __init__(self, max_hold: Duration) -> None:
        self.max_hold = max_hold
        self.now: Instant = 0
        self.watermarks: dict[str, Instant] = {}
        self.ignored: dict[str, Instant] = {}
        """By source, the first of its last runaway ticks since another source spoke."""
        self.spoke_last = ""
        self.ended: dict[str, Instant] = {}
        self.ticks_ignored = 0

    def advance(self, source: str, watermark: Instant, kind: FrameKind) -> None:
        """Take a source's watermark; raises no error for one that goes back, which changes nothing.

        A recording that ended holds nobody back any more, until it goes on; when all have ended, time is that of the last.
        """
        if kind is FrameKind.TICK and self._is_runaway(source, watermark):
            first = self.ignored.get(source, watermark) if self.spoke_last == source else watermark
            self.ignored[source], self.spoke_last = first, source
            if watermark - first < RUNAWAY:
                self.ticks_ignored += 1
                return
        else:
            self.ignored.pop(source, None)
        assert source in self.watermarks or len(self.watermarks) < SOURCES_MOST, "more raw partitions than the limit"
        self.spoke_last = source
        self.watermarks[source] = max(watermark, self.watermarks.get(source, watermark))
        self.ended.pop(source, None)
        if kind is FrameKind.END:
            self.ended[source] = watermark
        waited_for = [self.watermarks[name] for name in self.live]
        self.now = max(self.now, min(waited_for) if waited_for else max(self.watermarks.values()))

    def end_all_but(self, known: Collection[str]) -> bool:
        """Let sources that are not among these have ended, until they go on; answer whether there were any."""
        gone = {name: watermark for name, watermark in self.watermarks.items() if name not in known and name not in self.ended}
        self.ended.update(gone)
        return bool(gone)

    @property
    def live(self) -> list[str]:
        """Sources that hold time back, in the order they first spoke."""
        if not self.watermarks:
            return []
        running = [watermark for name, watermark in self.watermarks.items() if name not in self.ended]
        furthest = max(running, default=0)
        return [name for name, watermark in self.watermarks.items() if furthest - watermark < self.max_hold and name not in self.ended]

    @property
    def fallen_out(self) -> list[str]:
        """Sources that lag too far to be waited for."""
        live = self.live
        return [name for name in self.watermarks if name not in live and name not in self.ended]

    def _is_runaway(self, source: str, watermark: Instant) -> bool:
        others = [known for name, known in self.watermarks.items() if name != source and name not in self.ended]
        if not others or watermark - max(others) <= RUNAWAY:
            return False
        agreeing = [known for name, known in self.ignored.items() if name != source and abs(watermark - known) <= RUNAWAY]
        return not agreeing
