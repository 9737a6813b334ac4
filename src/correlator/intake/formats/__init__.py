"""Formats: the bytes of one record to the events in it, told apart by content or as the topic says.

In: bytes. Out: one `Event` or `Refusal` per item, in order. Remembers nothing.
"""

from typing import Any, Final

import msgspec

from correlator.intake.decode import decode_record
from correlator.intake.formats import cloudevents
from correlator.intake.formats.alertmanager import read_alertmanager
from correlator.intake.formats.fields import RefusedError
from correlator.intake.formats.native import read_native
from correlator.model.event import Event, Refusal, Rejection
from correlator.model.word import Word

MAX_ITEMS: Final = 100_000
"""Items of one record; more are refused as a whole (4 MiB cannot hold as many real alerts)."""
_JSON_NAMES: Final = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}


class Format(Word):
    """What a topic may say its records are; `auto` tells them apart by content."""

    AUTO = "auto"
    NATIVE = "native"
    CLOUDEVENTS = "cloudevents"
    ALERTMANAGER = "alertmanager"


def read_items(body: bytes, form: Format = Format.AUTO) -> list[Event | Refusal]:
    """Read all items of a record. A record that cannot be parsed is one refused item; any bytes give an answer."""
    document = decode_record(body)
    if isinstance(document, Refusal):
        return [document]
    try:
        return _numbered(_read(document, form))
    except RefusedError as error:
        return [error.refusal]


def detect(document: dict[str, Any]) -> Format:
    """Tell a document's format by its keys."""
    if "specversion" in document:
        return Format.CLOUDEVENTS
    if isinstance(document.get("alerts"), list) and "labels" not in document:
        return Format.ALERTMANAGER
    return Format.NATIVE


def format_of(body: bytes, form: Format = Format.AUTO) -> Format | None:
    """Answer as what a record is read; None where nothing tells, or the items of a list differ."""
    if form is not Format.AUTO:
        return form
    document = decode_record(body)
    items = document if isinstance(document, list) else [document]
    found = [detect(item) if isinstance(item, dict) else None for item in items]
    return found[0] if found and all(each is found[0] for each in found) else None


def _read(document: object, form: Format) -> list[Event | Refusal]:
    if isinstance(document, list):
        return _all_of(document, lambda item: _read(item, form))
    if not isinstance(document, dict):
        raise RefusedError(Rejection.WRONG_TYPE, f"a JSON {_JSON_NAMES[type(document)]} is no event")
    actual = detect(document) if form is Format.AUTO else form
    if actual is Format.CLOUDEVENTS:
        return _read_envelope(document)
    if actual is Format.ALERTMANAGER:
        return _read_message(document)
    return [read_native(document)]


def _read_envelope(envelope: dict[str, Any]) -> list[Event | Refusal]:
    inside = cloudevents.unwrap(envelope)
    if isinstance(inside, dict) and "specversion" in inside:
        raise RefusedError(Rejection.UNKNOWN_FORMAT, "a CloudEvent inside a CloudEvent")
    return cloudevents.complete(_read(inside, Format.AUTO), envelope)


def _read_message(message: dict[str, Any]) -> list[Event | Refusal]:
    alerts = message.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        raise RefusedError(Rejection.NO_ALERTS, "the message has no alerts")
    return _all_of(alerts, lambda alert: [read_alertmanager(alert)])


def _all_of(items: list[Any], read: Any) -> list[Event | Refusal]:  # noqa: ANN401 - a reader of one item
    if not items or len(items) > MAX_ITEMS:
        reason = Rejection.TOO_LARGE if items else Rejection.EMPTY
        raise RefusedError(reason, f"a list of {len(items)} items; 1 to {MAX_ITEMS} are read")
    events: list[Event | Refusal] = []
    for item in items:
        try:
            events.extend(read(item))
        except RefusedError as error:
            events.append(error.refusal)
    return events


def _numbered(items: list[Event | Refusal]) -> list[Event | Refusal]:
    return [msgspec.structs.replace(item, item=number) if isinstance(item, Refusal) else item for number, item in enumerate(items)]
