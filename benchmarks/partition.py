"""How well groups match faults: from counts of what each fault and each group share to figures, and how sure these are."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from math import comb
from random import Random
from typing import Final

Pairs = Mapping[tuple[str, str], int] | Mapping[tuple[str, Hashable], int]
"""How many stretches each fault (or any other true group) and each group found share."""
Weights = Mapping[str, int]
"""How often each fault counts."""

RESAMPLES: Final = 1_000
_SEED: Final = 101
_TAIL: Final = 0.05


def adjusted_rand(pairs: Pairs) -> float:
    """The adjusted Rand index of a contingency table: 1 for equal partitions, about 0 for chance."""
    both, rows, columns, every = _pair_counts(pairs)
    chance = rows * columns / every if every else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def pairwise_f1(pairs: Pairs) -> float:
    """The harmonic mean of precision and recall over pairs that belong together."""
    both, rows, columns, _ = _pair_counts(pairs)
    return 2 * both / (rows + columns) if rows + columns else 1.0


def _pair_counts(pairs: Pairs) -> tuple[int, int, int, int]:
    rows: Counter[Hashable] = Counter()
    columns: Counter[Hashable] = Counter()
    for (row, column), count in pairs.items():
        rows[row] += count
        columns[column] += count
    in_both, in_rows, in_columns = (sum(comb(count, 2) for count in counts.values()) for counts in (pairs, rows, columns))
    return in_both, in_rows, in_columns, comb(sum(rows.values()), 2)


def group_by_found(pairs: Pairs) -> dict[str, Hashable]:
    """Answer the group of each fault that is found: one that holds at least half of it and is at least half its own."""
    wholes: Counter[str] = Counter()
    sizes: Counter[Hashable] = Counter()
    for (fault, group), count in pairs.items():
        wholes[fault] += count
        sizes[group] += count
    ranked = sorted(pairs.items(), key=lambda item: item[1])
    return {fault: group for (fault, group), count in ranked if 2 * count >= max(sizes[group], wholes[fault])}


def weighted(pairs: Pairs, weights: Weights) -> dict[tuple[str, Hashable], int]:
    """Let each fault count as often as its weight says."""
    return {(fault, group): count * weights[fault] for (fault, group), count in pairs.items() if weights.get(fault)}


def interval(figure: Callable[[Weights], float], case_by_fault: Mapping[str, str]) -> tuple[float, float]:
    """Answer between which values nine of ten samples of as many cases, drawn with replacement, have a figure (bootstrap, percentiles).

    Faults of one case are drawn together: a copy of a fault is no further evidence.
    """
    cases, dice = list(dict.fromkeys(case_by_fault.values())), Random(_SEED)
    figures = []
    for _ in range(RESAMPLES):
        drawn = Counter(dice.choices(cases, k=len(cases)))
        figures.append(figure({fault: drawn[case] for fault, case in case_by_fault.items()}))
    figures.sort()
    return figures[round(_TAIL * (RESAMPLES - 1))], figures[round((1 - _TAIL) * (RESAMPLES - 1))]
