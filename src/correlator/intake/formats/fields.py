"""What the formats have in common: labels, annotations, times and texts, each checked once."""

from typing import Any, Final

from correlator.model.calendar import parse_rfc3339
from correlator.model.event import Flag, Refusal, Rejection
from correlator.model.instant import Instant

MAX_LABELS: Final = 128
MAX_LABEL_NAME: Final = 256
MAX_LABEL_VALUE: Final = 4096
MAX_LABELS_LENGTH: Final = 32 * 1024
"""Characters of all labels of an alert, names and values; a frame must fit into one record of the log."""
MAX_ANNOTATIONS_LENGTH: Final = 64 * 1024
"""Characters of all annotations, names and values."""

SURELY_WITHIN: Final = MAX_LABEL_NAME
"""Labels that are written as JSON in no more bytes than this are within all limits."""
_SURELY_SHORT: Final = MAX_LABELS_LENGTH // (MAX_LABEL_NAME + MAX_LABEL_VALUE)
"""So many labels cannot exceed the limit on all."""
_SECONDS: Final = range(10**9, 10**10)
"""Ten digits: in milliseconds a time of early 1970, and what a clock shows that counts seconds."""
_MICROSECONDS_FROM: Final = 10**14
_NANOSECONDS_FROM: Final = 10**17
_NUMBERS_TO: Final = 2**64


class RefusedError(Exception):
    """An item is no event; carries the refusal. Never leaves this package's `read_items`."""

    def __init__(self, reason: Rejection, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(reason, detail)


def labels_of(value: object) -> dict[str, str]:
    """Check an alert's labels: text to text, within limits, with an `alertname`. Raises `RefusedError`."""
    if value is None or value == {}:
        raise RefusedError(Rejection.NO_LABELS, "the event has no labels")
    labels = _texts(value, "labels")
    if len(labels) > MAX_LABELS:
        raise RefusedError(Rejection.TOO_MANY_LABELS, f"{len(labels)} labels; the limit is {MAX_LABELS}")
    for name, text in labels.items():
        if len(name) > MAX_LABEL_NAME or len(text) > MAX_LABEL_VALUE:
            limits = f"the limits are {MAX_LABEL_NAME} and {MAX_LABEL_VALUE} characters"
            raise RefusedError(Rejection.LABEL_TOO_LONG, f"label '{name[:64]}': name {len(name)}, value {len(text)}; {limits}")
    if len(labels) > _SURELY_SHORT and _length(labels) > MAX_LABELS_LENGTH:
        raise RefusedError(Rejection.TOO_LARGE, f"labels of {_length(labels)} characters in all; the limit is {MAX_LABELS_LENGTH}")
    if not labels.get("alertname"):
        raise RefusedError(Rejection.NO_ALERTNAME, "the labels have no alertname")
    return labels


def annotations_of(value: object) -> dict[str, str]:
    """Check annotations: text to text, within the limit; a missing object is empty. Raises `RefusedError`."""
    if value is None:
        return {}
    annotations = _texts(value, "annotations")
    length = _length(annotations)
    if length > MAX_ANNOTATIONS_LENGTH:
        raise RefusedError(Rejection.TOO_LARGE, f"annotations of {length} characters in all; the limit is {MAX_ANNOTATIONS_LENGTH}")
    return annotations


def instant_of(value: object, name: str) -> tuple[Instant | None, Flag]:
    """Read a time: RFC 3339 text or epoch milliseconds (micro- and nanoseconds are known by their size and flagged).

    What looks like seconds is flagged too, but taken as it stands: real milliseconds of 1970 look the same.
    A missing time and Go's zero time (year 1) answer None. Raises `RefusedError`.
    """
    if value is None or is_no_time(value):
        return None, Flag.NONE
    if isinstance(value, str):
        return _instant_of_text(value, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(Rejection.BAD_TIME, f"{name} is neither RFC 3339 text nor epoch milliseconds")
    if abs(value) >= _NUMBERS_TO:
        raise RefusedError(Rejection.NUMBER_OUT_OF_RANGE, f"{name} is {value}, beyond 64 bits")
    if abs(value) >= _NANOSECONDS_FROM:
        return int(value) // 10**6, Flag.TIME_UNIT
    if abs(value) >= _MICROSECONDS_FROM:
        return int(value) // 10**3, Flag.TIME_UNIT
    return int(value), Flag.TIME_UNIT if seems_seconds(int(value)) else Flag.NONE


def is_no_time(value: object) -> bool:
    """Tell whether what stands for a time means none: the empty text, and Go's zero time."""
    return isinstance(value, str) and (not value or value.startswith("0001-01-01T00:00:00"))


def seems_seconds(number: int) -> bool:
    """Tell whether a number that should be epoch milliseconds looks like seconds."""
    return number in _SECONDS


def text_of(value: object, name: str) -> str | None:
    """Check an optional text. Raises `RefusedError`."""
    if value is not None and not isinstance(value, str):
        raise RefusedError(Rejection.WRONG_TYPE, f"{name} is not a text")
    return value


def number_of(value: object, name: str) -> float | None:
    """Check an optional number. Raises `RefusedError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(Rejection.WRONG_TYPE, f"{name} is not a number")
    return float(value)


def object_of(value: object, name: str) -> dict[str, Any]:
    """Check that a value is an object. Raises `RefusedError`."""
    if not isinstance(value, dict):
        raise RefusedError(Rejection.WRONG_TYPE, f"{name} is not an object")
    return value


def _instant_of_text(text: str, name: str) -> tuple[Instant | None, Flag]:
    try:
        instant, has_zone = parse_rfc3339(text)
    except ValueError as error:
        raise RefusedError(Rejection.BAD_TIME, f"{name}: {error}") from error
    return instant, Flag.NONE if has_zone else Flag.NO_ZONE


def _length(texts: dict[str, str]) -> int:
    return sum(map(len, texts)) + sum(map(len, texts.values()))


def _texts(value: object, name: str) -> dict[str, str]:
    texts = object_of(value, name)
    for key, text in texts.items():
        if not isinstance(text, str):
            raise RefusedError(Rejection.WRONG_TYPE, f"{name}.{key[:64]} is not a text")
    return texts
