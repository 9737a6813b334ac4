"""Formats: how each kind of record is told and read."""

from base64 import b64encode
from pathlib import Path

import orjson
import pytest

from correlator.frames.frame import Extra
from correlator.intake.formats import Format, read_items
from correlator.model.alert import Status
from correlator.model.event import Event, Flag, Origin, Refusal, Rejection
from correlator.model.instant import DAY, HOUR

from tests.intake.builders import NOON, an_alert, an_event, an_intake, feed, frames_of, items_of, record

PAYLOADS = Path(__file__).parents[3] / "shared" / "data" / "payloads"


def only_event(document: object, form: Format = Format.AUTO) -> Event:
    (event,) = read_items(record(document), form)
    assert isinstance(event, Event)
    return event


def only_refusal(document: object, form: Format = Format.AUTO) -> Refusal:
    (refusal,) = read_items(record(document), form)
    assert isinstance(refusal, Refusal)
    return refusal


def test_a_native_event_is_read_whole() -> None:
    event = only_event(
        {**an_event(), "annotations": {"a": "b"}, "value": 3, "source": "s", "id": "i", "generatorURL": "u", "receivedAt": NOON + 1, "x": 1}
    )
    assert event == Event(
        Status.FIRING,
        {"alertname": "latency", "service": "checkout"},
        NOON,
        {"a": "b"},
        received_at=NOON + 1,
        value=3.0,
        source="s",
        id="i",
        generator_url="u",
    )


def test_an_alertmanager_message_names_no_time_of_its_own() -> None:
    message = {"version": "4", "alerts": [an_alert(startsAt="2026-03-01T11:00:00Z", endsAt="0001-01-01T00:00:00Z")]}
    event = only_event(message)
    assert (event.at, event.starts_at, event.ends_at, event.expires) == (None, NOON - HOUR, None, None)
    assert event.origin is Origin.ALERTMANAGER


def test_a_firing_alert_with_an_end_expires_then() -> None:
    assert only_event({"alerts": [an_alert(endsAt=NOON)]}).expires == NOON
    assert only_event({"alerts": [an_alert(status="resolved", endsAt=NOON)]}).expires is None


def test_in_a_file_an_alertmanager_alert_was_said_when_it_ended_or_else_started() -> None:
    alerts = [
        an_alert(of="checkout/firing", startsAt=NOON),
        an_alert(of="checkout/resolved", status="resolved", startsAt=NOON - HOUR, endsAt=NOON + 1),
        an_alert(of="checkout/endless", status="resolved", startsAt=NOON - HOUR),
    ]
    intake = an_intake(watermark=None)
    outputs = [*feed(intake, [{"alerts": alerts}]), intake.end()]
    assert sorted(instant[2] for instant in items_of(outputs)[1]) == [NOON, NOON + 1, NOON + 1]


def test_on_a_live_topic_a_webhook_was_said_at_its_arrival() -> None:
    message = {"alerts": [an_alert(startsAt=NOON - 4 * HOUR)]}
    outputs = feed(an_intake(is_recording=False), [message], timestamps=[NOON + 7])
    assert [instant[2] for instant in items_of(outputs)[1]] == [NOON + 7]


@pytest.mark.parametrize(
    ("ends", "expires", "flagged"),
    [(NOON + 7 + DAY, NOON + 7 + DAY, 0), (NOON + 8 + DAY, None, 1), (NOON + 8, NOON + 8, 0), (NOON + 7, None, 0)],
)
def test_the_end_of_a_webhook_is_believed_when_it_lies_at_most_a_day_behind_its_arrival(
    ends: int, expires: int | None, flagged: int
) -> None:
    outputs = feed(an_intake(is_recording=False), [{"alerts": [an_alert(endsAt=ends)]}], timestamps=[NOON + 7])
    (frame,) = [frame for _, frame in frames_of(outputs) if frame.counts]
    assert frame.extras.get(0, Extra()).expires == expires
    assert outputs[0].counts.flagged == ({Flag.IMPLAUSIBLE_TIME: 1} if flagged else {})


def test_an_event_without_any_time_is_given_the_clock_of_its_file() -> None:
    untimed = an_event()
    del untimed["at"]
    intake = an_intake(watermark=None)
    outputs = [*feed(intake, [untimed, an_event(of="checkout/errors", at=NOON)]), intake.end()]
    assert [instant[2] for instant in items_of(outputs)[1]] == [NOON, NOON]


def an_envelope(**more: object) -> dict[str, object]:
    return {"specversion": "1.0", "type": "alert", "source": "/monitor", "id": "e7", "time": "2026-03-01T12:00:00Z", **more}


def test_a_cloudevent_fills_what_the_event_inside_leaves_open() -> None:
    inside = an_event()
    del inside["at"]
    event = only_event(an_envelope(data=inside))
    assert (event.at, event.id, event.source) == (NOON, "e7", "/monitor")


def test_a_cloudevent_overrides_nothing() -> None:
    event = only_event(an_envelope(data=an_event(at=1, id="mine", source="me")))
    assert (event.at, event.id, event.source) == (1, "mine", "me")


