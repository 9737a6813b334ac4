"""Builders with defaults: events, records, and readers of what intake made of them."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from correlator.frames.control import Control
from correlator.frames.frame import SPECIAL, Extra, Frame, FrameKind
from correlator.intake.formats import Format
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.alert import Status
from correlator.model.instant import Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import Node, NodeKind, Topology

NOON = 1_772_366_400_000
"""2026-03-01T12:00:00Z."""

SHOP = Topology(
    nodes=(
        Node("checkout", NodeKind.SERVICE),
        Node("cart", NodeKind.SERVICE, domain="shop"),
        Node("payments", NodeKind.SERVICE, domain="money"),
    )
)


def only_rows(frames: Iterable[tuple[int, Frame]]) -> Frame:
    """Answer the one frame that has rows; the others only tell the time."""
    (frame,) = [frame for _, frame in frames if frame.counts]
    return frame


Seen = tuple[bytes, int, Instant, Instant]
"""One item of a frame: fingerprint, status, event time, effect."""


def an_event(*, of: str = "checkout/latency", at: Any = NOON, status: Any = "firing", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A native event of `service/alertname`; other keys as given, `labels` replaces the labels."""
    service, alertname = of.split("/")
    return {"at": at, "status": status, "labels": {"alertname": alertname, "service": service}, **more}


def an_alert(*, of: str = "checkout/latency", status: str = "firing", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """One alert of an Alertmanager message."""
    service, alertname = of.split("/")
    return {"status": status, "labels": {"alertname": alertname, "service": service}, "annotations": {}, **more}


def record(document: object) -> bytes:
    """A record's bytes."""
    return document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def an_intake(
    *,
    rules: RuleSet | None = None,
    topology: Topology = SHOP,
    is_recording: bool = True,
    form: Format = Format.AUTO,
    watermark: Instant | None = NOON,
    position: int = 0,
) -> Intake:
    """An intake whose clock stands at noon."""
    control = Control(rules if rules is not None else RuleSet(), topology)
    return Intake("raw/0", control, form=form, is_recording=is_recording, watermark=watermark, position=position)


def feed(
    intake: Intake, records: Iterable[object], *, first: int = 0, timestamps: Sequence[Instant] | None = None, batch: int | None = None
) -> list[IntakeOutput]:
    """Give records to an intake, in batches; answer its outputs."""
    values = [record(one) for one in records]
    size = batch or max(1, len(values))
    outputs = []
    for start in range(0, len(values), size):
        end = min(start + size, len(values))
        stamps = timestamps[start:end] if timestamps is not None else None
        outputs.append(intake.step(range(first + start, first + end), values[start:end], stamps))
    return outputs


def frames_of(outputs: Iterable[IntakeOutput]) -> list[tuple[int, Frame]]:
    """The frames with rows, each with its partition."""
    return [pair for output in outputs for pair in output.frames if pair[1].kind is FrameKind.ROWS]


def items_of(outputs: Sequence[IntakeOutput]) -> tuple[Counter[tuple[bytes, int]], list[Seen]]:
    """What rows stand for: how many items of each fingerprint and status, and each event time with its effect once."""
    counts: Counter[tuple[bytes, int]] = Counter()
    instants: dict[Seen, None] = {}
    for _, frame in frames_of(outputs):
        for row, (fingerprint, status, count) in enumerate(zip(frame.fingerprints, frame.statuses, frame.counts, strict=True)):
            extra = frame.extras.get(row, Extra())
            times = [frame.firsts[row], *extra.more]
            assert frame.lasts[row] == times[-1]
            assert count >= len(times)
            counts[fingerprint, status & ~SPECIAL] += count
            instants[fingerprint, status & ~SPECIAL, times[0], extra.effect if extra.effect is not None else times[0]] = None
            instants.update({(fingerprint, status & ~SPECIAL, at, at): None for at in extra.more})
    return counts, sorted(instants)


def labels_known(outputs: Iterable[IntakeOutput]) -> dict[bytes, dict[str, str]]:
    """The labels that the other side knows for each fingerprint; every first row of one must have brought them."""
    known: dict[bytes, dict[str, str]] = {}
    for _, frame in frames_of(outputs):
        for row, fingerprint in enumerate(frame.fingerprints):
            if row in frame.news:
                known[fingerprint] = msgspec.json.decode(frame.news[row].labels)
            assert fingerprint in known, "a row without labels of an alert never described"
    return known


def totals(outputs: Iterable[IntakeOutput]) -> tuple[int, int, int]:
    """Received, rejected and forwarded items."""
    counts = [output.counts for output in outputs]
    return (
        sum(count.received for count in counts),
        sum(sum(count.rejected.values()) for count in counts),
        sum(count.forwarded for count in counts),
    )


FIRING, RESOLVED = int(Status.FIRING), int(Status.RESOLVED)
