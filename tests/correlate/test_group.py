"""Group: which incident an alert joins, and that the memory behind it equals what the incidents say."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate import group
from correlator.correlate.group import NEW, Grouper, Placement
from correlator.model.incident import IncidentState
from correlator.model.instant import Instant
from correlator.model.rule import Grouping
from correlator.state.records import Hit, Incident

from tests.builders import SHOP, at

SCOPES = ((), ("eu",))


def an_incident(name: str = "first", onset: str = "0", *, hits: tuple[str, ...] = ("db",), alerts: int = 3) -> Incident:
    """Answer an open incident with equal hits at these entities."""
    moment = at(onset)
    incident = Incident(name, (), IncidentState.OPEN, opened=moment, updated=moment, last_new=moment)
    incident.hits = {entity: Hit(entity, moment, moment, "Down", b"f", alerts) for entity in hits}
    return incident


def a_grouper(*incidents: Incident) -> Grouper:
    grouper = Grouper(SHOP, Grouping())
    for incident in incidents:
        for hit in incident.hits.values():
            grouper.add(incident, hit)
    return grouper


def placed(grouper: Grouper, entity: str, when: str) -> str | None:
    incident = grouper.place(entity, (), at(when)).incident
    return incident.id if incident is not None else None


def test_a_symptom_joins_the_incident_of_its_cause() -> None:
    placement = a_grouper(an_incident()).place("cart", (), at("20s"))
    assert placement.incident is not None
    assert placement.nearest == "db"
    assert placement.score > 0


def test_a_symptom_behind_a_silent_service_joins_too() -> None:
    assert a_grouper(an_incident()).place("web", (), at("50s")).nearest == "db"
    assert a_grouper(an_incident()).path("web", "db") == ("web", "cart", "db")


def test_what_no_edge_joins_is_a_new_fault() -> None:
    assert a_grouper(an_incident()).place("mail", (), at("20s")) == NEW


def test_another_copy_of_the_graph_is_another_world() -> None:
    assert a_grouper(an_incident()).place("cart", ("eu",), at("20s")) == NEW


def test_an_unseen_edge_is_believed_when_many_hits_speak_for_it() -> None:
    crowd = an_incident(hits=("db", "cart", "payments"))
    crowd.hits["mail"] = Hit("mail", at("0"), at("0"), "Down", b"f", 3)
    assert placed(a_grouper(an_incident(hits=("mail",))), "web", "25s") is None
    assert placed(a_grouper(crowd), "web", "25s") == "first"


def test_the_incident_whose_hits_together_say_most_wins() -> None:
    one, two = an_incident("one", hits=("cart",)), an_incident("two", hits=("payments", "db"))
    assert placed(a_grouper(one, two), "web", "25s") == "two"


def test_a_lone_alert_attracts_less_than_a_hit_of_several() -> None:
    noise, fault = an_incident("a-noise", hits=("cart",), alerts=1), an_incident("fault", hits=("payments",))
    assert placed(a_grouper(noise, fault), "web", "25s") == "fault"


def test_equals_go_to_the_older_incident() -> None:
    older, younger = an_incident("z", "-1s", hits=("cart",)), an_incident("a", hits=("payments",))
    older.hits["cart"].onset = at("0")
    assert placed(a_grouper(younger, older), "web", "25s") == "z"


def test_the_window_ends_an_incident_at_exactly_five_minutes() -> None:
    incident = an_incident()
    incident.hits["db"].last = at("4m50s")
    grouper = a_grouper(incident)
    assert placed(grouper, "db", "5m") == "first"
    incident.hits["db"].last = at("5m")
    assert placed(grouper, "db", "5m1s") is None


def test_a_resolved_incident_is_not_joined() -> None:
    incident = an_incident()
    grouper = a_grouper(incident)
    incident.state = IncidentState.RESOLVED
    assert placed(grouper, "cart", "20s") is None
    grouper.remove(incident)
    assert placed(grouper, "cart", "20s") is None


def test_nothing_is_left_when_all_incidents_are_gone() -> None:
    incidents = [an_incident("one"), an_incident("two", hits=("cart", "web"))]
    grouper = a_grouper(*incidents)
    for incident in incidents:
        grouper.remove(incident)
    assert (grouper._places, grouper._onsets) == ({}, {})  # noqa: SLF001 - the memory under test


def test_what_is_remembered_of_surroundings_is_bounded_though_splits_come_and_go() -> None:
    grouper = Grouper(SHOP, Grouping())
    for number in range(3 * group.LOOKS_MOST):
        incident = an_incident(f"i{number}", alerts=group.BUSY_FROM)
        incident.scope = (f"split-{number}",)
        grouper.add(incident, incident.hits["db"])
        assert grouper.place("db", incident.scope, at("20s")).incident is incident
        grouper.remove(incident)
    assert sum(map(len, grouper._seers.values())) <= group.LOOKS_MOST * len(grouper.reaches_of("db"))  # noqa: SLF001 - the memory under test


ENTITIES = st.sampled_from(("web", "cart", "payments", "db", "mail", "?odd"))
HITS = st.tuples(st.integers(0, 5), ENTITIES, st.integers(0, 240), st.integers(1, 5))


@given(hits=st.lists(HITS, max_size=25), gone=st.lists(st.integers(0, 5), max_size=3), entity=ENTITIES)
def test_a_grouper_rebuilt_in_any_order_places_alike(hits: list[tuple[int, str, int, int]], gone: list[int], entity: str) -> None:
    """What was told step by step, with onsets that moved, equals what the incidents tell at a restore."""
    incidents = [Incident(f"i{number}", SCOPES[number % 2], IncidentState.OPEN, opened=at(f"{number}s")) for number in range(6)]
    grouper = Grouper(SHOP, Grouping())
    for number, name, second, alerts in hits:
        grouper.add(incidents[number], _struck(incidents[number], name, at(f"{second}s"), alerts=alerts))
        grouper.place(entity, incidents[number].scope, at(f"{second}s"))  # what it remembers of this must not outlive the next hit
    for number in dict.fromkeys(gone):
        incidents[number].state = IncidentState.CLOSED
        grouper.remove(incidents[number])
    rebuilt = Grouper(SHOP, Grouping())
    for incident in reversed(incidents):
        for hit in reversed(incident.hits.values()) if incident.is_live else ():
            rebuilt.add(incident, hit)
    for second in (0, 30, 90, 250):
        for scope in SCOPES:
            assert _shown(grouper.place(entity, scope, at(f"{second}s"))) == _shown(rebuilt.place(entity, scope, at(f"{second}s")))


@given(hits=st.lists(HITS, max_size=25), entity=ENTITIES, second=st.integers(0, 300))
def test_what_explains_an_alert_is_where_it_is_placed(hits: list[tuple[int, str, int, int]], entity: str, second: int) -> None:
    incidents = [Incident(f"i{number}", (), IncidentState.OPEN, opened=at(f"{number}s")) for number in range(6)]
    grouper = Grouper(SHOP, Grouping())
    for number, name, onset, alerts in hits:
        grouper.add(incidents[number], _struck(incidents[number], name, at(f"{onset}s"), alerts=alerts))
    explained = grouper.explain(entity, (), at(f"{second}s"))
    assert explained in (None, grouper.place(entity, (), at(f"{second}s")).incident)
    if explained is None:
        assert not group._is_explained(grouper._declared(entity, (), at(f"{second}s")) if hits else {})  # noqa: SLF001 - the long way


@given(hits=st.lists(HITS, max_size=25), entity=ENTITIES, second=st.integers(0, 300))
def test_an_alert_is_placed_as_if_all_incidents_were_weighed(hits: list[tuple[int, str, int, int]], entity: str, second: int) -> None:
    incidents = [Incident(f"i{number}", (), IncidentState.OPEN, opened=at(f"{number}s")) for number in range(3)]
    grouper = Grouper(SHOP, Grouping())
    for number, name, onset, alerts in hits:
        grouper.add(incidents[number % 3], _struck(incidents[number % 3], name, at(f"{onset}s"), alerts=alerts))
    cases = grouper._declared(entity, (), at(f"{second}s")) if hits else {}  # noqa: SLF001 - the long way
    if hits and not group._is_explained(cases):  # noqa: SLF001
        grouper._add_undeclared(cases, (), entity, at=at(f"{second}s"))  # noqa: SLF001
    assert _shown(grouper.place(entity, (), at(f"{second}s"))) == _shown(group._best(cases))  # noqa: SLF001


def _struck(incident: Incident, entity: str, onset: Instant, *, alerts: int) -> Hit:
    hit = incident.hits.setdefault(entity, Hit(entity, onset, onset, "Down", b"f"))
    hit.onset, hit.last, hit.alerts = min(hit.onset, onset), max(hit.last, onset), hit.alerts + alerts
    incident.last_new = max(incident.last_new, onset)
    return hit


def _shown(placement: Placement) -> tuple[str | None, float, str]:
    return placement.incident.id if placement.incident is not None else None, placement.score, placement.nearest
