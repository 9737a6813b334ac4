"""Inspect: the verdict of intake on each item of a file, one by one, with what it would hand on."""

from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from correlator.intake.arrival import ArrivalClock
from correlator.intake.formats import Format, read_items
from correlator.intake.identify import fingerprint_of
from correlator.intake.pipeline import AHEAD_MOST, BEHIND_MOST
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Event, Flag, Refusal
from correlator.model.instant import Instant
from correlator.model.rule import Identity
from correlator.model.topology import ENTITY_LABELS

_REMEMBERED_MOST: Final = 250_000
"""Alerts and ids together; beyond, all are forgotten, and a contradiction to one of them is not seen."""


class Position(msgspec.Struct, frozen=True):
    """Where an item lies: the file, the line from 1 where its record begins, and its place in the record from 0."""

    file: str
    line: int
    item: int


class Item(msgspec.Struct, frozen=True):
    """One line of `correlator parse`."""

    verdict: str
    reason: str | None
    detail: str | None
    flags: list[str]
    position: Position
    alert: dict[str, object] | None


class _Read(msgspec.Struct, frozen=True):
    event: Event | Refusal
    position: Position


class Inspector:
    """Inspects the items of one file in order, with intake's own clock; remembers ids and alerts seen, to flag contradictions."""

    def __init__(self, file: str, form: Format) -> None:
        self._file = file
        self._form = form
        self._clock: ArrivalClock[list[_Read]] = ArrivalClock()
        self._content_by_id: dict[str, int] = {}
        self._fired: dict[bytes, None] = {}

    def inspect(self, value: bytes, line: int, *, item: int = 0) -> list[Item]:
        """Take a record; answer the items decided by it, which may be earlier ones: a time far ahead waits for witnesses.

        `item` is the record's own place where it is one of the items of a document.
        """
        read = [_Read(event, Position(self._file, line, number)) for number, event in enumerate(read_items(value, self._form), item)]
        claims = [claim for one in read if (claim := _claim_of(one.event)) is not None]
        if not claims and not self._clock.is_in_doubt:
            return self._decided([(self._clock.now or 0, read)])
        return self._decided(self._clock.offer(max(claims, default=None), read))

    def end(self) -> list[Item]:
        """Answer the items that still waited."""
        return self._decided(self._clock.end())

    def _decided(self, decided: list[tuple[Instant, list[_Read]]]) -> list[Item]:
        return [self._item(one, now) for now, read in decided for one in read]

    def _item(self, read: _Read, now: Instant) -> Item:
        event = read.event
        if isinstance(event, Refusal):
            return Item("rejected", event.reason.value, event.detail, [], read.position, None)
        fingerprint = fingerprint_of(event.labels, Identity())
        at = said_at(event)
        flags = event.flags | self._flags(event, fingerprint, at)
        if at is not None and not -AHEAD_MOST <= now - at <= BEHIND_MOST:
            flags |= Flag.IMPLAUSIBLE_TIME
        return Item("accepted", None, None, [str(flag.name).lower() for flag in flags], read.position, _alert(event, fingerprint, at))

    def _flags(self, event: Event, fingerprint: bytes, at: Instant | None) -> Flag:
        is_named = any(label in event.labels for label in (*ENTITY_LABELS, "client", "server"))
        flags = Flag.NONE if is_named else Flag.MISSING_SERVICE
        if len(self._fired) + len(self._content_by_id) > _REMEMBERED_MOST:
            self._fired, self._content_by_id = {}, {}
        if not event.status:
            self._fired[fingerprint] = None
        elif fingerprint not in self._fired and event.starts_at is None:
            flags |= Flag.RESOLVED_BEFORE_FIRING
        content = xxh3_64_intdigest(msgspec.json.encode((event.status, at, event.labels)))
        if event.id is not None and self._content_by_id.setdefault(event.id, content) != content:
            flags |= Flag.SAME_ID_OTHER_CONTENT
        return flags


def said_at(event: Event) -> Instant | None:
    """Answer when an event of a file was said: its own time, else its end when it is over, else its start."""
    if event.at is not None:
        return event.at
    return event.ends_at if event.status and event.ends_at is not None else event.starts_at


def _claim_of(event: Event | Refusal) -> Instant | None:
    if isinstance(event, Refusal):
        return None
    return event.received_at if event.received_at is not None else said_at(event)


def _alert(event: Event, fingerprint: bytes, at: Instant | None) -> dict[str, object]:
    return {
        "fingerprint": fingerprint.hex(),
        "status": "resolved" if event.status else "firing",
        "at": _time(at),
        "labels": event.labels,
        "annotations": event.annotations,
        "service": event.labels.get("service"),
        "severity": event.labels.get("severity"),
        "startsAt": _time(event.starts_at),
        "endsAt": _time(event.ends_at),
        "value": event.value,
        "source": event.source,
        "id": event.id,
        "generatorURL": event.generator_url,
    }


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else format_rfc3339(instant)
