"""Instants and durations: integers of milliseconds, the only unit of time inside the correlator."""

import re
from typing import Final

Instant = int
"""Milliseconds since 1970-01-01T00:00:00Z."""

Duration = int
"""Milliseconds."""

MILLISECOND: Final[Duration] = 1
SECOND: Final[Duration] = 1000
MINUTE: Final[Duration] = 60 * SECOND
HOUR: Final[Duration] = 60 * MINUTE
DAY: Final[Duration] = 24 * HOUR

NEVER: Final[Instant] = 2**62
"""Later than any instant a message can carry; the due time of what is not scheduled."""

DURATION_MOST: Final[Duration] = (2**63 - 1) // 10**6
"""The longest duration that can be written: Prometheus counts nanoseconds in 64 bits."""

_UNITS: Final = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}
_DURATION: Final = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_ORDER: Final = ("y", "w", "d", "h", "m", "s", "ms")


def parse_duration(text: str) -> Duration:
    """Read a Prometheus duration (`90s`, `1h30m`, `0`) as milliseconds.

    Raises `ValueError` naming the accepted shape when the text is anything else.
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        message = f"'{text}' is not a duration; write it as Prometheus does, for example 30s, 5m or 1h30m"
        raise ValueError(message)
    duration = sum(int(amount) * _UNITS[unit] for unit, amount in zip(_ORDER, match.groups(), strict=True) if amount)
    if duration > DURATION_MOST:
        message = f"'{text[:64]}' is longer than 292 years, the longest duration Prometheus knows"
        raise ValueError(message)
    return duration


def format_duration(duration: Duration) -> str:
    """Write milliseconds as the shortest Prometheus duration (`5400000` is `1h30m`); negative ones with a sign."""
    if duration < 0:
        return "-" + format_duration(-duration)
    parts = []
    for unit in _ORDER[2:]:
        amount, duration = divmod(duration, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
