"""Events as they come in, normalised: what one item says, and the one verdict it gets."""

from enum import IntFlag

import msgspec

from correlator.model.alert import Status
from correlator.model.instant import Instant
from correlator.model.word import Word


class Verdict(Word):
    """The final fate of an item: exactly one for each. Intake rejects; correlate decides the other four."""

    REJECTED = "rejected"
    NEW = "new"
    UPDATE = "update"
    REPEAT = "repeat"
    LATE = "late"


class Rejection(Word):
    """Why an item was refused; each member is also a metric label and the reason in a dead letter."""

    EMPTY = "empty"
    UNPARSABLE = "unparsable"
    WRONG_TYPE = "wrong_type"
    INVALID_UTF8 = "invalid_utf8"
    NUL = "nul"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY_LABELS = "too_many_labels"
    LABEL_TOO_LONG = "label_too_long"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    BAD_TIME = "bad_time"
    NO_LABELS = "no_labels"
    NO_ALERTNAME = "no_alertname"
    NO_STATUS = "no_status"
    NO_ALERTS = "no_alerts"
    UNKNOWN_FORMAT = "unknown_format"
    FAULT = "fault"


class Flag(IntFlag):
    """What is odd about an accepted item; the numbers travel in frames and must not change."""

    NONE = 0
    LATE = 1
    IMPLAUSIBLE_TIME = 2
    NO_ZONE = 4
    RESOLVED_BEFORE_FIRING = 8
    SAME_ID_OTHER_CONTENT = 16
    MISSING_SERVICE = 32
    UNKNOWN_SERVICE = 64
    TIME_UNIT = 128
    NO_TIME = 256


class Origin(Word):
    """The format that brought an item; it chooses the default expiry."""

    NATIVE = "native"
    ALERTMANAGER = "alertmanager"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One well-formed statement about one alert. `at` is None where the message names no time; then it is its arrival.

    `labels` and `annotations` map text to text; `expires` is an explicit instant until which the statement holds.
    """

    status: Status
    labels: dict[str, str]
    at: Instant | None = None
    annotations: dict[str, str] = {}
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    expires: Instant | None = None
    received_at: Instant | None = None
    value: float | None = None
    source: str | None = None
    id: str | None = None
    generator_url: str | None = None
    origin: Origin = Origin.NATIVE
    flags: Flag = Flag.NONE


class Refusal(msgspec.Struct, frozen=True):
    """Why an item is no event: the reason, words for a person, and where in the record (item 0 of a record of one)."""

    reason: Rejection
    detail: str
    item: int = 0
