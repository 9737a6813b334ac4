"""Explanations out of documents and decisions, as laws over stories that are made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from correlator.correlate.machine import Machine
from correlator.explain.case import Case
from correlator.explain.incident import explain_incident
from correlator.explain.reasons import Before, because
from correlator.explain.shelf import Shelf
from correlator.model.explanation import IncidentTold
from correlator.model.incident import Decision, IncidentDocument, Why

from tests.builders import Outcome, a_control, a_tick, an_event, follow, frames_of, resolved, run

CONTROL = a_control()
T0_TEXT = "2026-01-05T00:00:00.000Z"


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


@given(STORIES)
def test_a_replay_decides_what_the_service_decides(story: list[Line]) -> None:
    events = [(an_event if fires else resolved)(f"{service}/{name}", f"{second}s") for second, service, name, fires in sorted(story)]
    frames = [*frames_of([[event] for event in events], CONTROL), a_tick("2h")]
    service, replay = follow(Machine(CONTROL), frames), follow(Machine(CONTROL, guesses=False, drafts=False), frames)
    assert [replace(one, incident=None) for one in service.decisions] == [replace(one, incident=None) for one in replay.decisions]


def test_a_guess_is_explained_as_one() -> None:
    outcome = follow(Machine(CONTROL), frames_of([[an_event()]], CONTROL)[:1])
    (document,) = outcome.incidents.values()
    told = explained(outcome, document)
    assert [member.because for member in told.members] == ["listed before it is judged, so that people see it at once"]
    assert "Pending since 00:00:00Z: it opens, and pages, if it lasts." in told.answer


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (["cart", "db"], "joined: cart calls db, which had alerted 20s earlier; only 2 times likelier than a fault of its own"),
        (["web", "cart", "db"], "joined: web calls cart, which calls db, which had alerted 20s earlier; only 2 times likelier than"),
        (["db", "cart"], "joined: cart had alerted 20s earlier, and cart calls db; only 2 times likelier than a fault of its own"),
        (["db"], "joined: db had alerted 20s earlier; only 2 times likelier"),
        (["?lost"], "joined: lost had alerted 20s earlier; only 2 times likelier"),
        (
            ["mail", "db"],
            "joined: db had alerted 20s earlier, and the time between fits; the topology names no dependency between it and mail",
        ),
        ([], "joined; what it was held to go with is not recorded"),
    ],
)
def test_a_path_is_told_as_what_depends_on_what(path: list[str], said: str) -> None:
    before = Before(onset={("i", name): T0_TEXT for name in ("db", "cart")}, last={("i", name): T0_TEXT for name in ("db", "lost")})
    decision = Decision("2026-01-05T00:00:20.000Z", Why.JOINED, "", "f", "i", path=path, score=5e-5)
    assert because(decision, Case([], {}, {}, CONTROL), before).startswith(said)


def test_every_reason_has_a_sentence() -> None:
    for why in Why:
        for decision in (Decision("", why, "", "f", "i"), Decision("", why, "")):
            assert because(decision, Case([], {}, {}), Before())
