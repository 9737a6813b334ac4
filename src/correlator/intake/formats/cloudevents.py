"""CloudEvents 1.0 in JSON: an envelope around any other format; its time, id and source fill what the inside leaves open.

Source: cloudevents/spec, `formats/json-format.md` 1.0.2.
"""

import binascii
from base64 import b64decode
from typing import Any

import msgspec

from correlator.intake.decode import decode_record
from correlator.intake.formats.fields import RefusedError, instant_of, object_of, text_of
from correlator.model.event import Event, Flag, Refusal, Rejection
from correlator.model.instant import Instant


def unwrap(envelope: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """Answer the document inside an envelope. Raises `RefusedError` when there is none that could hold events."""
    version = envelope.get("specversion")
    if version != "1.0":
        raise RefusedError(Rejection.UNKNOWN_FORMAT, f"CloudEvents version {str(version)[:32]!r}; only 1.0 is read")
    if "data" in envelope:
        return _parsed(envelope["data"]) if isinstance(envelope["data"], str) else object_or_list(envelope["data"])
    if isinstance(envelope.get("data_base64"), str):
        return _parsed(_decoded(envelope["data_base64"]))
    raise RefusedError(Rejection.NO_LABELS, "the CloudEvent carries no data")


def complete(items: list[Event | Refusal], envelope: dict[str, Any]) -> list[Event | Refusal]:
    """Fill time, id and source from the envelope into events that have none. Raises `RefusedError`.

    The id goes to a lone event only: it names the envelope, and of several events each is another.
    """
    at, flags = instant_of(envelope.get("time"), "time")
    identifier, source = text_of(envelope.get("id"), "id"), text_of(envelope.get("source"), "source")
    if len(items) > 1:
        identifier = None
    return [item if isinstance(item, Refusal) else _completed(item, at, flags=flags, id=identifier, source=source) for item in items]


def _completed(event: Event, at: Instant | None, *, flags: Flag, id: str | None, source: str | None) -> Event:
    return msgspec.structs.replace(
        event,
        at=event.at if event.at is not None else at,
        id=event.id or id,
        source=event.source or source,
        flags=event.flags | (flags if event.at is None else Flag.NONE),
    )


def object_or_list(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Answer a value that may hold events. Raises `RefusedError`."""
    return value if isinstance(value, list) else object_of(value, "data")


def _parsed(body: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    document = decode_record(body.encode() if isinstance(body, str) else body)
    if isinstance(document, Refusal):
        raise RefusedError(document.reason, f"data: {document.detail}")
    return object_or_list(document)


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(Rejection.UNPARSABLE, f"data_base64: {error}") from error
