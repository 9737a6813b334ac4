"""What a step of intake answers: frames, dead letters, the position to commit, and counts that add up."""

from collections import Counter
from typing import Final

import msgspec
import xxhash

from correlator.frames.frame import Frame
from correlator.model.event import Flag, Refusal, Rejection
from correlator.model.instant import Instant

DEAD_LETTER_BYTES_MOST: Final = 256 * 1024
"""Bytes kept of a record with refused items."""
REASONS_MOST: Final = 100
"""Refusals written with a dead letter; the others are counted."""
DETAIL_MOST: Final = 500
"""Characters written of a refusal's words."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record with refused items: its bytes as they came, where it lay, and which items were refused and why."""

    value: bytes
    offset: int
    refusals: list[Refusal]

    @property
    def kept(self) -> bytes:
        """What is written of the record: its bytes, or the first of them where it is too long."""
        return self.value[:DEAD_LETTER_BYTES_MOST]

    @property
    def digest(self) -> str:
        """XXH3 (128 bits, hex) of the whole record, so that one too long to be kept can be known again."""
        return xxhash.xxh3_128_hexdigest(self.value)

    @property
    def reasons(self) -> list[dict[str, object]]:
        """The first refusals as plain values, at most `REASONS_MOST`: a record of the log must hold them."""
        return [
            {"item": refusal.item, "reason": refusal.reason, "detail": refusal.detail[:DETAIL_MOST]}
            for refusal in self.refusals[:REASONS_MOST]
        ]


class IntakeCounts(msgspec.Struct):
    """What one step did: `received` = `rejected` + `forwarded`, always. Items in doubt are counted when they are decided.

    Limits that were met: `cache_resets` (all label sets forgotten), `ids_forgotten` (an id can no longer be told from another),
    `doubts_forced` (records in doubt decided before all witnesses were there).
    """

    received: int = 0
    forwarded: int = 0
    rejected: Counter[Rejection] = msgspec.field(default_factory=Counter)
    flagged: Counter[Flag] = msgspec.field(default_factory=Counter)
    cache_resets: int = 0
    ids_forgotten: int = 0
    doubts_forced: int = 0

    def absorb(self, other: "IntakeCounts") -> None:
        """Add what another step did, field by field."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class IntakeOutput(msgspec.Struct):
    """The effects of one step. `position` is the offset to commit; `frames` pairs a frames partition with a frame.

    `watermark` is how far time was said to have come, `clock` the largest arrival believed: later where the step was not allowed to say so.
    `latest` is the largest event time forwarded: some sources' clocks run ahead.
    """

    frames: list[tuple[int, Frame]]
    dead_letters: list[DeadLetter]
    position: int
    watermark: Instant | None
    latest: Instant
    counts: IntakeCounts
    clock: Instant | None = None
