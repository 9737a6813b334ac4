"""Limits that were met: what they are called in metrics, and a warning for people at most once a minute each."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from correlator.intake.output import IntakeCounts
from correlator.model.instant import MINUTE, Instant
from correlator.model.word import Word

TOLD_EVERY: Final = MINUTE
_logger: Final = logging.getLogger(__name__)


class Limit(Word):
    """A limit that costs something when it is met."""

    LABEL_SETS = "label_sets"
    IDS = "ids"
    DOUBTS = "doubts"
    ALERTS = "alerts"
    INCIDENTS = "incidents"


MEANING_BY_LIMIT: Final = {
    Limit.LABEL_SETS: "intake met more label sets than it remembers and started its cache anew: labels travel again, which costs time",
    Limit.IDS: "intake met more ids than it remembers: a reuse of the oldest with another content is no longer flagged",
    Limit.DOUBTS: "intake decided whether to believe a jump in time before all witnesses were there: too many records claim no time",
    Limit.ALERTS: "correlate forgot alerts that are over before their retention ended: one that returns counts as new",
    Limit.INCIDENTS: "correlate forgot incidents that are over before their retention ended: a relapse opens a new one",
}
"""What each limit costs whoever meets it, in one sentence."""


def limits_of(counts: IntakeCounts) -> dict[Limit, int]:
    """Answer how often one step of intake met its limits."""
    return {Limit.LABEL_SETS: counts.cache_resets, Limit.IDS: counts.ids_forgotten, Limit.DOUBTS: counts.doubts_forced}


class LimitNotices:
    """Warns of limits. Remembers when each was last told, and what was met since; `clock` answers milliseconds."""

    def __init__(self, where: str, clock: Callable[[], Instant]) -> None:
        self._where = where
        self._clock = clock
        self._met: Counter[Limit] = Counter()
        self._told: dict[Limit, Instant] = {}

    def note(self, met: Mapping[Limit, int]) -> None:
        """Take how often limits were met since the last call, and tell of those that were not told for a minute."""
        for limit, times in met.items():
            if times <= 0:
                continue
            self._met[limit] += times
            now = self._clock()
            if limit not in self._told or now - self._told[limit] >= TOLD_EVERY:
                _logger.warning("degraded: %s: limit '%s' met %d times: %s", self._where, limit, self._met[limit], MEANING_BY_LIMIT[limit])
                self._told[limit], self._met[limit] = now, 0
