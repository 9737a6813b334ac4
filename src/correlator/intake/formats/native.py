"""The native format: an Alertmanager alert plus the time it was said (`docs/schemas/event.schema.json`)."""

from typing import Any, Final

from correlator.intake.formats.fields import RefusedError, annotations_of, instant_of, labels_of, number_of, text_of
from correlator.model.alert import Status
from correlator.model.event import Event, Flag, Origin, Rejection

STATUS_BY_WORD: Final = {"firing": Status.FIRING, "resolved": Status.RESOLVED}


def read_native(item: dict[str, Any]) -> Event:
    """Read one native event; unknown keys are ignored. Raises `RefusedError`."""
    labels = labels_of(item.get("labels"))
    status = status_of(item.get("status"))
    at, flags = instant_of(item.get("at"), "at")
    starts_at, start_flags = instant_of(item.get("startsAt"), "startsAt")
    ends_at, end_flags = instant_of(item.get("endsAt"), "endsAt")
    received_at, received_flags = instant_of(item.get("receivedAt"), "receivedAt")
    flags |= start_flags | end_flags | received_flags
    ended = ends_at if ends_at is not None else at
    if status is Status.RESOLVED and starts_at is not None and ended is not None and ended < starts_at:
        flags |= Flag.RESOLVED_BEFORE_FIRING
    return Event(
        status=status,
        labels=labels,
        at=at,
        annotations=annotations_of(item.get("annotations")),
        starts_at=starts_at,
        ends_at=ends_at,
        received_at=received_at,
        value=number_of(item.get("value"), "value"),
        source=text_of(item.get("source"), "source"),
        id=text_of(item.get("id"), "id"),
        generator_url=text_of(item.get("generatorURL"), "generatorURL"),
        origin=Origin.NATIVE,
        flags=flags,
    )


def status_of(value: object) -> Status:
    """Read `firing` or `resolved`. Raises `RefusedError`."""
    if value is None:
        raise RefusedError(Rejection.NO_STATUS, "the event has no status")
    status = STATUS_BY_WORD.get(value) if isinstance(value, str) else None
    if status is None:
        raise RefusedError(Rejection.WRONG_TYPE, f"status is {str(value)[:64]!r}, neither firing nor resolved")
    return status
