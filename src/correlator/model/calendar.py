"""Text to instants and back: the one module that knows calendars (RFC 3339), pure and without a clock."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from correlator.model.instant import HOUR, MINUTE, SECOND, Instant

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive arithmetic in UTC cannot overflow at the ends of the calendar
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9})\d*)?\s?(?:([Zz])|([+-])([01]\d|2[0-3]):?([0-5]\d))?", re.ASCII
)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LEAP_SECOND: Final = 60


def parse_rfc3339(text: str) -> tuple[Instant, bool]:
    """Read RFC 3339 text; answers the instant and whether the text named its zone (without one it is read as UTC).

    Fractions below a millisecond are cut off; a leap second is read as the second before it.
    Raises `ValueError` for anything that is not a date and time.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        message = f"'{text[:64]}' is not an RFC 3339 time"
        raise ValueError(message)
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, zulu, sign, hours, minutes = match.groups()[6:]
    moment = datetime(year, month, day, hour, minute, second - second // _LEAP_SECOND)  # noqa: DTZ001 - see _EPOCH
    instant = (moment - _EPOCH) // _MILLISECOND + int((fraction or "0").ljust(3, "0")[:3])
    if sign is None:
        return instant, zulu is not None
    offset = int(hours) * HOUR + int(minutes) * MINUTE
    return instant + (offset if sign == "-" else -offset), True


def parse_rfc3339_utc(text: str) -> Instant | None:
    """Read the common writing quickly: in UTC with a `Z`, `2026-03-01T12:00:00Z` with any fraction; None where it is another or no time.

    Answers what `parse_rfc3339` answers, which must be asked about the others.
    """
    if text[-1:] != "Z":
        return None
    fraction = text[20:-1]
    if not fraction:
        return _second_of(text)
    if text[19] != "." or not (fraction.isdecimal() and fraction.isascii()):
        return None
    second = _second_of(text[:19] + "Z")
    return second + int(fraction.ljust(3, "0")[:3]) if second is not None else None


@lru_cache(maxsize=4_096)
def _second_of(text: str) -> Instant | None:
    """Read a time without fraction. Cached, because many events share a second."""
    try:
        return parse_rfc3339(text)[0]
    except ValueError:
        return None


@lru_cache(maxsize=16_384)
def format_rfc3339(instant: Instant) -> str:
    """Write an instant as RFC 3339 in UTC with milliseconds, `2026-03-01T12:00:00.250Z`; outside years 1-9999 as digits.

    Cached, because a document repeats the times of its members in every revision.
    """
    second, milliseconds = divmod(instant, SECOND)
    try:
        return f"{_text_of(second)}.{milliseconds:03d}Z"
    except OverflowError:
        return str(instant)


@lru_cache(maxsize=4_096)
def _text_of(second: int) -> str:
    """Write a second without its zone. Cached, because many times share one."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()
