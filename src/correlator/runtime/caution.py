"""Caution: how intake goes on behind a record on which the program itself fails.

A fault of ours must neither stop all input nor lose any of it. The batch that failed is taken again in halves, each by a new intake,
until the record at fault is alone; that one is set aside, as a dead letter, and the rest goes on as before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from correlator.runtime.ports import Batch

ASIDE_MOST: Final = 100
"""Records set aside in a row: with more, it is the program that is broken and not its input."""


class Caution:
    """What is remembered of one raw partition's faults over the lives of its intake tasks."""

    def __init__(self, records: int) -> None:
        """`records` is the most that a batch takes when nothing is wrong."""
        self._records = records
        self._half = records
        self._until = 0
        self._in_hand: range | None = None
        self._in_a_row = 0
        self.aside: dict[int, str] = {}

    def most(self, position: int) -> int:
        """Answer how many records to take from this offset on, so that one set aside is alone in its batch."""
        ahead = min([offset for offset in self.aside if offset >= position], default=position + self._records)
        return min(max(ahead - position, 1), self._half if position < self._until else self._records)

    @contextmanager
    def taking(self, batch: Batch) -> Iterator[None]:
        """Remember that these records are being judged; they stay suspected when that fails."""
        self._in_hand = range(batch.offsets[0], batch.offsets[-1] + 1) if len(batch) else None
        self._half_of_hand = max(len(batch) // 2, 1)
        self._is_alone = len(batch) == 1
        yield
        self._in_hand, self._in_a_row = None, 0

    def blames(self, fault: str) -> bool:
        """Answer whether input in hand may be at fault, having narrowed it down; False when something else must be."""
        suspects, self._in_hand = self._in_hand, None
        if suspects is None:
            return False
        self._until, self._half = suspects.stop, self._half_of_hand
        if self._is_alone:
            self._in_a_row += 1
            self.aside[suspects.start] = fault
            if len(self.aside) > ASIDE_MOST:
                del self.aside[next(iter(self.aside))]
        return self._in_a_row <= ASIDE_MOST
