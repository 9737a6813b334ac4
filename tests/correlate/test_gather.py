"""Incidents that began before their cause alerted become one with it while they are pending."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.model.incident import IncidentDocument, IncidentState, Why
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

from tests.builders import Outcome, a_control, an_event, at, resolved, run


def opened(outcome: Outcome) -> list[IncidentDocument]:
    return [document for document in outcome.incidents.values() if document.state is not IncidentState.WITHDRAWN]


def entities(document: IncidentDocument) -> set[str]:
    return {member.entity or "" for member in document.members}


def root_of(document: IncidentDocument) -> str:
    return document.root_causes[0].entity


@pytest.mark.parametrize("order", list(permutations(["db", "cart", "payments", "web"])))
def test_one_fault_is_one_incident_in_whatever_order_its_services_alert(order: tuple[str, ...]) -> None:
    outcome = run([an_event(f"{name}/Down", f"{4 * rank}s") for rank, name in enumerate(order)], until="5m")
    (incident,) = opened(outcome)
    assert entities(incident) == {"db", "cart", "payments", "web"}
    assert incident.counts["firing"] == incident.counts["alerts"] == len(incident.members) == incident.counts["entities"] == 4
    assert incident.opened == "2026-01-05T00:00:00.000Z"


def test_the_cause_is_the_root_though_it_alerts_last() -> None:
    (incident,) = opened(run([an_event("cart/Slow"), an_event("payments/Slow", "2s"), an_event("db/Down", "8s")], until="5m"))
    assert root_of(incident) == "db"


def test_many_callers_and_their_root_in_one_millisecond_are_one_incident() -> None:
    callers = [f"caller{number:03}" for number in range(150)]
    nodes = tuple([Node(name, NodeKind.SERVICE) for name in ("base", *callers)])
    control = a_control(topology=Topology(nodes, tuple([Edge(name, "base", EdgeKind.CALLS) for name in callers])))
    (incident,) = opened(run([an_event(f"{name}/Slow") for name in (*callers, "base")], control, until="5m"))
    assert incident.counts["entities"] == 151


def test_what_was_absorbed_is_withdrawn_and_empty_and_each_alert_says_where_it_went() -> None:
    outcome = run([an_event("cart/Slow"), an_event("payments/Slow", "2s"), an_event("db/Down", "8s")], until="5m")
    (kept,) = opened(outcome)
    (gone,) = [document for document in outcome.incidents.values() if document.state is IncidentState.WITHDRAWN]
    assert (gone.members, gone.counts["alerts"], gone.counts["firing"]) == ([], 0, 0)
    assert gone.why[-1] is Why.EMPTIED
    assert gone.title == "nothing is left of it"
    moved = [decision for decision in outcome.decisions if decision.why is Why.MOVED]
    assert {decision.incident for decision in moved} == {kept.id}
    assert {stretch.incident for stretch in outcome.open_stretches} == {kept.id}


def test_an_incident_that_opened_stays_as_it_is() -> None:
    outcome = run([an_event("cart/Slow"), an_event("payments/Slow", "40s"), an_event("db/Down", "50s")], until="5m")
    assert sorted(map(len, map(entities, opened(outcome)))) == [1, 2]


def test_two_faults_stay_two_though_both_are_pending() -> None:
    outcome = run([an_event("mail/Down"), an_event("cart/Slow", "1s"), an_event("db/Down", "5s")], until="5m")
    assert sorted(map(sorted, map(entities, opened(outcome)))) == [["cart", "db"], ["mail"]]


@given(st.permutations(["db", "cart", "payments", "web"]), st.lists(st.integers(0, 9_999), min_size=4, max_size=4), st.integers(1, 4))
def test_what_ended_or_came_back_before_its_cause_is_counted_once(order: list[str], apart: list[int], ends: int) -> None:
    moments = [at("0") + sum(apart[: rank + 1]) for rank in range(4)]
    events = [an_event(f"{name}/Down", moment) for name, moment in zip(order, moments, strict=True)]
    events += [resolved(f"{name}/Down", moments[-1] + 500 + rank) for rank, name in enumerate(order[:ends])]
    outcome = run(events, until="40m")
    for document in opened(outcome):
        assert document.counts["alerts"] == len(document.members)
        assert document.counts["firing"] == sum(member.state == "firing" for member in document.members)
    assert sum(document.counts["alerts"] for document in outcome.incidents.values()) == 4
