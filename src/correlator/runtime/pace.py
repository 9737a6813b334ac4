"""Pace: how much of its time an intake may say, so that a backlog over several raw partitions is judged as one over a single one.

A machine waits for a source only while that lags the furthest by less than `max_hold`. So nobody may say a time further than that ahead of
an intake that is *behind* (stands below the end of its partition), unless whatever is still to come from there is later anyway.
All are told by what all commit. Why it is enough, and cannot stall: docs/decisions/0007-pace.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from correlator.model.instant import NEVER, SECOND, Duration, Instant
from correlator.runtime.ports import Log, Position, Refused, TopicPartition
from correlator.runtime.telemetry import Telemetry

PATIENCE_S: Final = 30
"""How long whoever could go on may stand still before the others go on without it."""
LOOK_HOLDS_S: Final = 30
"""How long a live partition that was not behind may be taken for one: what came to it since is stamped later than the look."""
_PAUSES_S: Final = (0.01, 0.02, 0.05, 0.1)
"""Pauses between looks while nothing moves; the last one repeats."""
_LIVE: Final = "live"
_NOWHERE: Final = Position(-1)
_logger: Final = logging.getLogger(__name__)


class Note(NamedTuple):
    """What a position remembers of its partition's time: how far it was said to have come, the latest event time, the arrival clock.

    Whatever lies behind the position arrived when the clock stood there, or later. `is_live` says by what clock: that of the records
    themselves (`arrival: record`), where a recording's is told by its items.
    """

    watermark: Instant | None = None
    latest: Instant = 0
    clock: Instant | None = None
    is_live: bool = False

    def written(self) -> str:
        """Answer the note as text; nothing where nothing is known, no clock where it stands at the watermark."""
        if self.watermark is None:
            return ""
        clock = [] if self.clock in (None, self.watermark) else [self.clock]
        return " ".join(map(str, [self.watermark, self.latest, *clock, *[_LIVE] * self.is_live]))


def read_note(text: str) -> Note:
    """Read a note, also one of a version that knew nothing of the clock, or of what is live."""
    words = text.split()
    if not words:
        return Note()
    watermark, latest, *clock = [int(word) for word in words if word != _LIVE]
    return Note(watermark, latest, clock[0] if clock else None, _LIVE in words)


def check_arrival(tp: TopicPartition, position: Position | None, *, is_recording: bool) -> None:
    """Raise Refused when a partition was live where its group stands, and is to be read as a recording now: its time would stand still."""
    if is_recording and position is not None and read_note(position.note).is_live:
        message = (
            f"{tp.topic}-{tp.partition} was read with `arrival: record` until now, and the settings say `item`: give the settings of "
            "before (--config FILE), or take a log of its own for a recording: another folder or `prefix`"
        )
        raise Refused(message)


class _Behind(NamedTuple):
    """An intake that has not read all there is, and what may be counted on."""

    clock: Instant
    tp: TopicPartition
    position: Position | None
    watermark: Instant | None

    def limit(self, hold: Duration) -> Instant:
        """The time that others may say."""
        return max(self.clock, self.watermark + hold if self.watermark is not None else 0)


class Pace:
    """What one intake knows of the `others` and their group's positions. `hold` is to be set before the first look.

    `until` is the time that it may say by the last look. `seconds` answers real seconds that only grow; `rest` waits so many of them.
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

    async def refresh(self, wanted: Instant) -> None:
        """Look again before something new is taken that may reach as far as `wanted`, if the last look does not say that it may.

        Nor does it when it saw a partition that was not behind and may be by now.
        """
        holds_s = 0 if self._is_recording else min(LOOK_HOLDS_S, self.hold / SECOND)
        is_stale = self._looked is None or self._seconds() - self._looked >= holds_s
        if self._others and (self.until < wanted or (self._sees_idle and is_stale)):
            await self._look()

    async def reaches(self, instant: Instant, *, is_end: bool = False) -> bool:
        """Answer whether time may be said to have come to `instant`, and, with `is_end`, whether a recording may end. Looks when it must.

        While the answer is no, patience with the slowest of the others wears out.
        """
        if not self._allows(instant, is_end=is_end):
            await self._look()
        if self._allows(instant, is_end=is_end):
            self._waits_for = None
            return True
        self._lose_patience()
        return False

    async def rest(self) -> None:
        """Wait a little for the others, the longer the more often in a row nothing moved."""
        pause = _PAUSES_S[min(self._pauses, len(_PAUSES_S) - 1)]
        self._pauses += 1
        await self._rest(pause)

    def _allows(self, instant: Instant, *, is_end: bool) -> bool:
        return instant <= self.until and (self._are_all_heard or not is_end)

    async def _look(self) -> None:
        looked, behind = self._seconds(), list[_Behind]()
        standings = await self._log.standings(self._group, self._others)
        for tp, (position, first, end) in zip(self._others, standings, strict=True):
            if self._given_up.get(tp, _NOWHERE) != position:
                self._given_up.pop(tp, None)
                if max(position.offset if position is not None else first, first) < end:
                    behind.append(_behind(tp, position))
        until = min([one.limit(self.hold) for one in behind], default=NEVER)
        if until > self.until:
            self._pauses = 0
        self.until = until
        self._are_all_heard = all(one.watermark is not None for one in behind)
        self._slowest = min(behind, default=None, key=lambda one: (one.clock, one.tp))
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
    clock = note.clock if note.clock is not None else note.watermark
    return _Behind(clock or 0, tp, position, note.watermark)


def hold_of(max_hold: Duration) -> Duration:
    """Answer how far ahead of an intake that is behind others may be: what machines wait for, less what clocks of hosts may differ by."""
    return max_hold * 4 // 5
