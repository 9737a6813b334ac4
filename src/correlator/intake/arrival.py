"""The arrival clock of one partition: the largest arrival it believes, doubting sudden steps forward.

In: the arrival each item claims, in log order. Out: the items with the arrival they are given.
Remembers the clock and at most `HELD_MOST` items in doubt.

A claim more than `STEP` ahead is held until the next `WITNESSES` items are there, or the input ends. It is believed when at most one
in ten of them disagrees, that is, lies more than `STEP` from it; else the item keeps the clock as it stands. So one record dated 2100 moves
nothing, and a real gap of a night costs twenty items of patience.
"""

from collections import deque
from typing import Final, Generic, TypeVar

from correlator.model.instant import DAY, HOUR, Duration, Instant

STEP: Final[Duration] = HOUR
WITNESSES: Final = 20
HELD_MOST: Final = 1_000
"""Without any clock yet and with claims that contradict each other, this many items are held before the first is believed."""
UNSEEN_STEP_MOST: Final[Duration] = 7 * DAY
"""At the end of an input a last claim without any witness is believed only within this step."""

Item = TypeVar("Item")


class ArrivalClock(Generic[Item]):
    """Gives items their arrival. `now` is None until the first claim is believed."""

    def __init__(self, now: Instant | None = None) -> None:
        self.now = now
        self._held: deque[tuple[Instant, Item]] = deque()

    @property
    def is_in_doubt(self) -> bool:
        """Answer whether items are held, so that whatever follows must queue behind them."""
        return bool(self._held)

    @property
    def first_held(self) -> Item:
        """Answer the oldest item in doubt; there must be one."""
        return self._held[0][1]

    @property
    def last_held(self) -> Item:
        """Answer the newest item in doubt; there must be one."""
        return self._held[-1][1]

    def offer(self, claim: Instant, item: Item) -> list[tuple[Instant, Item]]:
        """Take the next item and its claimed arrival; answer the items decided by it, oldest first, each with its arrival."""
        self._held.append((claim, item))
        return self._decided(is_end=False)

    def end(self) -> list[tuple[Instant, Item]]:
        """Decide all that is held: there will be no more witnesses."""
        return self._decided(is_end=True)

    def witness(self, instant: Instant) -> list[tuple[Instant, Item]]:
        """Decide all that is held by an instant that is known to be true (a live clock), and move up to it."""
        decided: list[tuple[Instant, Item]] = []
        while self._held:
            claim, item = self._held.popleft()
            if abs(claim - instant) <= STEP:
                self._move(claim)
            decided.append((self.now if self.now is not None else instant, item))
        self._move(instant)
        return decided

    def _decided(self, *, is_end: bool) -> list[tuple[Instant, Item]]:
        decided: list[tuple[Instant, Item]] = []
        while self._held:
            claim = self._held[0][0]
            belief = self._belief(claim, is_end=is_end)
            if belief is None or (not belief and self.now is None):
                break
            if belief:
                self._move(claim)
            assert self.now is not None
            decided.append((self.now, self._held.popleft()[1]))
        if self.now is None and self._held:
            return self._without_clock(is_end=is_end)
        return decided

    def _belief(self, claim: Instant, *, is_end: bool) -> bool | None:
        """Answer whether a claim is believed, or None when more witnesses are needed."""
        if self.now is not None and claim - self.now <= STEP:
            return True
        witnesses = [said for said, _ in list(self._held)[1 : WITNESSES + 1]]
        against = sum(abs(said - claim) > STEP for said in witnesses)
        if against > WITNESSES // 10:
            return False
        if len(witnesses) == WITNESSES:
            return True
        if not is_end:
            return None
        if witnesses:
            return against <= len(witnesses) // 10
        return self.now is None or claim - self.now <= UNSEEN_STEP_MOST

    def _without_clock(self, *, is_end: bool) -> list[tuple[Instant, Item]]:
        """Find the first claim that its witnesses believe; everything before it is given that arrival."""
        claims = [claim for claim, _ in self._held]
        for number in range(1, len(claims)):
            claim, witnesses = claims[number], claims[number + 1 : number + 1 + WITNESSES]
            against = sum(abs(said - claim) > STEP for said in witnesses)
            is_settled = len(witnesses) == WITNESSES or is_end
            if is_settled and against <= len(witnesses) // 10:
                return self._start_at(claim, is_end=is_end)
        if len(claims) >= HELD_MOST:
            return self._start_at(claims[0], is_end=is_end)
        return []

    def _start_at(self, claim: Instant, *, is_end: bool) -> list[tuple[Instant, Item]]:
        self.now = claim
        return self._decided(is_end=is_end)

    def _move(self, claim: Instant) -> None:
        self.now = claim if self.now is None else max(self.now, claim)
