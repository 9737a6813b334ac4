"""Text to instants and back: the one module that knows calendars (RFC 3339), pure and without a clock."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from correlator.model.instant import DAY, SECOND, Instant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9})\d*)?\s?(?:([Zz])|([+-])(\d{2}):?(\d{2}))?", re.ASCII
)
_MILLISECOND: Final = timedelta(milliseconds=1)


def parse_rfc3339(text: str) -> tuple[Instant, bool]:
    """Read RFC 3339 text; answers the instant and whether the text named its zone (without one it is read as UTC).

    Fractions below a millisecond are cut off. Raises `ValueError` for anything that is not a date and time.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        message = f"'{text[:64]}' is not an RFC 3339 time"
        raise ValueError(message)
    date, clock, fraction, zulu, sign, hours, minutes = match.groups()
    zone = UTC
    if sign is not None:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-offset if sign == "-" else offset)
    moment = datetime.strptime(f"{date} {clock.replace(':60', ':59')}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
    milliseconds = int((fraction or "0").ljust(3, "0")[:3])
    return (moment - _EPOCH) // _MILLISECOND + milliseconds, zulu is not None or sign is not None


@lru_cache(maxsize=16_384)
def format_rfc3339(instant: Instant) -> str:
    """Write an instant as RFC 3339 in UTC with milliseconds, `2026-03-01T12:00:00.250Z`; outside years 1-9999 as digits.

    Cached, because a document repeats the times of its members in every revision.
    """
    days, rest = divmod(instant, DAY)
    try:
        date = _date_of(days)
    except OverflowError:
        return str(instant)
    seconds, milliseconds = divmod(rest, SECOND)
    minutes, second = divmod(seconds, 60)
    return f"{date}T{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{milliseconds:03d}Z"


@lru_cache(maxsize=1_024)
def _date_of(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()
