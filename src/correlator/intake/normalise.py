"""Normalise: what an event is taken for. When it was said, what is odd about it, and what goes on of it are decided here and nowhere else.

In: events. Out: statements, and in the end the time and the flags of each. Remembers the contents behind publishers' ids, at most
`IDS_MOST`. The pipeline's short road answers the same for the common event without calling here, which `tests/intake/test_roads.py`
holds against it; `correlator parse` asks the very same, which `tests/runtime/test_inspect.py` holds.
"""

from typing import Final, NamedTuple, TypeVar

import msgspec
import xxhash

from correlator.model.alert import Status
from correlator.model.event import Event, Flag, Origin
from correlator.model.instant import DAY, MINUTE, Duration, Instant
from correlator.model.topology import ENTITY_LABELS

AHEAD_MOST: Final[Duration] = 5 * MINUTE
"""An event time further than this after its arrival is implausible."""
BEHIND_MOST: Final[Duration] = DAY
"""An event time further than this before its arrival is implausible."""
ENDS_AHEAD_MOST: Final[Duration] = DAY
"""An end that a firing statement names further than this after its arrival is implausible: Alertmanager names one some minutes ahead."""
IDS_MOST: Final = 50_000
"""Publishers' ids remembered; the oldest is forgotten first."""
_ENCODE: Final = msgspec.json.Encoder().encode
_ENCODE_SORTED: Final = msgspec.json.Encoder(order="sorted").encode

Time = TypeVar("Time", bound=int | str)


class Statement(msgspec.Struct, gc=False):
    """One accepted item on its way into a row. `claim` is the arrival it claims, if any; `is_explicit` says that it was named as such.

    `content` is its labels as JSON: an item may wait in doubt while rules change, so its alert is looked up when it is let through.
    """

    content: bytes
    status: int
    at: Instant | None
    claim: Instant | None
    is_explicit: bool
    flags: int
    origin: Origin
    expires: Instant | None
    annotations: bytes
    value: float | None


class Normaliser:
    """Makes statements of events. `is_recording` says that items bring their own arrival; `ids_forgotten` counts, for whoever resets it."""

    def __init__(self, *, is_recording: bool) -> None:
        self.ids_forgotten = 0
        self._is_recording = is_recording
        self._content_by_id: dict[int, int] = {}

    def statement(self, event: Event, timestamp: Instant | None) -> Statement:
        """Answer what goes on of an event; `timestamp` is its record's own arrival, if it has one."""
        explicit = event.received_at if self._is_recording else None
        if explicit is None:
            explicit = timestamp
        at = event.at
        if explicit is None:
            at = said_at(at, is_resolved=event.status is Status.RESOLVED, starts_at=event.starts_at, ends_at=event.ends_at)
        return Statement(
            content=_ENCODE(event.labels),
            status=int(event.status),
            at=at,
            claim=explicit if explicit is not None else at,
            is_explicit=explicit is not None,
            flags=int(event.flags | self._flag_of_id(event)),
            origin=event.origin,
            expires=event.expires,
            annotations=_ENCODE(event.annotations),
            value=event.value,
        )

    def _flag_of_id(self, event: Event) -> Flag:
        if event.id is None:
            return Flag.NONE
        return self.flag_of_id((event.source, event.id), (int(event.status), event.at, digest_of(event.labels)))

    def flag_of_id(self, name: tuple[str | None, str], content: tuple[int, Instant | None, int]) -> Flag:
        """Remember the content (status, event time, digest of labels) behind a source's id; a second one under one id is flagged."""
        digest = xxhash.xxh3_64_intdigest(_ENCODE(content))
        known = self._content_by_id.setdefault(xxhash.xxh3_64_intdigest(_ENCODE(name)), digest)
        if len(self._content_by_id) > IDS_MOST:
            del self._content_by_id[next(iter(self._content_by_id))]
            self.ids_forgotten += 1
        return Flag.NONE if known == digest else Flag.SAME_ID_OTHER_CONTENT


def digest_of(labels: dict[str, str]) -> int:
    """Answer the hash of labels, in whatever order they came."""
    return xxhash.xxh3_64_intdigest(_ENCODE_SORTED(labels))


def said_at(at: Time | None, *, is_resolved: bool, starts_at: Time | None, ends_at: Time | None) -> Time | None:
    """Answer when an event without a known arrival was said: its own time, else its end when it is over, else its start.

    None where it does not tell. The start of what is over is no answer: nothing was over then.
    """
    if at is not None:
        return at
    return ends_at if is_resolved else starts_at


class Judged(NamedTuple):
    """What holds of a statement's times: when it was said, the end it names of what fires, and all flags that it alone tells."""

    at: Instant
    expires: Instant | None
    flags: int


def judge(statement: Statement, now: Instant, lateness: Duration) -> Judged:
    """Answer what holds of a statement's times when the clock had reached `now` for it. In a recording it may be all that dates it.

    An end that is no later than what is said to fire says nothing; one too far ahead is ignored too, else the alert would never expire.
    """
    claim, flags = statement.claim, statement.flags
    is_own = statement.is_explicit and claim is not None and now - DAY <= claim <= now
    arrival = claim if is_own and claim is not None else now
    at = statement.at if statement.at is not None else arrival
    if claim is None:
        flags |= Flag.NO_TIME
    if not -AHEAD_MOST <= arrival - at <= BEHIND_MOST:
        at, flags = arrival, flags | Flag.IMPLAUSIBLE_TIME
    if arrival - at > lateness:
        flags |= Flag.LATE
    expires = statement.expires
    if expires is not None and expires - arrival > ENDS_AHEAD_MOST:
        expires, flags = None, flags | Flag.IMPLAUSIBLE_TIME
    return Judged(at, expires if expires is not None and expires > at else None, int(flags))


def service_flag(labels: dict[str, str], entity: str | None) -> Flag:
    """Flag an alert without an entity: either no label could name one, or none that does is known."""
    if entity is not None:
        return Flag.NONE
    is_named = any(label in labels for label in (*ENTITY_LABELS, "client", "server"))
    return Flag.UNKNOWN_SERVICE if is_named else Flag.MISSING_SERVICE
