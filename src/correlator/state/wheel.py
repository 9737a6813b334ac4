"""A timer wheel: who must be woken when, with one live entry per item whatever number of times its due time moved.

Entries lie in buckets of `BUCKET` and are only looked at when their bucket comes; an item whose due time moved later is
then put into its new bucket. So a repeat that postpones an expiry costs nothing here. Within reach, order is exact: (due, key).
An item moved to earlier leaves a stale entry behind; when most entries are stale, all are thrown out at once.
Source: Varghese & Lauck, "Hashed and Hierarchical Timing Wheels", 1987 (the lazy, single-level form).
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, Protocol, TypeVar

from correlator.model.instant import NEVER, SECOND, Duration, Instant

BUCKET: Final[Duration] = 8 * SECOND
"""How much time a bucket spans: more bring near many that have moved on meanwhile, fewer cost a look at each."""
ASLEEP: Final = -NEVER // 2
"""An item's `wake` when the wheel holds no live entry of it."""
_NEAR: Final = -3 * NEVER
"""Added to the due time of an item's live entry near the front, so that `wake` tells it from buckets and from `ASLEEP`."""
STALE_MOST: Final = 1_024
"""So many stale entries are always suffered, and beyond that as many as there are live ones."""


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
        self._entries = 0
        self._live = 0

    @property
    def entries(self) -> int:
        """How many entries there are, stale ones too: at most twice the live ones and `STALE_MOST`."""
        return self._entries

    @property
    def live(self) -> int:
        """How many items have an entry."""
        return self._live

    @property
    def first(self) -> Item | None:
        """The item that the last `next_due` spoke of, as long as no other was put before it."""
        return self._near[0][2] if self._near else None

    def schedule(self, item: Item) -> Instant:
        """Take note that an item's due time may have moved to earlier, or that it is new; answers when it is due.

        Later moves need no call.
        """
        due = self._due_of(item)
        if due >= NEVER:
            return due
        wake = item.wake
        if wake < -NEVER:
            if due < wake - _NEAR:
                self._put_near(item, due)
        elif wake == ASLEEP or due // BUCKET < wake:
            self._put(item, due // BUCKET)
        return due

    def next_due(self) -> Instant:
        """Answer when the next item is due, `NEVER` when there is none."""
        while True:
            self._load()
            if not self._near:
                return NEVER
            due, _, item = self._near[0]
            if item.wake != due + _NEAR:
                self._drop_first()
            elif self._due_of(item) == due:
                return due
            else:
                self._drop_first()
                self._put_again(item)

    def pop(self) -> Item:
        """Take the item that `next_due` spoke of; schedule it again if it has another due time."""
        item = self._near[0][2]
        self._drop_first()
        self._sleep(item)
        return item

    def _sleep(self, item: Item) -> None:
        item.wake = ASLEEP
        self._live -= 1

    def _put(self, item: Item, bucket: int) -> None:
        self._count(item)
        item.wake = bucket
        entries = self._buckets.get(bucket)
        if entries is None:
            entries = self._buckets[bucket] = []
            heappush(self._bucket_heap, bucket)
        entries.append(item)

    def _put_near(self, item: Item, due: Instant) -> None:
        self._count(item)
        item.wake = due + _NEAR
        heappush(self._near, (due, item.key, item))

    def _count(self, item: Item) -> None:
        self._entries += 1
        if item.wake == ASLEEP:
            self._live += 1
        elif self._entries > 2 * self._live + STALE_MOST:
            self._throw_out_stale()

    def _put_again(self, item: Item) -> None:
        self._sleep(item)
        self.schedule(item)

    def _drop_first(self) -> None:
        heappop(self._near)
        self._entries -= 1

    def _load(self) -> None:
        """Bring near every bucket that may hold the next due item."""
        while self._bucket_heap and (not self._near or self._bucket_heap[0] * BUCKET <= self._near[0][0]):
            bucket = heappop(self._bucket_heap)
            entries = self._buckets.pop(bucket)
            self._entries -= len(entries)
            for item in entries:
                if item.wake != bucket:
                    continue
                due = self._due_of(item)
                if due // BUCKET > bucket:
                    self._put_again(item)
                else:
                    self._put_near(item, due)

    def _throw_out_stale(self) -> None:
        """Rebuild all entries from the live ones; paid for by the moves that left so many stale."""
        self._near = [entry for entry in self._near if entry[2].wake == entry[0] + _NEAR]
        heapify(self._near)
        buckets: dict[int, list[Item]] = {}
        for bucket, entries in self._buckets.items():
            awake = {item.key: item for item in entries if item.wake == bucket}
            if awake:
                buckets[bucket] = list(awake.values())
        self._buckets, self._bucket_heap = buckets, list(buckets)
        heapify(self._bucket_heap)
        self._entries = len(self._near) + sum(map(len, buckets.values()))
