"""Alerts of nothing that the topology knows: an incident, a title, a reason, and no invented root cause."""

from correlator.correlate.diagnose import Cause
from correlator.correlate.render import incident_document
from correlator.model.incident import IncidentState, Why
from correlator.state.records import Hit, Incident

from tests.builders import SHOP, an_event, at, run


def test_an_alert_without_a_service_is_no_root_cause_and_is_the_first_member() -> None:
    outcome = run([an_event("/DiskFull", labels={"service": ""})], until="2m")
    (document,) = outcome.incidents.values()
    assert (document.state, document.title) == (IncidentState.OPEN, "DiskFull")
    assert (document.root_causes, document.contributing, document.blast_radius, document.owner) == ([], [], [], None)
    assert document.why[-1] is Why.UNKNOWN_ENTITY
    assert document.members[0].labels["alertname"] == "DiskFull"


def test_a_service_that_the_topology_lacks_is_named_in_the_title_alone() -> None:
    (document,) = run([an_event("ghost/Down")], until="2m").incidents.values()
    assert (document.title, document.root_causes, document.members[0].entity) == ("Down at ghost", [], None)


def test_beside_a_known_entity_an_unknown_one_is_neither_cause_nor_contributing() -> None:
    hits = {name: Hit(name, at("0"), at("0"), "Down", b"") for name in ("db", "?ghost")}
    causes = [Cause(name, 0.5, (), "Down") for name in hits]
    document = incident_document(Incident("ab12", (), hits=hits), {}, causes, topology=SHOP, digest="0")
    assert document.counts["entities"] == 2
    assert [cause.entity for cause in document.root_causes] == ["db"]
    assert document.contributing == []
    assert Why.UNKNOWN_ENTITY not in document.why


def test_every_root_cause_is_a_name_of_the_topology() -> None:
    events = [an_event(f"{service}/Down", f"{second}s") for second, service in enumerate(["ghost", "db", "cart", "spook", "web"])]
    outcome = run(events, until="5m")
    assert {cause.entity for document in outcome.revisions for cause in document.root_causes} <= {"db", "cart", "web"}


def test_a_known_entity_needs_no_reason() -> None:
    (document,) = run([an_event("db/Down")], until="2m").incidents.values()
    assert document.why == [Why.NEW_FAULT, Why.SETTLED]
