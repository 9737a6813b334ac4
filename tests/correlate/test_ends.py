"""How time ends: behind a recording nothing stays pending, whatever was published before it."""

from correlator.correlate.machine import Machine
from correlator.frames.frame import Frame, FrameKind
from correlator.model.incident import IncidentState

from tests.builders import a_control, an_event, at, follow, frames_of


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
