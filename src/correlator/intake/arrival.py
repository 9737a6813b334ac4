"""The arrival clock of one partition: the largest arrival it believes, doubting sudden steps forward.

In: the arrival each item claims, in log order. Out: the items with the arrival they are given.
Remembers the clock and at most `HELD_MOST` items in doubt.

A claim more than `STEP` ahead is held until `WITNESSES` further claims are there, or the input ends. It is believed unless more than half
of them say that time has not come so far (lie more than `STEP` before it). So one record dated 2100 moves nothing, a real gap of a night
costs twenty items of patience, and a source that brings up old events now and then makes nobody else's time wrong. Witnesses that lie
still later are no objection: a quiet recording has an event every few hours, and if they had to agree within an hour no gap in it would
ever be believed.

Where there is no clock yet, a claim also needs a witness less than `START_STEP_MOST` after it, so that a first 1970 moves nothing. At the
end of a very short input, where the witnesses disagree, the first claim is taken that lies within a year of the earliest.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from correlator.model.instant import DAY, HOUR, Duration, Instant

STEP: Final[Duration] = HOUR
WITNESSES: Final = 20
HELD_MOST: Final = 1_000
"""With this many items in doubt the oldest is decided by the witnesses there are (most may claim nothing, or contradict each other)."""
HELD_BYTES_MOST: Final = 64 * 1024 * 1024
"""Bytes of items in doubt; with more, all are decided by the witnesses there are."""
UNSEEN_STEP_MOST: Final[Duration] = 7 * DAY
"""At the end of an input a last claim without any witness is believed only within this step."""
START_STEP_MOST: Final[Duration] = 366 * DAY
UNSET_CLOCK: Final[Instant] = 366 * DAY
"""A time in 1970 is that of a clock which was never set; it starts no other unless there is nothing else."""

Item = TypeVar("Item")


class ArrivalClock(Generic[Item]):
    """Gives items their arrival. `now` is None until the first claim is believed; `forced` counts how often a limit was met."""

    def __init__(self, now: Instant | None = None) -> None:
        self.now = now
        self.forced = 0
        self._held: deque[tuple[Instant | None, Item, int]] = deque()
        self._held_bytes = 0

    @property
    def is_in_doubt(self) -> bool:
        """Answer whether items are held, so that whatever follows must queue behind them."""
        return bool(self._held)

    @property
    def held(self) -> int:
        """How many items are in doubt."""
        return len(self._held)

    @property
    def first_held(self) -> Item:
        """Answer the oldest item in doubt; there must be one."""
        return self._held[0][1]

    def take(self, claims: Sequence[Instant | None], item: Item, *, size: int) -> list[tuple[Instant, Item]]:
        """Take the next record of `size` bytes, with the claims of all statements in it; answers as `offer` does.

        One without statements needs no arrival: it waits only where it must queue behind others.
        """
        if not claims and not self._held:
            return [(self.now or 0, item)]
        decided = self.offer(max([claim for claim in claims if claim is not None], default=None), item, size=size)
        if self._held_bytes > HELD_BYTES_MOST:
            self.forced += 1
            decided += self.end()
        return decided

    def offer(self, claim: Instant | None, item: Item, *, size: int = 0) -> list[tuple[Instant, Item]]:
        """Take the next item and the arrival it claims, if any; answer the items decided by it, oldest first, each with its arrival."""
        if claim is not None and self.now is not None and not self._held and claim - self.now <= STEP:
            self._move(claim)
            return [(self.now, item)]
        self._held.append((claim, item, size))
        self._held_bytes += size
        return self._decided(is_end=False)

    def end(self) -> list[tuple[Instant, Item]]:
        """Decide all that is held: there will be no more witnesses."""
        return self._decided(is_end=True)

    def witness(self, instant: Instant) -> list[tuple[Instant, Item]]:
        """Decide all that is held by an instant that is known to be true (a live clock), and move up to it.

        What claims to have come before that instant is believed, however long before: the input may have waited for us.
        """
        decided: list[tuple[Instant, Item]] = []
        while self._held:
            claim, item = self._next()
            if claim is not None and claim <= instant + STEP and (self.now is not None or claim >= UNSET_CLOCK):
                self._move(claim)
            decided.append((self.now if self.now is not None else instant, item))
        self._move(instant)
        return decided

    def _decided(self, *, is_end: bool) -> list[tuple[Instant, Item]]:
        decided: list[tuple[Instant, Item]] = []
        while self._held:
            is_full = len(self._held) >= HELD_MOST
            is_last_chance = is_end or is_full
            if self.now is None:
                self.now = self._start(is_last_chance=is_last_chance)
                if self.now is None:
                    break
            claim = self._held[0][0]
            belief = claim is not None and self._belief(claim, self.now, is_last_chance=is_last_chance)
            if belief is None:
                break
            self.forced += is_full
            if belief and claim is not None:
                self._move(claim)
            decided.append((self.now, self._next()[1]))
        return decided

    def _belief(self, claim: Instant, now: Instant, *, is_last_chance: bool) -> bool | None:
        """Answer whether the oldest claim is believed, or None when more witnesses are needed."""
        if claim - now <= STEP:
            return True
        witnesses = self._claims_after(0)
        against = sum(said < claim - STEP for said in witnesses)
        if 2 * against > WITNESSES:
            return False
        if len(witnesses) < WITNESSES and not is_last_chance:
            return None
        if witnesses:
            return 2 * against <= len(witnesses)
        return claim - now <= UNSEEN_STEP_MOST

    def _start(self, *, is_last_chance: bool) -> Instant | None:
        """Find the first claim that its witnesses believe; everything before it is given that arrival."""
        earliest = self._earliest_believable()
        for number, (claim, _, _) in enumerate(self._held):
            if claim is None or claim < earliest:
                continue
            witnesses = self._claims_after(number)
            if len(witnesses) < WITNESSES and not is_last_chance:
                return None
            against = sum(said < claim - STEP for said in witnesses)
            is_near = any(-STEP <= said - claim <= START_STEP_MOST for said in witnesses)
            if is_near and 2 * against <= len(witnesses):
                return claim
        return self._first_near(earliest) if is_last_chance else None

    def _first_near(self, earliest: Instant) -> Instant:
        """The first claim that is not absurdly far ahead of the earliest: what comes after it and lies before it is late, not it early."""
        claims = [claim for claim, _, _ in self._held if claim is not None]
        return next((claim for claim in claims if earliest <= claim <= earliest + START_STEP_MOST), earliest)

    def _earliest_believable(self) -> Instant:
        """The earliest claim held of a clock that was set, else of any; the beginning of time where nothing names a time."""
        claims = [claim for claim, _, _ in self._held if claim is not None]
        return min([claim for claim in claims if claim >= UNSET_CLOCK] or claims, default=0)

    def _claims_after(self, number: int) -> list[Instant]:
        """The next claims after a held item, as many as may bear witness."""
        later = (claim for claim, _, _ in islice(self._held, number + 1, None) if claim is not None)
        return list(islice(later, WITNESSES))

    def _next(self) -> tuple[Instant | None, Item]:
        """Take the oldest item out, with its claim."""
        claim, item, size = self._held.popleft()
        self._held_bytes -= size
        return claim, item

    def _move(self, claim: Instant) -> None:
        self.now = claim if self.now is None else max(self.now, claim)
