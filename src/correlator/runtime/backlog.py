"""Backlog: how much of a partition its task has yet to take, for those who watch. To ask after every commit would cost what that costs."""

from collections.abc import Callable
from typing import Final

from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Log, TopicPartition
from correlator.runtime.telemetry import Telemetry

LOOK_EVERY_S: Final = 1


class Backlog:
    """Where a partition ends, as of the last look: at most a second old while records come, and of now when no more do."""

    def __init__(self, log: Log, tp: TopicPartition, *, stage: Stage, telemetry: Telemetry, seconds: Callable[[], float]) -> None:
        """`seconds` answers real seconds that only grow."""
        self._log = log
        self._tp = tp
        self._stage = stage
        self._telemetry = telemetry
        self._seconds = seconds
        self._looked: float | None = None
        self._position: int | None = None
        self.end = 0

    async def moved(self, position: int) -> None:
        """Take note of what was committed. Raises Transient."""
        self._position = position
        if self._looked is None or self._seconds() - self._looked >= LOOK_EVERY_S:
            await self._look(position)

    async def rested(self) -> None:
        """Take note that nothing came. Raises Transient."""
        if self._position is not None:
            await self._look(self._position)

    async def _look(self, position: int) -> None:
        self._looked, self._position = self._seconds(), None
        self.end = (await self._log.bounds(self._tp))[1]
        self._telemetry.lag(self._stage, f"{self._tp.topic}-{self._tp.partition}", self.end - position)