def test_a_zoneless_envelope_flags_only_events_that_use_its_time() -> None:
    assert only_event(an_envelope(time="2026-03-01T12:00:00", data={**an_event(), "at": None})).flags == Flag.NO_ZONE
    assert only_event(an_envelope(time="2026-03-01T12:00:00", data=an_event())).flags == Flag.NONE


def test_the_id_of_an_envelope_names_none_of_several_alerts() -> None:
    message = {"alerts": [an_alert(of="checkout/a"), an_alert(of="checkout/b")]}
    events = read_items(record(an_envelope(data=message)))
    assert [event.id for event in events if isinstance(event, Event)] == [None, None]
    (output,) = feed(an_intake(), [an_envelope(data=message)])
    assert not output.counts.flagged


@pytest.mark.parametrize(
    "data",
    [{"data": orjson.dumps(an_event()).decode()}, {"data_base64": b64encode(orjson.dumps(an_event())).decode()}, {"data": [an_event()]}],
)
def test_data_may_be_an_object_a_list_text_or_base64(data: dict[str, object]) -> None:
    assert only_event(an_envelope(**data)).at == NOON


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, Rejection.NO_LABELS),
        ({"specversion": "0.3", "data": an_event()}, Rejection.UNKNOWN_FORMAT),
        ({"data": "<xml/>"}, Rejection.UNPARSABLE),
        ({"data": 1.5}, Rejection.WRONG_TYPE),
        ({"data_base64": "%%"}, Rejection.UNPARSABLE),
        ({"data_base64": "ä"}, Rejection.UNPARSABLE),
        ({"data": an_envelope()}, Rejection.UNKNOWN_FORMAT),
        ({"data": an_event(), "time": "soon"}, Rejection.BAD_TIME),
        ({"data": an_event(), "id": 7}, Rejection.WRONG_TYPE),
        ({"data": "[" * 70 + "]" * 70}, Rejection.TOO_DEEP),
    ],
)
def test_a_bad_envelope_is_refused_with_its_reason(more: dict[str, object], reason: Rejection) -> None:
    assert only_refusal(an_envelope(**more)).reason is reason


def test_a_cloudevent_may_hold_bad_items_beside_good_ones() -> None:
    items = read_items(record(an_envelope(data=[an_event(), {"labels": {}}, an_event()])))
    assert [isinstance(item, Refusal) for item in items] == [False, True, False]


@pytest.mark.parametrize(
    ("document", "form", "reason"),
    [
        (an_event(), Format.ALERTMANAGER, Rejection.NO_ALERTS),
        (an_event(), Format.CLOUDEVENTS, Rejection.UNKNOWN_FORMAT),
        ({"alerts": [an_alert()]}, Format.NATIVE, Rejection.NO_LABELS),
        ({"alerts": [5]}, Format.AUTO, Rejection.WRONG_TYPE),
        ({"alerts": "many"}, Format.ALERTMANAGER, Rejection.NO_ALERTS),
    ],
)
def test_a_topic_that_names_its_format_reads_no_other(document: object, form: Format, reason: Rejection) -> None:
    assert only_refusal(document, form).reason is reason


@pytest.mark.parametrize("form", [Format.ALERTMANAGER, Format.CLOUDEVENTS])
def test_a_topic_of_another_format_is_taken_record_by_record(form: Format) -> None:
    document: object = {"alerts": [an_alert()]}
    outputs = feed(
        an_intake(form=form, is_recording=False),
        [document if form is Format.ALERTMANAGER else an_envelope(data=document)],
        timestamps=[NOON],
    )
    assert items_of(outputs)[0].total() == 1


def test_lists_may_be_nested_and_an_empty_one_is_refused_alone() -> None:
    items = read_items(record([[an_event()], [], an_event()]))
    assert [isinstance(item, Refusal) and (item.reason, item.item) for item in items] == [False, (Rejection.EMPTY, 1), False]


# Real payloads, read where they lie


def payloads_of(*names: str) -> list[Path]:
    return [path for name in names for path in sorted((PAYLOADS / name).glob("*.json"))]


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the collected payloads are not on this machine")
def test_every_real_payload_is_read_or_refused_with_a_reason() -> None:
    files = sorted(PAYLOADS.rglob("*.json"))
    assert files
    for path in files:
        for item in read_items(path.read_bytes()):
            assert isinstance(item, Event) or item.detail, path


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the collected payloads are not on this machine")
def test_real_alertmanager_messages_are_read_alert_by_alert() -> None:
    files = payloads_of("alertmanager_webhook")
    assert files
    for path in files:
        alerts = orjson.loads(path.read_bytes())["alerts"]
        events = read_items(path.read_bytes())
        assert [(event.status.name.lower(), event.labels) for event in events if isinstance(event, Event)] == [
            (alert["status"], alert["labels"]) for alert in alerts if "status" in alert
        ]
        assert [item.reason for item in events if isinstance(item, Refusal)] == [
            Rejection.NO_STATUS for alert in alerts if "status" not in alert
        ]


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="the collected payloads are not on this machine")
def test_real_documents_of_other_kinds_are_refused() -> None:
    files = payloads_of("keep_prometheus", "cloudevents")
    assert files
    for path in files:
        assert all(isinstance(item, Refusal) for item in read_items(path.read_bytes())), path
