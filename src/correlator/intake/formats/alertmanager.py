"""Alertmanager's webhook message, version 4 (and the equal shape of 3): one message, many alerts.

Source: prometheus/alertmanager, notify/webhook and template.Data.
"""

from typing import Any

from correlator.intake.formats.fields import annotations_of, instant_of, labels_of, object_of, text_of
from correlator.intake.formats.native import status_of
from correlator.model.alert import Status
from correlator.model.event import Event, Flag, Origin


def read_alertmanager(alert: object) -> Event:
    """Read one alert of a message. It names no time at which it was said, so `at` is None. Raises `RefusedError`."""
    item: dict[str, Any] = object_of(alert, "alert")
    labels = labels_of(item.get("labels"))
    status = status_of(item.get("status"))
    starts_at, flags = instant_of(item.get("startsAt"), "startsAt")
    ends_at, end_flags = instant_of(item.get("endsAt"), "endsAt")
    received_at, received_flags = instant_of(item.get("receivedAt"), "receivedAt")
    flags |= end_flags | received_flags
    is_backwards = status is Status.RESOLVED and starts_at is not None and ends_at is not None and ends_at < starts_at
    return Event(
        status=status,
        labels=labels,
        annotations=annotations_of(item.get("annotations")),
        starts_at=starts_at,
        ends_at=ends_at,
        expires=ends_at if status is Status.FIRING else None,
        received_at=received_at,
        generator_url=text_of(item.get("generatorURL"), "generatorURL"),
        id=None,
        origin=Origin.ALERTMANAGER,
        flags=flags | (Flag.RESOLVED_BEFORE_FIRING if is_backwards else Flag.NONE),
    )
