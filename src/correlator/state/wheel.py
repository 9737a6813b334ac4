"""A timer wheel: who must be woken when, with one live entry per item whatever number of times its due time moved.

Entries lie in buckets of one second and are only looked at when their bucket comes; an item whose due time moved later is
then put into its new bucket. So a repeat that postpones an expiry costs nothing here. Within reach, order is exact: (due, key).
Source: Varghese & Lauck, "Hashed and Hierarchical Timing Wheels", 1987 (the lazy, single-level form).
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from correlator.model.instant import NEVER, SECOND, Instant

ASLEEP: Final = -1
"""An item's `wake` when the wheel holds no live entry of it."""
_NEAR: Final = -2


class Sleeper(Protocol):
    """What the wheel keeps: `key` orders equal due times, `wake` belongs to the wheel alone."""

    wake: int

    @property
    def key(self) -> bytes:
        """A key that is unique among the wheel's items."""


Item = TypeVar("Item", bound=Sleeper)


class TimerWheel(Generic[Item]):
    """Wakes items in the order of (due, key). `due_of` answers an item's current due time, `NEVER` for none."""

    def __init__(self, due_of: Callable[[Item], Instant]) -> None:
        self._due_of = due_of
        self._buckets: dict[int, list[Item]] = {}
        self._bucket_heap: list[int] = []
        self._near: list[tuple[Instant, bytes, Item]] = []

    def schedule(self, item: Item) -> None:
        """Take note that an item's due time may have moved to earlier, or that it is new. Later moves need no call."""
        due = self._due_of(item)
        if due >= NEVER:
            return
        if item.wake == _NEAR:
            heappush(self._near, (due, item.key, item))
            return
        bucket = due // SECOND
        if item.wake == ASLEEP or bucket < item.wake:
            self._put(item, bucket)

    def next_due(self) -> Instant:
        """Answer when the next item is due, `NEVER` when there is none."""
        while True:
            self._load()
            if not self._near:
                return NEVER
            due, _, item = self._near[0]
            if item.wake == _NEAR and self._due_of(item) == due:
                return due
            heappop(self._near)
            if item.wake == _NEAR:
                self._put_again(item)

    def pop(self) -> Item:
        """Take the item that `next_due` spoke of; schedule it again if it has another due time."""
        item = heappop(self._near)[2]
        item.wake = ASLEEP
        return item

    def _put(self, item: Item, bucket: int) -> None:
        item.wake = bucket
        entries = self._buckets.get(bucket)
        if entries is None:
            entries = self._buckets[bucket] = []
            heappush(self._bucket_heap, bucket)
        entries.append(item)

    def _put_again(self, item: Item) -> None:
        item.wake = ASLEEP
        self.schedule(item)

    def _load(self) -> None:
        """Bring near every bucket that may hold the next due item."""
        while self._bucket_heap and (not self._near or self._bucket_heap[0] * SECOND <= self._near[0][0]):
            bucket = heappop(self._bucket_heap)
            for item in self._buckets.pop(bucket):
                if item.wake != bucket:
                    continue
                due = self._due_of(item)
                if due // SECOND > bucket:
                    self._put_again(item)
                else:
                    item.wake = _NEAR
                    heappush(self._near, (due, item.key, item))
