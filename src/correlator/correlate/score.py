"""Score: how well an incident explains a new firing alert. Pure: one hit of an incident and one newcomer in, one number out.

A hit explains a newcomer when the newcomer's entity depends on the hit's (the usual direction: causes alert first), when it is the
other way round (the symptom's alert was quicker), or when both are the same entity. Strength falls with each edge and with the
distance between the gap seen and the delay expected. This is the first, simple judgement; it is the only module to replace for a better one.
"""

from enum import StrEnum
from math import exp
from typing import Final

import msgspec

from correlator.model.instant import MINUTE, SECOND, Duration


class Relation(StrEnum):
    """How the entity of an earlier hit relates to the newcomer's."""

    SAME = "same"
    CAUSE = "cause"
    EFFECT = "effect"


class Reach(msgspec.Struct, frozen=True, gc=False):
    """A path from the newcomer's entity to another one: its direction, its edges, and the delay declared along it."""

    relation: Relation
    hops: int
    delay: Duration


NEW_FAULT: Final = 0.05
"""An incident that scores below this does not explain the newcomer: it is a new fault."""
_PER_HOP: Final = {Relation.SAME: 1.0, Relation.CAUSE: 0.7, Relation.EFFECT: 0.55}
_PATIENCE: Final[dict[Relation, Duration]] = {Relation.SAME: 5 * MINUTE, Relation.CAUSE: 90 * SECOND, Relation.EFFECT: 30 * SECOND}


def score(reach: Reach, gap: Duration) -> float:
    """Answer a strength between 0 and 1; `gap` is how long after the hit the newcomer fired (negative: before it)."""
    lag = gap if reach.relation is Relation.CAUSE else -gap if reach.relation is Relation.EFFECT else abs(gap)
    distance = max(0, lag - reach.delay, -lag - 15 * SECOND if reach.relation is not Relation.SAME else 0)
    strength = _PER_HOP[reach.relation] ** max(reach.hops, 1)
    return float(strength * exp(-distance / _PATIENCE[reach.relation]))
