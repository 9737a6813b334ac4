"""Every kind of bad input, as bytes: each record gets its one verdict, and good neighbours go on."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.decode import MAX_RECORD_BYTES
from correlator.intake.formats import MAX_ITEMS, Format, read_items
from correlator.intake.formats.fields import MAX_ANNOTATIONS_LENGTH, MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS
from correlator.model.event import Event, Flag, Refusal, Rejection
from correlator.model.instant import DAY, MINUTE

from tests.intake.builders import NOON, an_alert, an_event, an_intake, feed, items_of, only_rows, record, totals

GOOD = b'{"at":1772366400000,"status":"firing","labels":{"alertname":"latency","service":"checkout"}}'


def with_labels(labels: bytes) -> bytes:
    return b'{"at":1772366400000,"status":"firing","labels":' + labels + b"}"


def with_key(key: bytes) -> bytes:
    return GOOD[:-1] + b"," + key + b"}"


REFUSED: dict[str, tuple[bytes, Rejection]] = {
    "an empty message": (b"", Rejection.EMPTY),
    "only blanks": (b" \n\t", Rejection.EMPTY),
    "an empty list": (b"[]", Rejection.EMPTY),
    "JSON cut short": (GOOD[:40], Rejection.UNPARSABLE),
    "JSON with more behind it": (GOOD + b"}", Rejection.UNPARSABLE),
    "two documents": (GOOD + GOOD, Rejection.UNPARSABLE),
    "no JSON at all": (b"latency is high", Rejection.UNPARSABLE),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, Rejection.UNPARSABLE),
    "a raw line break in a text": (with_labels(b'{"alertname":"a\nb"}'), Rejection.UNPARSABLE),
    "a lone surrogate": (with_labels(b'{"alertname":"\\ud800"}'), Rejection.UNPARSABLE),
    "a lone low surrogate in an annotation": (with_key(b'"annotations":{"a":"\\udc00"}'), Rejection.UNPARSABLE),
    "invalid UTF-8 in a label": (with_labels(b'{"alertname":"\xff\xfe"}'), Rejection.INVALID_UTF8),
    "invalid UTF-8 in an annotation": (with_key(b'"annotations":{"a":"\xc3("}'), Rejection.INVALID_UTF8),
    "a surrogate in UTF-8": (with_labels(b'{"alertname":"\xed\xa0\x80"}'), Rejection.INVALID_UTF8),
    "a raw NUL": (with_labels(b'{"alertname":"a\0b"}'), Rejection.NUL),
    "a NUL after the document": (GOOD + b"\0", Rejection.NUL),
    "an escaped NUL in a label": (with_labels(b'{"alertname":"a\\u0000b"}'), Rejection.NUL),
    "an escaped NUL in a label's name": (with_labels(b'{"alertname":"a","b\\u0000":"c"}'), Rejection.NUL),
    "an escaped NUL in an annotation": (with_key(b'"annotations":{"a":"\\u0000"}'), Rejection.NUL),
    "an escaped NUL in an unknown key": (with_key(b'"other":[{"\\u0000":1}]'), Rejection.NUL),
    "a null": (b"null", Rejection.WRONG_TYPE),
    "a number": (b"17", Rejection.WRONG_TYPE),
    "a text": (b'"latency"', Rejection.WRONG_TYPE),
    "labels that are a list": (with_labels(b'["alertname"]'), Rejection.WRONG_TYPE),
    "a label that is a number": (with_labels(b'{"alertname":"a","code":5}'), Rejection.WRONG_TYPE),
    "a label that is null": (with_labels(b'{"alertname":"a","code":null}'), Rejection.WRONG_TYPE),
    "a label that is true": (with_labels(b'{"alertname":"a","code":true}'), Rejection.WRONG_TYPE),
    "an annotation that is a number": (with_key(b'"annotations":{"a":1}'), Rejection.WRONG_TYPE),
    "annotations that are a text": (with_key(b'"annotations":"high"'), Rejection.WRONG_TYPE),
    "a value that is a text": (with_key(b'"value":"3"'), Rejection.WRONG_TYPE),
    "a value that is true": (with_key(b'"value":true'), Rejection.WRONG_TYPE),
    "a source that is a number": (with_key(b'"source":1'), Rejection.WRONG_TYPE),
    "an id that is a number": (with_key(b'"id":1'), Rejection.WRONG_TYPE),
    "a status of neither kind": (GOOD.replace(b"firing", b"burning"), Rejection.WRONG_TYPE),
    "a status that is true": (GOOD.replace(b'"firing"', b"true"), Rejection.WRONG_TYPE),
    "no status": (b'{"at":1,"labels":{"alertname":"a"}}', Rejection.NO_STATUS),
    "no labels": (b'{"at":1,"status":"firing"}', Rejection.NO_LABELS),
    "empty labels": (with_labels(b"{}"), Rejection.NO_LABELS),
    "no alertname": (with_labels(b'{"service":"checkout"}'), Rejection.NO_ALERTNAME),
    "an empty alertname": (with_labels(b'{"alertname":""}'), Rejection.NO_ALERTNAME),
    "a time that is no time": (with_key(b'"startsAt":"yesterday"'), Rejection.BAD_TIME),
    "a time that is true": (GOOD.replace(b"1772366400000", b"true"), Rejection.BAD_TIME),
    "a time that is a list": (GOOD.replace(b"1772366400000", b"[1]"), Rejection.BAD_TIME),
    "a minute of 60": (with_key(b'"startsAt":"2026-03-01T12:60:00Z"'), Rejection.BAD_TIME),
    "the thirtieth of February": (with_key(b'"startsAt":"2026-02-30T12:00:00Z"'), Rejection.BAD_TIME),
    "an integer beyond 64 bits": (with_key(b'"value":' + b"9" * 30), Rejection.NUMBER_OUT_OF_RANGE),
    "an integer of ten thousand digits": (with_key(b'"value":' + b"9" * 10_000), Rejection.NUMBER_OUT_OF_RANGE),
    "a time beyond 64 bits": (GOOD.replace(b"1772366400000", b"1" * 25), Rejection.NUMBER_OUT_OF_RANGE),
    "a time of 1e300": (GOOD.replace(b"1772366400000", b"1e300"), Rejection.NUMBER_OUT_OF_RANGE),
    "an integer beyond 64 bits in an unknown key": (with_key(b'"other":-' + b"9" * 20), Rejection.NUMBER_OUT_OF_RANGE),
    "1e400": (with_key(b'"value":1e400'), Rejection.NUMBER_OUT_OF_RANGE),
    "NaN": (with_key(b'"value":NaN'), Rejection.UNPARSABLE),
    "Infinity": (with_key(b'"value":Infinity'), Rejection.UNPARSABLE),
    "-Infinity": (with_key(b'"value":-Infinity'), Rejection.UNPARSABLE),
    "a label of 1 MB": (with_labels(b'{"alertname":"a","b":"' + b"x" * 2**20 + b'"}'), Rejection.LABEL_TOO_LONG),
    "a label's name of 1 MB": (with_labels(b'{"alertname":"a","' + b"x" * 2**20 + b'":"b"}'), Rejection.LABEL_TOO_LONG),
    "10,000 labels": (record(an_event(labels={"alertname": "a", **{f"l{n}": "x" for n in range(10_000)}})), Rejection.TOO_MANY_LABELS),
    "long labels in all": (record(an_event(labels={"alertname": "a", **{f"l{n}": "x" * 4000 for n in range(9)}})), Rejection.TOO_LARGE),
    "an annotation of 1 MB": (with_key(b'"annotations":{"a":"' + b"x" * 2**20 + b'"}'), Rejection.TOO_LARGE),
    "a record of 50 MB": (b'{"at":"' + b"x" * 50_000_000 + b'"}', Rejection.TOO_LARGE),
    "nesting of 66 levels": (with_key(b'"other":' + b"[" * 65 + b"]" * 65), Rejection.TOO_DEEP),
    "nesting of 100,000 levels": (b"[" * 100_000 + b"]" * 100_000, Rejection.TOO_DEEP),
    "nesting of 100,000 objects": (b'{"a":' * 100_000, Rejection.TOO_DEEP),
    "a message without alerts": (b'{"version":"4","alerts":[]}', Rejection.NO_ALERTS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_reason(name: str) -> None:
    body, reason = REFUSED[name]
    (output,) = feed(an_intake(), [body])
    assert dict(output.counts.rejected) == {reason: 1}
    (letter,) = output.dead_letters
    assert letter.value == body
    assert letter.refusals[0].detail
    assert output.counts.received == 1
    assert not output.frames


@pytest.mark.parametrize("name", REFUSED)
def test_nine_good_records_beside_it_go_on(name: str) -> None:
    body, _ = REFUSED[name]
    records: list[object] = [an_event(at=NOON + number) for number in range(9)]
    outputs = feed(an_intake(), [*records[:4], body, *records[4:]])
    assert totals(outputs) == (10, 1, 9)


def is_fault_of_one_item(body: bytes, reason: Rejection) -> bool:
    """Tell faults of one value from those of the bytes, of which no part can be trusted."""
    is_of_bytes = reason in (Rejection.EMPTY, Rejection.UNPARSABLE, Rejection.NUL, Rejection.INVALID_UTF8, Rejection.TOO_DEEP)
    return not is_of_bytes and len(body) < 100_000 and not re.search(rb"1e400|\d{20}", body)


@pytest.mark.parametrize("name", [name for name, refused in REFUSED.items() if is_fault_of_one_item(*refused)])
def test_nine_good_items_beside_it_in_one_list_go_on(name: str) -> None:
    body, _ = REFUSED[name]
    outputs = feed(an_intake(), [b"[" + b",".join([GOOD] * 4 + [body] + [GOOD] * 5) + b"]"])
    assert totals(outputs) == (10, 1, 9)
    assert outputs[0].dead_letters[0].refusals[0].item == 4


def test_one_bad_alert_of_ten_in_a_message_is_refused_alone() -> None:
    alerts = [an_alert(of=f"checkout/a{number}") for number in range(10)]
    alerts[6]["labels"] = {"service": "checkout"}
    (output,) = feed(an_intake(), [{"version": "4", "status": "firing", "alerts": alerts}])
    (refusal,) = output.dead_letters[0].refusals
    assert (refusal.reason, refusal.item) == (Rejection.NO_ALERTNAME, 6)
    assert (output.counts.received, output.counts.forwarded) == (10, 9)
    assert items_of([output])[0].total() == 9


def test_too_many_items_in_one_record_are_refused_as_a_whole() -> None:
    (refusal,) = read_items(b"[" + b",".join([b"1"] * (MAX_ITEMS + 1)) + b"]")
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Rejection.TOO_LARGE


def test_a_record_at_exactly_the_size_limit_is_read() -> None:
    body = GOOD + b" " * (MAX_RECORD_BYTES - len(GOOD))
    assert isinstance(read_items(body)[0], Event)
    assert isinstance(read_items(body + b" ")[0], Refusal)


def test_nesting_at_exactly_the_limit_is_read() -> None:
    assert isinstance(read_items(with_key(b'"other":' + b"[" * 63 + b"]" * 63))[0], Event)


def test_labels_at_exactly_their_limits_are_read() -> None:
    names = {"alertname": "a", "n" * MAX_LABEL_NAME: "x" * MAX_LABEL_VALUE, **{f"l{number}": "" for number in range(MAX_LABELS - 2)}}
    assert isinstance(read_items(record(an_event(labels=names)))[0], Event)


def test_annotations_at_exactly_their_limit_are_read() -> None:
    assert isinstance(read_items(record(an_event(annotations={"a": "x" * (MAX_ANNOTATIONS_LENGTH - 1)})))[0], Event)
    (refusal,) = read_items(record(an_event(annotations={"a": "x" * MAX_ANNOTATIONS_LENGTH})))
    assert isinstance(refusal, Refusal)


# Accepted, and flagged


def flags_of(document: object, **intake: Any) -> Flag:  # noqa: ANN401
    """Feed one record to an intake whose clock stands at noon; it must be accepted. Answers its flags."""
    (output,) = feed(an_intake(**intake), [document])
    assert (output.counts.received, output.counts.forwarded) == (1, 1)
    return next(iter(output.counts.flagged), Flag.NONE)


def test_a_good_event_has_no_flag() -> None:
    assert flags_of(an_event()) is Flag.NONE


def test_a_missing_service_is_flagged() -> None:
    assert flags_of(an_event(labels={"alertname": "a"})) == Flag.MISSING_SERVICE


def test_an_unknown_service_is_flagged() -> None:
    assert flags_of(an_event(of="nobody/latency")) == Flag.UNKNOWN_SERVICE


@pytest.mark.parametrize("at", [0, "1970-01-01T00:00:00Z", 4_102_444_800_000, "2100-01-01T00:00:00Z", -(10**13), NOON * 10**3 + 10**17])
def test_a_date_far_from_its_arrival_is_replaced_by_it_and_flagged(at: object) -> None:
    intake = an_intake(is_recording=False)
    (output,) = feed(intake, [an_event(at=at)], timestamps=[NOON + 5])
    assert next(iter(output.counts.flagged)) & Flag.IMPLAUSIBLE_TIME
    frame = only_rows(output.frames)
    assert (frame.firsts, frame.watermark) == ([NOON + 5], NOON + 5)


@pytest.mark.parametrize(
    ("apart", "is_flagged"),
    [(5 * MINUTE, False), (5 * MINUTE + 1, True), (-DAY, False), (-DAY - 1, True)],
)
def test_a_date_is_implausible_beyond_five_minutes_ahead_and_a_day_behind_and_not_at_exactly_these(apart: int, *, is_flagged: bool) -> None:
    (output,) = feed(an_intake(is_recording=False), [an_event(at=NOON + apart)], timestamps=[NOON])
    assert bool(next(iter(output.counts.flagged), Flag.NONE) & Flag.IMPLAUSIBLE_TIME) is is_flagged


def test_a_time_without_zone_is_read_as_utc_and_flagged() -> None:
    assert flags_of(an_event(at="2026-03-01T12:00:00")) == Flag.NO_ZONE


@pytest.mark.parametrize("at", [NOON * 10**3, NOON * 10**6, float(NOON * 10**3)])
def test_micro_and_nanoseconds_are_known_by_their_size_and_flagged(at: float) -> None:
    (output,) = feed(an_intake(), [an_event(at=at)])
    assert dict(output.counts.flagged) == {Flag.TIME_UNIT: 1}
    assert output.frames[0][1].firsts == [NOON]


def test_resolved_before_firing_is_flagged() -> None:
    document = an_event(status="resolved", startsAt=NOON + 1000, endsAt=NOON)
    assert flags_of(document) == Flag.RESOLVED_BEFORE_FIRING
    assert flags_of(an_event(status="resolved", startsAt=NOON + 1000)) == Flag.RESOLVED_BEFORE_FIRING
    message = {"alerts": [an_alert(status="resolved", startsAt=NOON + 1000, endsAt=NOON)]}
    assert flags_of(message) == Flag.RESOLVED_BEFORE_FIRING


def test_an_id_seen_with_other_content_is_flagged() -> None:
    same, other = an_event(id="e1"), an_event(id="e1", at=NOON + 1)
    (output,) = feed(an_intake(), [same, same, other])
    assert dict(output.counts.flagged) == {Flag.SAME_ID_OTHER_CONTENT: 1}


def test_an_id_belongs_to_its_source() -> None:
    assert flags_of([an_event(id="e1", source="a")]) is Flag.NONE
    (output,) = feed(an_intake(), [an_event(id="e1", source="a"), an_event(id="e1", source="b", at=NOON + 1)])
    assert not output.counts.flagged


def test_duplicate_keys_are_read_as_the_last_of_them() -> None:
    (event,) = read_items(b'{"at":1,"at":2,"status":"firing","labels":{"alertname":"a","alertname":"b"}}')
    assert isinstance(event, Event)
    assert (event.at, event.labels) == (2, {"alertname": "b"})


# Any bytes

BYTES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([GOOD, *[body for body, _ in REFUSED.values() if len(body) < 2_000]]),
    st.tuples(st.sampled_from([GOOD, b'{"alerts":[' + GOOD + b"]}"]), st.integers(0, 90), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :]
    ),
)


@given(st.lists(BYTES, max_size=8), st.sampled_from(Format), st.booleans())
def test_any_bytes_give_a_verdict_and_never_another_exception(bodies: list[bytes], form: Format, is_recording: bool) -> None:  # noqa: FBT001
    intake = an_intake(form=form, is_recording=is_recording, watermark=None)
    outputs = [*feed(intake, bodies), intake.end()]
    received, rejected, forwarded = totals(outputs)
    assert received == rejected + forwarded >= len(bodies)
    assert sum(frame.items for output in outputs for _, frame in output.frames) == forwarded


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("at", "status", "labels", "annotations", "value", "id", "source", "startsAt", "endsAt", "receivedAt", "generatorURL")


@given(st.dictionaries(st.sampled_from([*KEYS, "alerts", "specversion", "data", "data_base64", "time"]), JSON), st.sampled_from(KEYS), JSON)
def test_any_json_in_any_place_gives_a_verdict(document: dict[str, Any], key: str, value: object) -> None:
    intake = an_intake(watermark=None)
    outputs = [
        *feed(intake, [record(document), record({**an_event(), key: value}), record({"alerts": [{**an_alert(), key: value}]})]),
        intake.end(),
    ]
    received, rejected, forwarded = totals(outputs)
    assert received == rejected + forwarded == 3 or "alerts" in document


@pytest.mark.parametrize(
    ("body", "name"), [(b"null", "null"), (b"17", "number"), (b"1.5", "number"), (b"true", "boolean"), (b'"x"', "string")]
)
def test_what_is_no_event_is_called_by_the_name_that_json_has_for_it(body: bytes, name: str) -> None:
    assert [item.detail for item in read_items(body) if isinstance(item, Refusal)] == [f"a JSON {name} is no event"]
