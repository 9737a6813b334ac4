"""Durations and RFC 3339: what is read, and that writing reverses it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.model.calendar import format_rfc3339, parse_rfc3339, parse_rfc3339_utc
from correlator.model.instant import DAY, DURATION_MOST, HOUR, MINUTE, SECOND, format_duration, parse_duration

YEAR_ONE, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999


@given(st.integers(0, DURATION_MOST))
def test_a_duration_survives_its_text(duration: int) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90 * SECOND),
        ("1h30m", 90 * MINUTE),
        ("2w", 14 * DAY),
        ("1y", 365 * DAY),
        ("1d12h", 36 * HOUR),
        ("5ms", 5),
    ],
)
def test_a_duration_is_read_as_prometheus_writes_it(text: str, duration: int) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", " ", "5", "5 m", "m", "-5m", "1.5h", "30m1h", "5us", "٣s", "5M", "1h1h"])
def test_what_is_no_duration_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it as Prometheus does, for example 30s, 5m or 1h30m"):
        parse_duration(text)


def test_a_duration_beyond_292_years_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 292 years"):
        parse_duration("293y")


def test_a_negative_duration_is_written_with_its_sign() -> None:
    assert format_duration(-90 * MINUTE) == "-1h30m"
    assert format_duration(0) == "0s"


@given(st.integers(YEAR_ONE, YEAR_9999))
def test_an_instant_survives_its_text(instant: int) -> None:
    assert parse_rfc3339(format_rfc3339(instant)) == (instant, True)


@given(st.datetimes(timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))))
def test_any_date_is_read_as_the_standard_library_reads_it(moment: datetime) -> None:
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_rfc3339(moment.isoformat()) == (expected, True)


@pytest.mark.parametrize(
    "text", ["2026-03-01T12:00:00.25Z", "2026-03-01t12:00:00.25z", "2026-03-01 12:00:00,250", "2026-03-01T14:30:00.250999+0230"]
)
def test_the_writings_of_rfc_3339_are_read(text: str) -> None:
    assert format_rfc3339(parse_rfc3339(text)[0]) == "2026-03-01T12:00:00.250Z"


@given(st.datetimes(), st.text("0123456789.,Z tT+-\u0663", max_size=12))
def test_the_quick_reader_of_times_answers_what_the_other_one_answers(moment: datetime, rest: str) -> None:
    written = f"{moment.isoformat()}Z"
    assert parse_rfc3339_utc(written) == parse_rfc3339(written)[0]
    for text in (written[:19] + rest, f"{written[:19]}.{rest}Z", written[:17] + rest + "Z", rest):
        instant = parse_rfc3339_utc(text)
        assert instant is None or (instant, True) == parse_rfc3339(text)


def test_a_time_without_zone_is_told_apart() -> None:
    assert parse_rfc3339("2026-03-01T12:00:00")[1] is False
    assert parse_rfc3339("2026-03-01T12:00:00-00:00")[1] is True


def test_a_leap_second_is_the_second_before_it() -> None:
    assert parse_rfc3339("2016-12-31T23:59:60Z") == parse_rfc3339("2016-12-31T23:59:59Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01",
        "12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:60:00Z",
        "2026-03-01T12:00:61Z",
        "2026-03-01T12:00:00+24:00",
        "2026-03-01T12:00:00+05:99",
        "2026-03-01T12:00:00 CET",
        "\uff12026-03-01T12:00:00Z",
        "2026-03-01T12:00:00Z ",
        "yesterday",
    ],
)
def test_what_is_no_time_raises_only_value_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an RFC 3339 time|must be in|out of range"):
        parse_rfc3339(text)


@given(st.text(max_size=40) | st.text("0123456789-:T.Z+ ", max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        instant, _ = parse_rfc3339(text)
    except ValueError:
        return
    assert YEAR_ONE - DAY <= instant <= YEAR_9999 + DAY


@pytest.mark.parametrize("instant", [YEAR_ONE - 1, YEAR_9999 + 1, 2**62, -(2**62)])
def test_an_instant_outside_the_calendar_is_written_as_digits(instant: int) -> None:
    assert format_rfc3339(instant) == str(instant)
