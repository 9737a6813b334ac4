"""Diagnose: which entity of an incident explains the others. Pure: hits and the graph in, ranked root causes out."""

from typing import Final

import msgspec

from correlator.model.instant import SECOND, Duration, Instant, format_duration
from correlator.model.topology import Topology
from correlator.state.records import Hit

CAUSES_MOST: Final = 3
CANDIDATES_MOST: Final = 50
"""Only this many entities, the first to alert, are weighed as causes; a root that is fiftieth to alert is none."""


class Cause(msgspec.Struct, frozen=True):
    """A candidate root: the entity, the share of belief it gets, and sentences that a person can check."""

    entity: str
    confidence: float
    evidence: tuple[str, ...]
    condition: str
    explained: tuple[str, ...] = ()


def diagnose(hits: dict[str, Hit], topology: Topology) -> list[Cause]:
    """Rank the entities by how many of the others depend on them, directly or not; earlier alerts break ties.

    Confidences are each candidate's share of the squared counts, so they add up to at most 1.
    """
    candidates = sorted(hits.values(), key=lambda hit: (hit.onset, hit.entity))[:CANDIDATES_MOST]
    if not candidates:
        return []
    explained = {hit.entity: _explained_by(hit.entity, hits, topology) for hit in candidates}
    weights = {entity: float(len(others) + 1) ** 2 for entity, others in explained.items()}
    ranked = sorted(candidates, key=lambda hit: (-weights[hit.entity], hit.onset, hit.entity))
    total, first = sum(weights.values()), candidates[0].onset
    return [
        Cause(
            hit.entity,
            round(weights[hit.entity] / total, 3),
            tuple(_evidence(hit, explained[hit.entity], count=len(hits), first=first)),
            hit.condition,
            tuple(explained[hit.entity]),
        )
        for hit in ranked[:CAUSES_MOST]
    ]


def _explained_by(entity: str, hits: dict[str, Hit], topology: Topology) -> list[str]:
    return [name for name in topology.all_dependents(entity) if name in hits]


def _evidence(hit: Hit, explained: list[str], *, count: int, first: Instant) -> list[str]:
    lines = [f"{hit.condition} fired {_after(hit.onset - first)}"]
    if explained:
        named = ", ".join(explained[:5]) + (" …" if len(explained) > 5 else "")  # noqa: PLR2004 - five names fit a line
        lines.append(f"{len(explained)} of {count - 1} other alerting entities depend on {hit.entity}: {named}")
    elif count > 1:
        lines.append(f"none of the {count - 1} other alerting entities depends on {hit.entity}")
    return lines


def _after(gap: Duration) -> str:
    return "first" if gap < SECOND else f"{format_duration(gap - gap % SECOND)} after the first alert"
