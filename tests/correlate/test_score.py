"""Score: which gaps and paths explain a newcomer, and which do not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.score import (
    NEW_FAULT,
    REACH_MOST,
    Relation,
    levels_of,
    reaches_from,
    same_score,
    scores_of,
    spread_score,
    unseen_reach,
    weight_of,
)
from correlator.model.instant import MINUTE, SECOND, parse_duration
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology
from correlator.state.records import Hit

from tests.builders import SHOP


def a_graph(*pairs: str, kind: EdgeKind = EdgeKind.CALLS, delay: int | None = None) -> Topology:
    """Answer a graph from pairs such as `web>db`."""
    ends = [pair.partition(">") for pair in pairs]
    names = dict.fromkeys(name for source, _, target in ends for name in (source, target))
    edges = tuple(Edge(source, target, kind, delay) for source, _, target in ends)
    return Topology(tuple(Node(name, NodeKind.SERVICE) for name in names), edges)


CHAIN = a_graph("a>b", "b>c", "c>d")


@pytest.mark.parametrize(
    ("entity", "other", "before", "after"),
    [
        ("a", "a", "2m29s", "2m29s"),
        ("a", "b", "1m55s", "1m5s"),
        ("a", "c", "2m34s", "54s"),
        ("a", "d", "2m48s", "18s"),
        ("b", "a", "28s", "1m18s"),
    ],
)
def test_docs_say_how_near_an_alert_must_be_to_join_another(entity: str, other: str, *, before: str, after: str) -> None:
    def explains(gap: int) -> bool:
        score = same_score(gap) if entity == other else spread_score(reaches_from(CHAIN, entity, 3)[other], gap)
        return score * weight_of(1) >= NEW_FAULT

    for sign, words in ((1, before), (-1, after)):
        furthest = sign * parse_duration(words)
        assert explains(furthest)
        assert not explains(furthest + sign * SECOND)
        assert words in Path("docs/rules.md").read_text(encoding="utf-8")


def test_a_dependency_that_failed_a_moment_ago_explains_better_than_chance() -> None:
    assert spread_score(reaches_from(SHOP, "cart", 3)["db"], 20 * SECOND) > NEW_FAULT


def test_a_dependency_that_failed_long_ago_explains_nothing() -> None:
    assert spread_score(reaches_from(SHOP, "cart", 3)["db"], 4 * MINUTE) < NEW_FAULT


def test_a_cause_may_alert_a_little_after_its_symptom() -> None:
    assert spread_score(reaches_from(SHOP, "db", 3)["cart"], 10 * SECOND) > NEW_FAULT


def test_the_usual_direction_outweighs_the_other() -> None:
    usual = spread_score(reaches_from(SHOP, "cart", 3)["db"], 10 * SECOND)
    assert usual > 10 * spread_score(reaches_from(SHOP, "db", 3)["cart"], 10 * SECOND)


def test_a_silent_entity_on_the_way_damps() -> None:
    reaches = reaches_from(SHOP, "web", 3)
    assert reaches["db"].hops == 2
    assert spread_score(reaches["cart"], 25 * SECOND) > 2 * spread_score(reaches["db"], 50 * SECOND)


def test_a_declared_delay_moves_the_likeliest_gap() -> None:
    reach = reaches_from(a_graph("web>db", delay=2 * MINUTE), "web", 3)["db"]
    assert spread_score(reach, 2 * MINUTE) > spread_score(reach, MINUTE)


def test_reaches_stop_at_the_hops_allowed() -> None:
    chain = a_graph("a>b", "b>c", "c>d")
    assert list(reaches_from(chain, "a", 2)) == ["a", "b", "c"]
    assert list(reaches_from(chain, "a", 0)) == ["a"]


def test_reaches_say_which_way_they_lead() -> None:
    reaches = reaches_from(SHOP, "cart", 1)
    assert {name: reach.relation for name, reach in reaches.items()} == {
        "cart": Relation.SAME,
        "db": Relation.CAUSE,
        "web": Relation.EFFECT,
    }


def test_a_hub_is_not_followed_beyond_the_limit() -> None:
    hub = a_graph(*[f"caller-{number}>hub" for number in range(REACH_MOST + 5)])
    chain = Topology((*hub.nodes, Node("edge", NodeKind.SERVICE)), (*hub.edges, Edge("edge", "caller-0", EdgeKind.CALLS)))
    assert "edge" not in reaches_from(chain, "hub", 3)


def test_more_of_the_same_entity_fades() -> None:
    assert same_score(0) > same_score(30 * SECOND) > NEW_FAULT > same_score(5 * MINUTE)


def test_a_lone_alert_weighs_less_than_several() -> None:
    assert weight_of(1) < weight_of(2) < weight_of(4) == weight_of(40)


def test_an_unseen_path_to_what_depends_on_nothing_is_unlikely() -> None:
    assert unseen_reach(0, 0).peak < unseen_reach(2, 1).peak
    assert unseen_reach(1, 2).peak < unseen_reach(1, 1).peak
    assert unseen_reach(None, 1) == unseen_reach(1, None) == unseen_reach(0, 0)


def test_levels_count_the_longest_chain_below() -> None:
    levels = levels_of(a_graph("web>cart", "cart>db", "web>db", "job>db"))
    assert levels == {"db": 0, "cart": 1, "web": 2, "job": 1}


def test_hosts_add_no_level() -> None:
    assert levels_of(a_graph("web>node", kind=EdgeKind.RUNS_ON))["web"] == 0


def test_a_ring_of_dependencies_has_levels() -> None:
    assert set(levels_of(a_graph("a>b", "b>c", "c>a", "c>d", "a>a"))) == {"a", "b", "c", "d"}


ENTITY = st.sampled_from("abcd")


@given(ends=st.tuples(ENTITY, ENTITY), gap=st.integers(-400_000, 400_000), alerts=st.integers(1, 6))
def test_hits_are_scored_together_as_each_one_is_alone(ends: tuple[str, str], gap: int, alerts: int) -> None:
    entity, other = ends
    reach = reaches_from(CHAIN, entity, hops=3)[other]
    chance = same_score(gap) if entity == other else spread_score(reach, gap)
    assert scores_of([(reach, Hit(other, 1_000_000, 1_000_000, "Down", b"f", alerts))], 1_000_000 + gap) == [chance * weight_of(alerts)]
