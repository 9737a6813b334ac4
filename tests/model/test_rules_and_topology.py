"""Matchers as Alertmanager has them, rules by their digest, and which entity an alert belongs to."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.route import Router
from correlator.model.instant import HOUR, MINUTE
from correlator.model.rule import NO_RULE, AlertRule, Expiry, Matcher, MatchOperator, RuleSet
from correlator.model.topology import DEPENDENTS_MOST, REMEMBERED_MOST, Edge, EdgeKind, Node, NodeKind, Topology


@pytest.mark.parametrize(
    ("operator", "value", "actual", "is_met"),
    [
        ("=", "a", "a", True),
        ("=", "a", "ab", False),
        ("=", "", None, True),
        ("=", "a", None, False),
        ("!=", "a", "b", True),
        ("!=", "a", "a", False),
        ("!=", "a", None, True),
        ("!=", "", None, False),
        ("=~", "a.*", "abc", True),
        ("=~", "b", "abc", False),
        ("=~", "a|b", "b", True),
        ("=~", "a|b", "ab", False),
        ("=~", ".*", None, True),
        ("=~", ".+", None, False),
        ("=~", "a.c", "a\nc", False),
        ("!~", "a.*", "abc", False),
        ("!~", "b", "abc", True),
        ("!~", ".+", None, True),
        ("!~", "", None, False),
        ("=", "a.*", "abc", False),
    ],
)
def test_a_matcher_compares_as_alertmanager_does(operator: str, value: str, *, actual: str | None, is_met: bool) -> None:
    labels = {} if actual is None else {"pod": actual}
    assert Matcher("pod", MatchOperator(operator), value).is_met(labels) is is_met


TEXTS = st.text("ab|.*+", max_size=4)


@given(st.sampled_from(["a", "a|b", ".*", "a+", "", "[ab]b"]), st.none() | TEXTS)
def test_a_negated_matcher_is_the_opposite(value: str, actual: str | None) -> None:
    labels = {} if actual is None else {"pod": actual}
    for plain, negated in ((MatchOperator.EQUAL, MatchOperator.NOT_EQUAL), (MatchOperator.MATCHES, MatchOperator.NOT_MATCHES)):
        assert Matcher("pod", plain, value).is_met(labels) is not Matcher("pod", negated, value).is_met(labels)


@given(st.sampled_from(MatchOperator), st.sampled_from(["a", "a*", "", ".+"]))
def test_a_missing_label_reads_as_the_empty_text(operator: MatchOperator, value: str) -> None:
    matcher = Matcher("pod", operator, value)
    assert matcher.is_met({"pod": ""}) is matcher.is_met({})


def test_a_rule_holds_where_all_its_matchers_do_and_the_first_one_wins() -> None:
    slow = AlertRule("slow", match=(Matcher("a", MatchOperator.EQUAL, "1"), Matcher("b", MatchOperator.EQUAL, "2")))
    rest = AlertRule("rest")
    rules = RuleSet(alerts=(slow, rest))
    assert rules.rule_for({"a": "1", "b": "2"}) is slow
    assert rules.rule_for({"a": "1"}) is rest
    assert RuleSet(alerts=(slow,)).rule_for({}) is NO_RULE


def test_the_shortest_expiry_counts_every_rule() -> None:
    assert RuleSet(expiry=Expiry(native=HOUR, alertmanager=2 * HOUR)).shortest_expiry == HOUR
    assert RuleSet(alerts=(AlertRule("a", expiry=MINUTE), AlertRule("b"))).shortest_expiry == MINUTE


def test_equal_rules_and_topologies_have_equal_digests_and_others_not() -> None:
    assert RuleSet().digest == RuleSet().digest != RuleSet(alerts=(AlertRule("a"),)).digest
    assert Topology().digest == Topology().digest != Topology(split_by=("cluster",)).digest
    assert len(RuleSet().digest) == len(Topology().digest) == 16


def a_topology() -> Topology:
    return Topology(
        nodes=(
            Node("checkout", NodeKind.SERVICE, domain="shop"),
            Node("checkout-1", NodeKind.INSTANCE),
            Node("node-1", NodeKind.HOST, domain="default"),
            Node("psp", NodeKind.EXTERNAL, domain="bank"),
        ),
        edges=(
            Edge("checkout", "checkout-1", EdgeKind.OF),
            Edge("checkout-1", "node-1", EdgeKind.RUNS_ON),
            Edge("checkout", "psp", EdgeKind.CALLS),
        ),
        split_by=("cluster",),
    )


@pytest.mark.parametrize(
    ("labels", "entity"),
    [
        ({"service": "checkout"}, "checkout"),
        ({"service": "checkout", "pod": "checkout-1"}, "checkout-1"),
        ({"service": "checkout", "pod": "checkout-99"}, "checkout"),
        ({"service": "unknown", "host": "node-1"}, "node-1"),
        ({"client": "checkout", "server": "psp"}, "psp"),
        ({"client": "checkout", "server": "unknown"}, "checkout"),
        ({"service": "unknown"}, None),
        ({}, None),
    ],
)
def test_an_alert_belongs_to_the_most_specific_name_that_is_known(labels: dict[str, str], entity: str | None) -> None:
    assert a_topology().entity_of(labels) == entity


def test_edges_are_found_from_both_ends() -> None:
    topology = a_topology()
    for edge in topology.edges:
        assert edge in topology.dependencies[edge.source]
        assert edge in topology.dependents[edge.target]
    assert sum(map(len, topology.dependencies.values())) == sum(map(len, topology.dependents.values())) == len(topology.edges)


def a_chain(length: int) -> Topology:
    names = [f"s{number}" for number in range(length)]
    nodes = tuple([Node(name, NodeKind.SERVICE) for name in names])
    return Topology(nodes, tuple([Edge(above, below, EdgeKind.CALLS) for above, below in pairwise(names)]))


def test_all_dependents_are_those_that_a_fault_may_reach_nearest_first() -> None:
    chain = a_chain(5)
    assert chain.all_dependents("s4") == ("s3", "s2", "s1", "s0")
    assert chain.all_dependents("s4") is chain.all_dependents("s4")
    assert chain.all_dependents("s0") == chain.all_dependents("unknown") == ()


def test_all_dependents_end_in_a_cycle_and_at_their_limit() -> None:
    loop = Topology(edges=(Edge("a", "b", EdgeKind.CALLS), Edge("b", "a", EdgeKind.CALLS)))
    assert loop.all_dependents("a") == ("b",)
    assert len(a_chain(DEPENDENTS_MOST + 10).all_dependents(f"s{DEPENDENTS_MOST + 9}")) == DEPENDENTS_MOST


def test_dependents_are_remembered_for_a_bounded_number_of_nodes() -> None:
    chain = a_chain(3)
    first = chain.all_dependents("s2")
    for number in range(REMEMBERED_MOST):
        chain.all_dependents(f"unknown{number}")
    assert chain.all_dependents("s2") == first
    assert chain.all_dependents("s2") is not first


def test_labels_name_the_copy_of_the_graph_they_speak_of() -> None:
    assert a_topology().scope_of({"cluster": "eu"}) == ("eu",)
    assert a_topology().scope_of({}) == ("",)
    assert Topology().scope_of({"cluster": "eu"}) == ()


@pytest.mark.parametrize(
    ("entity", "partition"), [("psp", 1), ("checkout", 2), ("checkout-1", 0), ("node-1", 0), ("unknown", 0), (None, 0)]
)
def test_a_domain_is_a_partition_and_what_names_none_is_in_the_first(entity: str | None, partition: int) -> None:
    router = Router(a_topology())
    assert router.domains == ("default", "bank", "shop")
    assert router.partition_of(entity) == partition
