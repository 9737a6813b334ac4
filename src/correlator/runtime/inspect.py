"""Inspect: the verdict of intake on each item of a file, one by one, with what it would hand on.

Intake itself is asked for everything: how bytes are read, what time holds, what is odd. One flag is a forecast of what correlate will
find, that an alert is resolved which has not fired before; in a file whose items lie in the order of their times it is no other.
"""

from collections import Counter
from typing import Final

import msgspec

from correlator.intake.arrival import ArrivalClock
from correlator.intake.formats import Format, format_of, read_items
from correlator.intake.formats.fields import seems_seconds
from correlator.intake.identify import fingerprint_of
from correlator.intake.normalise import Judged, Normaliser, Statement, judge, service_flag
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Event, Flag, Refusal
from correlator.model.instant import Instant
from correlator.model.rule import RuleSet
from correlator.runtime.files import Place, Records

_FIRED_MOST: Final = 250_000
"""Alerts known to have fired; with one more all are forgotten, and their next end may be flagged."""
_RULES: Final = RuleSet()


class Item(msgspec.Struct, frozen=True):
    """One line of `correlator parse`. `detail` says why it was rejected, or what is odd about its time.

    `position` is where the item's record begins, and its place in it; `format` as what the record was read, None where nothing tells.
    """

    verdict: str
    reason: str | None
    detail: str | None
    flags: list[str]
    position: Place
    alert: dict[str, object] | None
    format: str | None


class _Read(msgspec.Struct, frozen=True):
    event: Event | Refusal
    statement: Statement | None
    place: Place
    spot: tuple[int, int] | None
    form: Format | None


class Inspector:
    """Inspects the items of one file in order, as the intake of a recording without rules or topology would; counts the verdicts.

    `rejected` counts items by reason.
    """

    def __init__(self, form: Format) -> None:
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self._form = form
        self._normaliser = Normaliser(is_recording=True)
        self._clock: ArrivalClock[list[_Read]] = ArrivalClock()
        self._fired: dict[bytes, None] = {}

    def inspect(self, records: Records, number: int) -> list[Item]:
        """Take a batch's record; answer the items decided by it, which may be earlier ones: a time far ahead waits for witnesses."""
        value = records.values[number]
        form = format_of(value, self._form)
        read = [
            _Read(event, self._statement(event), records.place_of(number, item), _spot_of(event, records, number, item=item), form)
            for item, event in enumerate(read_items(value, self._form))
        ]
        claims = [one.statement.claim for one in read if one.statement is not None]
        return self._decided(self._clock.take(claims, read, size=len(value)))

    def end(self) -> list[Item]:
        """Answer the items that still waited."""
        return self._decided(self._clock.end())

    def _statement(self, event: Event | Refusal) -> Statement | None:
        return None if isinstance(event, Refusal) else self._normaliser.statement(event, None)

    def _decided(self, decided: list[tuple[Instant, list[_Read]]]) -> list[Item]:
        return [self._item(one, now) for now, read in decided for one in read]

    def _item(self, read: _Read, now: Instant) -> Item:
        event, statement = read.event, read.statement
        if isinstance(event, Refusal) or statement is None:
            assert isinstance(event, Refusal), "what is not refused is a statement"
            self.rejected[event.reason.value] += 1
            return Item("rejected", event.reason.value, _located(event.detail, read.spot), [], read.place, None, read.form)
        self.accepted += 1
        fingerprint = fingerprint_of(event.labels, _RULES.identity)
        judged = judge(statement, now, _RULES.time.lateness)
        # Without a topology no name is known, so that only those who name nothing can be told.
        flags = Flag(judged.flags) | (service_flag(event.labels, None) & Flag.MISSING_SERVICE) | self._flag_of_end(event, fingerprint)
        said = statement.at if statement.at is not None else judged.at
        words = [str(flag.name).lower() for flag in flags]
        return Item(
            "accepted", None, _odd_time(event, flags, said, judged=judged), words, read.place, _alert(event, fingerprint, said), read.form
        )

    def _flag_of_end(self, event: Event, fingerprint: bytes) -> Flag:
        """Foresee that correlate will not have seen an alert fire that is resolved here."""
        if event.status:
            return Flag.NONE if fingerprint in self._fired else Flag.RESOLVED_BEFORE_FIRING
        if len(self._fired) >= _FIRED_MOST:
            self._fired = {}
        self._fired[fingerprint] = None
        return Flag.NONE


def _spot_of(event: Event | Refusal, records: Records, number: int, *, item: int) -> tuple[int, int] | None:
    return records.spot_of(number, item) if isinstance(event, Refusal) else None


def _located(detail: str, spot: tuple[int, int] | None) -> str:
    return detail if spot is None else f"line {spot[0]}, column {spot[1]}: {detail}"


def _odd_time(event: Event, flags: Flag, said: Instant, *, judged: Judged) -> str | None:
    """Say in words what is odd about an item's times, None when nothing is: units are suspected aloud, and never guessed."""
    words = []
    if flags & Flag.TIME_UNIT:
        named = {"at": event.at, "startsAt": event.starts_at, "endsAt": event.ends_at, "receivedAt": event.received_at}
        small = [(name, number) for name, number in named.items() if number is not None and seems_seconds(number)]
        words = [f"{name} {number} is {format_rfc3339(number)} as milliseconds; it looks like seconds" for name, number in small]
        words = words or ["a time is so large that it was read as micro- or nanoseconds"]
    if flags & Flag.NO_TIME:
        words.append(f"names no time (`at`); dated {format_rfc3339(judged.at)} by the events before it")
    if said != judged.at:
        words.append(f"{format_rfc3339(said)} is too far from its arrival {format_rfc3339(judged.at)}, which takes its place")
    if event.expires is not None and event.expires > judged.at and judged.expires is None:
        words.append(f"endsAt {format_rfc3339(event.expires)} is too far ahead of its arrival, and ignored")
    return "; ".join(words) or None


def _alert(event: Event, fingerprint: bytes, at: Instant) -> dict[str, object]:
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
