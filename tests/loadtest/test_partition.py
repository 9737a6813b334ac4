"""Scores of groups against faults: what any such score must obey, and how sure a figure is said to be."""

from collections.abc import Hashable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.partition import adjusted_rand, group_by_found, interval, pairwise_f1, weighted

Pairs = dict[tuple[str, Hashable], int]

SIZES = st.dictionaries(st.sampled_from(["f1", "f2", "f3", "f4", "f5"]), st.integers(1, 9), min_size=1)
TABLES = st.dictionaries(st.tuples(st.sampled_from(["f1", "f2", "f3"]), st.sampled_from(["a", "b", "c"])), st.integers(1, 9), min_size=1)


@given(SIZES)
def test_groups_that_are_the_faults_score_one_and_find_all(sizes: dict[str, int]) -> None:
    pairs: Pairs = {(fault, f"group of {fault}"): size for fault, size in sizes.items()}
    assert adjusted_rand(pairs) == pytest.approx(1.0)
    assert pairwise_f1(pairs) == pytest.approx(1.0)
    assert group_by_found(pairs) == {fault: f"group of {fault}" for fault in sizes}


@given(TABLES, st.permutations(["a", "b", "c"]), st.randoms())
def test_names_of_groups_and_order_change_nothing(table: Pairs, names: list[str], dice: Random) -> None:
    name_by_group = dict(zip("abc", names, strict=True))
    entries = [((fault, name_by_group[str(group)]), count) for (fault, group), count in table.items()]
    dice.shuffle(entries)
    shuffled: Pairs = dict(entries)
    assert adjusted_rand(shuffled) == pytest.approx(adjusted_rand(table))
    assert group_by_found(shuffled).keys() == group_by_found(table).keys()


@given(TABLES)
def test_the_index_is_the_same_seen_from_either_side(table: Pairs) -> None:
    turned: Pairs = {(str(group), fault): count for (fault, group), count in table.items()}
    assert adjusted_rand(turned) == pytest.approx(adjusted_rand(table))


@given(TABLES)
def test_weights_of_one_change_nothing_and_of_none_leave_nothing(table: Pairs) -> None:
    assert weighted(table, {"f1": 1, "f2": 1, "f3": 1}) == table
    assert weighted(table, {}) == {}


def test_a_fault_is_found_at_exactly_half_of_it_and_of_the_group() -> None:
    assert group_by_found({("f1", "a"): 2, ("f1", "b"): 2, ("f2", "a"): 2}) == {"f1": "b", "f2": "a"}
    assert group_by_found({("f1", "a"): 2, ("f1", "b"): 1, ("f1", "c"): 2, ("f2", "a"): 9}) == {"f2": "a"}


@given(st.dictionaries(st.text(min_size=1), st.booleans(), min_size=2, max_size=20))
def test_an_interval_lies_within_what_is_possible(right: dict[str, bool]) -> None:
    low, high = interval(lambda weights: sum(weights[fault] for fault in right if right[fault]), {fault: fault for fault in right})
    assert 0 <= low <= high <= len(right)


def test_a_figure_that_never_varies_is_sure() -> None:
    assert interval(lambda weights: sum(weights.values()), {"f1": "f1", "f2": "f2"}) == (2, 2)


def test_copies_of_a_fault_are_drawn_together() -> None:
    case_by_fault = {"f1": "one", "copy": "one", "f2": "other"}
    assert interval(lambda weights: abs(weights["f1"] - weights["copy"]), case_by_fault) == (0, 0)
