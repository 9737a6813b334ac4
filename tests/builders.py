"""What tests are made of: events, controls and frames with defaults, and the whole core as one call."""

from collections.abc import Iterable, Sequence

import msgspec

from correlator.correlate.machine import Machine
from correlator.correlate.render import Stretch
from correlator.frames.codec import decode_frame, encode_frame
from correlator.frames.control import Control
from correlator.frames.frame import Frame, FrameKind
from correlator.intake.pipeline import Intake
from correlator.model.incident import Decision, IncidentDocument
from correlator.model.instant import Instant, parse_duration
from correlator.model.rule import AlertRule, RuleSet
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

T0: Instant = 1_767_571_200_000
"""Where every story begins: 2026-01-05T00:00:00Z."""

SHOP = Topology(
    nodes=tuple(
        Node(name, NodeKind.SERVICE, owner=f"{name}-team", tier=1 if name == "web" else 2)
        for name in ("web", "cart", "payments", "db", "mail")
    ),
    edges=tuple(
        Edge(source, target, EdgeKind.CALLS)
        for source, target in (("web", "cart"), ("web", "payments"), ("cart", "db"), ("payments", "db"))
    ),
)
"""web calls cart and payments, both call db; mail stands alone."""


def at(text: str) -> Instant:
    """Answer an instant by its distance from `T0`: `10s`, `1h30m`, `-5m`."""
    return T0 - parse_duration(text[1:]) if text.startswith("-") else T0 + parse_duration(text)


def an_event(
    of: str = "db/Down",
    said: str | Instant = "0",
    *,
    status: str = "firing",
    received: str | Instant | None = None,
    labels: dict[str, str] | None = None,
    **more: object,
) -> bytes:
    """Write one native event; `of` names service and alert, `said` and `received` are distances from `T0` or instants."""
    service, _, name = of.partition("/")
    event: dict[str, object] = {
        "at": at(said) if isinstance(said, str) else said,
        "status": status,
        "labels": {"alertname": name, "service": service, "severity": "critical", **(labels or {})},
        **more,
    }
    if received is not None:
        event["receivedAt"] = at(received) if isinstance(received, str) else received
    return msgspec.json.encode(event)


def resolved(of: str = "db/Down", said: str | Instant = "0", **more: str) -> bytes:
    """Write one native event that says an alert is over."""
    return an_event(of, said, status="resolved", received=more.get("received"))


def a_control(*rules: AlertRule, rule_set: RuleSet | None = None, topology: Topology = SHOP) -> Control:
    """Answer rules and topology as a control frame carries them."""
    return Control(msgspec.structs.replace(rule_set or RuleSet(), alerts=rules), topology)


def over_the_log(frame: Frame) -> Frame:
    """Answer what comes out of the log when a frame was put in."""
    return decode_frame(encode_frame(frame))


def frames_of(batches: Iterable[Sequence[bytes]], control: Control, *, source: str = "raw-0") -> list[Frame]:
    """Take batches of one recording through intake and the codec, its end too."""
    intake, offset, frames = Intake(source, control, is_recording=True, watermark=T0), 0, []
    for batch in batches:
        output = intake.step(range(offset, offset + len(batch)), list(batch))
        offset += len(batch)
        frames += output.frames
    frames += intake.end().frames
    return [over_the_log(frame) for _, frame in frames]


def a_tick(until: str | Instant, *, source: str = "raw-0") -> Frame:
    """Answer a tick: a source has read all up to an instant."""
    return Frame(FrameKind.TICK, source, at(until) if isinstance(until, str) else until, "")


class Outcome(msgspec.Struct):
    """What a run published: the last document of every incident, all versions in order, stretches, decisions."""

    incidents: dict[str, IncidentDocument] = {}
    revisions: list[IncidentDocument] = []
    stretches: list[Stretch] = []
    open_stretches: list[Stretch] = []
    decisions: list[Decision] = []


def follow(machine: Machine, frames: Iterable[Frame], outcome: Outcome | None = None) -> Outcome:
    """Step a machine through frames; answer all it published."""
    outcome = outcome if outcome is not None else Outcome()
    for frame in frames:
        effects = machine.step(frame)
        for identifier, document in effects.incidents.items():
            if document is not None:
                outcome.incidents[identifier] = document
                outcome.revisions.append(document)
        outcome.stretches += effects.stretches
        outcome.decisions += effects.decisions
    outcome.open_stretches = machine.open_stretches
    return outcome


def run(events: Sequence[bytes], control: Control | None = None, *, until: str | None = None, guesses: bool = True) -> Outcome:
    """Take events through the whole core in one batch, and time on to `until`."""
    control = control if control is not None else a_control()
    frames = frames_of([events], control)
    if until is not None:
        frames.append(a_tick(until))
    return follow(Machine(control, guesses=guesses), frames)
