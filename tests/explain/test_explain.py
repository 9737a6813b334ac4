"""Explanations out of documents and decisions, as laws over stories that are made up."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.machine import Machine
from correlator.explain.case import Case
from correlator.explain.incident import explain_incident
from correlator.explain.shelf import Shelf
from correlator.model.explanation import IncidentTold
from correlator.model.incident import IncidentDocument

from tests.builders import Outcome, a_control, an_event, follow, frames_of, resolved, run

CONTROL = a_control()


def explained(outcome: Outcome, document: IncidentDocument) -> IncidentTold:
    """Explain one incident of an outcome."""
    decisions = Shelf(outcome.decisions).of_incident(document.id)
    return explain_incident(document, Case(decisions, {}, {member.fingerprint: member for member in document.members}, CONTROL))


Line = tuple[int, str, str, bool]
SERVICES = st.sampled_from(["web", "cart", "payments", "db", "mail", "unheard"])
STORIES = st.lists(st.tuples(st.integers(0, 2_400), SERVICES, st.sampled_from("AB"), st.booleans()), min_size=1, max_size=25)


@given(STORIES)
def test_every_member_is_explained_exactly_once_whatever_happens(story: list[Line]) -> None:
    events = [(an_event if fires else resolved)(f"{service}/{name}", f"{second}s") for second, service, name, fires in sorted(story)]
    outcome = run(events, CONTROL, until="2h")
    for document in outcome.incidents.values():
        told, counts = explained(outcome, document), document.counts
        fingerprints = {member.fingerprint for member in told.members}
        assert len(told.members) == len(fingerprints) == counts["alerts"] + counts["pending"]
        assert {member.fingerprint for member in document.members} <= fingerprints
        assert all(member.because for member in told.members)
        assert told.answer


def test_a_guess_is_explained_as_one() -> None:
    outcome = follow(Machine(CONTROL), frames_of([[an_event()]], CONTROL)[:1])
    (document,) = outcome.incidents.values()
    told = explained(outcome, document)
    assert [member.because for member in told.members] == ["listed before it is judged, so that people see it at once"]
    assert "Pending since 00:00:00Z: it opens, and pages, if it lasts." in told.answer


def test_a_cause_that_alerts_after_its_effect_is_linked_the_other_way_round() -> None:
    outcome = run([an_event("cart/Slow"), an_event("web/Slow", "31s"), an_event("db/Down", "33s")], CONTROL, until="5m")
    (document,) = outcome.incidents.values()
    assert explained(outcome, document).members[2].because.startswith("joined: cart had alerted 33s earlier, and cart calls db; ")
