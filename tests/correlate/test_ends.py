"""How time ends: behind a recording nothing stays pending, whatever was published before it."""

import pytest
from hypothesis import given

from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.frames.frame import Frame, FrameKind
from correlator.model.incident import IncidentState, Why
from correlator.model.instant import parse_duration
from correlator.model.rule import AlertRule, Matcher, MatchOperator

from tests.builders import a_control, an_event, at, follow, frames_of, run
from tests.laws.streams import Item, controls, streams


def an_end(until: str) -> Frame:
    return Frame(FrameKind.END, "raw-0", at(until), "0")


def test_what_is_published_behind_an_end_opens_with_the_next_end() -> None:
    control = a_control()
    machine = Machine(control)
    first = follow(machine, [*frames_of([[an_event("db/Down")]], control), an_end("40s")])
    second = follow(machine, [*frames_of([[an_event("cache/Slow", said="5s")]], control), an_end("45s")])
    assert [document.state for document in first.incidents.values()] == [IncidentState.OPEN]
    assert IncidentState.PENDING not in {document.state for document in second.incidents.values()}
    assert machine.waiting == 0


def test_the_document_of_a_closed_incident_keeps_the_stretch_it_was_about() -> None:
    control = a_control()
    story = [("firing", "0"), ("resolved", "60s"), ("firing", "1800s"), ("resolved", "1860s")]
    events = [an_event("db/Down", said=said, status=status) for status, said in story]
    outcome = follow(Machine(control), [*frames_of([events], control), an_end("2h")])
    shown = [[(member.starts_at[11:19], (member.ends_at or "")[11:19]) for member in one.members] for one in outcome.incidents.values()]
    assert shown == [[("00:00:00", "00:01:00")], [("00:30:00", "00:31:00")]]


@given(streams(), controls)
def test_behind_the_end_of_a_recording_no_incident_is_pending_and_no_turn_waits(items: list[Item], control: Control) -> None:
    machine = Machine(control)
    outcome = follow(machine, frames_of([[item.written() for item in items]], control))
    assert IncidentState.PENDING not in {document.state for document in outcome.incidents.values()}
    assert machine.waiting == 0


@pytest.mark.parametrize(("hold", "reason"), [("29s", None), ("10m", Why.HELD)])
def test_an_alert_whose_hold_goes_on_behind_the_end_stays_held(hold: str, reason: Why | None) -> None:
    rule = AlertRule("hold", (Matcher("alertname", MatchOperator.EQUAL, "Down"),), hold=parse_duration(hold))
    outcome = run([an_event("db/Down")], a_control(rule))
    assert [stretch.reason for stretch in outcome.open_stretches] == [reason]
    assert [document.state for document in outcome.incidents.values()] == [IncidentState.OPEN] * (reason is None)
