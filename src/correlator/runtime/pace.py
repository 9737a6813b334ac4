"""Pace: how far an intake may go ahead of the others, so that a backlog over several raw partitions is judged as one over a single one.

A machine waits for a source only while that lags the furthest by less than `max_hold`. So nobody may be further than that ahead of an
intake that is *behind* (stands below the end of its partition), unless everything that is still to come from there is later anyway.
All are told by what all commit. Why it is enough, and cannot stall: docs/decisions/0007-pace.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from correlator.model.instant import NEVER, SECOND, Duration, Instant
from correlator.runtime.ports import Log, Position, TopicPartition
from correlator.runtime.telemetry import Telemetry

PATIENCE_S: Final = 30
"""How long whoever could go on may stand still before the others go on without it."""
LOOK_HOLDS_S: Final = 30
"""How long a live partition that was not behind may be taken for one: what came to it since is stamped later than the look."""
_PAUSES_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Pauses between looks while nothing moves; the last one repeats."""
_NOWHERE: Final = Position(-1)
_logger: Final = logging.getLogger(__name__)


class Note(NamedTuple):
    """What a position remembers of its partition's time: how far it was said to have come, the latest event time, and what follows.

    `upcoming`: nothing that lies behind the position arrived earlier. That is at least the watermark.
    """

    watermark: Instant | None = None
    latest: Instant = 0
    upcoming: Instant | None = None

    def written(self) -> str:
        """Answer the note as text; nothing where nothing is known, no `upcoming` where it says no more than the watermark."""
        if self.watermark is None and self.upcoming is None:
            return ""
        watermark = "-" if self.watermark is None else self.watermark
        return f"{watermark} {self.latest}" if self.upcoming in (None, self.watermark) else f"{watermark} {self.latest} {self.upcoming}"


def read_note(text: str) -> Note:
    """Read a note, also one of a version that knew nothing of `upcoming`."""
    if not text:
        return Note()
    watermark, latest, *upcoming = text.split()
    return Note(None if watermark == "-" else int(watermark), int(latest), int(upcoming[0]) if upcoming else None)


class _Behind(NamedTuple):
    """An intake that has not read all there is, and what may be counted on."""

    upcoming: Instant
    tp: TopicPartition
    position: Position | None
    watermark: Instant | None

    def limit(self, hold: Duration) -> Instant:
        """How far others may go."""
        return max(self.upcoming, self.watermark + hold if self.watermark is not None else 0)


class Pace:
    """What one intake knows of the `others` and their group's positions. `hold` is to be set before the first look.

    `until` is how far the last look lets it go. `seconds` answers real seconds that only grow; `rest` waits so many of them.
    """

    def __init__(
        self,
        log: Log,
        group: str,
        others: Sequence[TopicPartition],
        *,
        is_recording: bool,
        telemetry: Telemetry,
        seconds: Callable[[], float],
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log = log
        self._group = group
        self._others = others
        self._is_recording = is_recording
        self._telemetry = telemetry
        self._seconds = seconds
        self._rest = rest
        self.hold: Duration = 0
        self.until: Instant = 0 if others else NEVER
        self._are_all_heard = not others
        self._sees_idle = bool(others)
        self._looked: float | None = None
        self._slowest: _Behind | None = None
        self._waits_for: tuple[TopicPartition, Position | None] | None = None
        self._waits_since = 0.0
        self._pauses = 0
        self._given_up: dict[TopicPartition, Position | None] = {}

    async def refresh(self) -> None:
        """Look again before something new is taken, if a partition that was not behind may be by now."""
        holds_s = 0 if self._is_recording else min(LOOK_HOLDS_S, self.hold / SECOND)
        if self._sees_idle and (self._looked is None or self._seconds() - self._looked >= holds_s):
            await self._look()

    async def reaches(self, instant: Instant, *, soon: Instant = 0, is_end: bool = False) -> bool:
        """Answer whether it is worth while to go on: time may go as far as `instant`, and, with `is_end`, a recording may end.

        To go on to `soon`, where a record waits, is worth while for the slowest of all, for whom the others wait. Looks when it must;
        while the answer is no, patience with the slowest of the others wears out.
        """
        if not self._allows(instant, soon, is_end=is_end):
            await self._look()
        if self._allows(instant, soon, is_end=is_end):
            self._waits_for = None
            return True
        self._lose_patience()
        return False

    async def rest(self) -> None:
        """Wait a little for the others, the longer the more often in a row nothing moved."""
        pause = _PAUSES_S[min(self._pauses, len(_PAUSES_S) - 1)]
        self._pauses += 1
        await self._rest(pause)

    def _allows(self, instant: Instant, soon: Instant, *, is_end: bool) -> bool:
        if is_end and not self._are_all_heard:
            return False
        is_slowest = self._slowest is None or soon <= self._slowest.upcoming
        return instant <= self.until or (is_slowest and 0 < soon <= self.until)

    async def _look(self) -> None:
        looked, behind = self._seconds(), list[_Behind]()
        for tp in self._others:
            position = await self._log.committed(self._group, tp)
            first, end = await self._log.bounds(tp)
            if self._given_up.get(tp, _NOWHERE) != position:
                self._given_up.pop(tp, None)
                if max(position.offset if position is not None else first, first) < end:
                    behind.append(_behind(tp, position))
        until = min([one.limit(self.hold) for one in behind], default=NEVER)
        if until > self.until:
            self._pauses = 0
        self.until = until
        self._are_all_heard = all(one.watermark is not None for one in behind)
        self._slowest = min(behind, default=None, key=lambda one: (one.upcoming, one.tp))
        self._sees_idle, self._looked = len(behind) < len(self._others), looked

    def _lose_patience(self) -> None:
        """Give the slowest up when it has stood still for too long: it can always go on, so nobody is there to do it."""
        slowest, now = self._slowest, self._seconds()
        assert slowest is not None, "somebody is waited for"
        if self._waits_for != (slowest.tp, slowest.position):
            self._waits_for, self._waits_since = (slowest.tp, slowest.position), now
        elif now - self._waits_since >= PATIENCE_S:
            self._given_up[slowest.tp] = slowest.position
            self._telemetry.partition_given_up()
            _logger.warning(
                "%s-%d has a backlog and has not moved for %d s; the other raw partitions go on without it", *slowest.tp, PATIENCE_S
            )


def _behind(tp: TopicPartition, position: Position | None) -> _Behind:
    note = read_note(position.note) if position is not None else Note()
    upcoming = note.upcoming if note.upcoming is not None else note.watermark
    return _Behind(upcoming or 0, tp, position, note.watermark)


def hold_of(max_hold: Duration) -> Duration:
    """Answer how far ahead of an intake that is behind others may go: what machines wait for, less what clocks of hosts may differ by."""
    return max_hold * 4 // 5
