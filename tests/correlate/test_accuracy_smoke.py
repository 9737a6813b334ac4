"""Accuracy: the scorer scores, and one small storm is judged well and better than naive rules."""

import msgspec
import pytest

from benchmarks.accuracy import PLAIN, average, by_graph, by_labels, by_machine, make_scene, measure, table
from benchmarks.partition import adjusted_rand, pairwise_f1


def test_equal_partitions_score_one() -> None:
    pairs = {("f1", "a"): 3, ("f2", "b"): 2}
    assert adjusted_rand(pairs) == pytest.approx(1.0)
    assert pairwise_f1(pairs) == pytest.approx(1.0)


def test_one_heap_scores_as_chance() -> None:
    assert adjusted_rand({("f1", "a"): 3, ("f2", "a"): 3}) == pytest.approx(0.0)


def test_the_index_of_a_known_table() -> None:
    """By hand: 4 pairs share both, 6 and 6 share one, of 15; (4 - 2.4) / (6 - 2.4)."""
    assert adjusted_rand({("f1", "a"): 3, ("f2", "a"): 1, ("f2", "b"): 2}) == pytest.approx((4 - 6 * 7 / 15) / (6.5 - 6 * 7 / 15))


def test_a_small_storm_is_judged_better_than_by_naive_rules() -> None:
    scene = make_scene(msgspec.structs.replace(PLAIN, events=6_000, faults=8, hours=2.0, noise=0.15, repeats=0.85, seed=101))
    judged = measure(scene, by_machine(scene))
    naive = [measure(scene, by_graph(scene)), measure(scene, by_labels(scene, "cluster", "service"))]
    assert judged.ari >= max(0.85, *[score.ari for score in naive])
    assert judged.root_1 >= 0.7
    assert "machine" in table({("plain", "machine"): [judged, average(naive)]})
