"""Frames: what one partition's intake tells the machines, in columns, with the time it had reached.

A row is one *run*: consecutive items of one alert with the same status in one batch. Every event time of a run travels, so
folding never changes what the machine can know; what folding saves is the look-up per item.
"""

from enum import IntEnum

import msgspec

from correlator.model.event import Origin
from correlator.model.instant import Duration, Instant


class FrameError(Exception):
    """Bytes on the internal log are no frame."""


class FrameKind(IntEnum):
    """What a frame is for; the numbers are part of the wire format."""

    ROWS = 0
    TICK = 1
    CONTROL = 2
    END = 3


class News(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an alert looks like: sent with a run's row when the other side may not know it.

    `labels` and `annotations` are JSON objects of text to text, as received.
    """

    labels: bytes
    annotations: bytes = b"{}"
    value: float | None = None
    origin: Origin = Origin.NATIVE


class Extra(msgspec.Struct, array_like=True, gc=False):
    """What is unusual about a row. `flags` are those of `model.event.Flag`, as a plain number: enum arithmetic is slow.

    `effect` is when the row is judged, when that is not its first event time; `expires` an explicit end of a firing
    statement; `more` the event times of the run after its first, in the order they came, without repeats of the last.
    """

    flags: int = 0
    effect: Instant | None = None
    expires: Instant | None = None
    more: list[Instant] = []


class Frame(msgspec.Struct):
    """One record of the internal log. Columns have one entry a row; `extras` and `news` are sparse, by row number.

    `source` names the raw partition, `watermark` the largest arrival it believes, `digest` the rules it was routed by.
    `control` is the payload of a control frame: compiled rules and topology.
    """

    kind: FrameKind
    source: str
    watermark: Instant
    digest: str
    fingerprints: list[bytes] = []
    statuses: list[int] = []
    counts: list[int] = []
    firsts: list[Instant] = []
    lasts: list[Instant] = []
    extras: dict[int, Extra] = {}
    news: dict[int, News] = {}
    control: bytes = b""

    @property
    def items(self) -> int:
        """How many items the rows stand for."""
        return sum(self.counts)


PLAIN_FIRING = 0
"""A row that says `firing` and has no extra."""
PLAIN_RESOLVED = 1
SPECIAL = 2
"""Added to a row's status when it has an extra, so that the common row is known by one comparison."""

MAX_SPAN: Duration = 2**31
"""A run may not last longer than this: codecs store the last event time as a 32-bit distance from the first."""
