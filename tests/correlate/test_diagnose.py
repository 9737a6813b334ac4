"""Diagnose: who is blamed, how surely, and the sentences that say why."""

from correlator.correlate.diagnose import CANDIDATES_MOST, CAUSES_MOST, Cause, diagnose
from correlator.correlate.score import reaches_from
from correlator.model.topology import Edge, EdgeKind, Topology
from correlator.state.records import Hit

from tests.builders import SHOP, at


def struck(entity: str, onset: str, alerts: int = 3) -> Hit:
    return Hit(entity, at(onset), at(onset), f"{entity.title()}Bad", b"f", alerts)


def diagnosed(*hits: Hit, topology: Topology = SHOP) -> list[Cause]:
    return diagnose({hit.entity: hit for hit in hits}, topology, lambda entity: reaches_from(topology, entity, 3))


def test_the_dependency_that_failed_first_is_the_root() -> None:
    causes = diagnosed(struck("db", "0"), struck("cart", "20s"), struck("payments", "30s"), struck("web", "50s"))
    assert causes[0].entity == "db"
    assert causes[0].confidence > 0.8
    assert causes[0].explained == ("cart", "payments", "web")


def test_a_symptom_that_alerted_a_little_earlier_is_not_the_root() -> None:
    assert diagnosed(struck("cart", "0"), struck("db", "10s"), struck("payments", "30s"))[0].entity == "db"


def test_a_dependency_that_alerted_minutes_later_is_not_the_root() -> None:
    assert diagnosed(struck("cart", "0"), struck("web", "20s"), struck("db", "4m"))[0].entity == "cart"


def test_a_lone_alert_of_noise_does_not_win_over_a_failing_database() -> None:
    topology = Topology(SHOP.nodes, (*SHOP.edges, Edge("cart", "mail", EdgeKind.CALLS)))
    noise = struck("mail", "0", alerts=1)
    noise_first = diagnosed(noise, struck("db", "40s"), struck("cart", "1m"), struck("web", "80s"), topology=topology)
    assert noise_first[0].entity == "db"


def test_few_alerts_at_a_cause_are_enough_when_the_timing_fits() -> None:
    assert diagnosed(struck("db", "0", alerts=2), struck("cart", "15s", alerts=16), struck("web", "40s"))[0].entity == "db"


def test_one_entity_alone_is_its_own_cause() -> None:
    (cause,) = diagnosed(struck("db", "0", alerts=1))
    assert (cause.entity, cause.confidence, cause.evidence) == ("db", 1.0, ("DbBad fired first",))


def test_nothing_is_blamed_when_nothing_fired() -> None:
    assert diagnosed() == []


def test_the_evidence_reads_as_sentences() -> None:
    cause = diagnosed(struck("db", "0"), struck("cart", "20s"), struck("payments", "40s"))[0]
    assert cause.evidence == (
        "DbBad fired first, and 2 more alerts there",
        "cart calls db, which failed 20s earlier",
        "payments calls db, which failed 40s earlier",
        "2 of 2 that depend directly on db alert",
        "nothing that db depends on alerts",
    )


def test_the_evidence_of_a_symptom_names_what_is_below_it() -> None:
    causes = diagnosed(struck("db", "0"), struck("cart", "20s", alerts=2), struck("web", "20s"))
    cart = next(cause for cause in causes if cause.entity == "cart")
    assert cart.evidence == (
        "CartBad fired 20s after the first alert, and 1 more alert there",
        "web calls cart, which failed at the same moment",
        "the only one that depends directly on cart alerts",
        "of what cart depends on, db alerted too",
    )


def test_the_evidence_says_when_a_cause_alerted_later() -> None:
    evidence = diagnosed(struck("cart", "0"), struck("db", "10s"))[0].evidence
    assert "cart calls db, but alerted 10s before it" in evidence


def test_a_quiet_neighbour_is_told() -> None:
    evidence = diagnosed(struck("cart", "0"), struck("mail", "10s"))[0].evidence
    assert "the only one that depends directly on cart is quiet" in evidence


def test_a_ring_of_dependencies_comes_to_an_end() -> None:
    ring = Topology(SHOP.nodes, (Edge("cart", "db", EdgeKind.CALLS), Edge("db", "cart", EdgeKind.CALLS)))
    causes = diagnosed(struck("cart", "0"), struck("db", "1s"), topology=ring)
    assert sum(cause.confidence for cause in causes) <= 1.001
    assert {cause.entity for cause in causes} == {"cart", "db"}


def test_only_the_first_to_alert_are_weighed_and_few_are_named() -> None:
    causes = diagnosed(*[struck(f"?odd-{number:03}", f"{number}s") for number in range(CANDIDATES_MOST + 10)])
    assert len(causes) == CAUSES_MOST
    assert [cause.entity for cause in causes] == ["?odd-000", "?odd-001", "?odd-002"]


def test_confidences_add_up_to_one_at_most_whatever_the_order_of_the_hits() -> None:
    hits = [struck("db", "0"), struck("cart", "20s"), struck("payments", "30s"), struck("web", "50s")]
    assert diagnosed(*hits) == diagnosed(*reversed(hits))
    assert 0.99 < sum(cause.confidence for cause in diagnosed(*hits)) <= 1.001
