"""The canonical form of a run: what must be the same whatever the batching, the order within `reorder`, or the partitioning."""

from typing import Final

from correlator.correlate.render import Stretch
from correlator.model.incident import IncidentDocument, IncidentState, Member

from tests.builders import Outcome

FREE_LABELS: Final = ("replica",)
"""Labels that rules of these tests leave out of the identity."""

Canonical = tuple[list[tuple[object, ...]], list[tuple[object, ...]]]


def canonical(outcome: Outcome) -> Canonical:
    """Answer alert stretches and incidents, sorted, without id, revision, count and `why`, and without withdrawn incidents."""
    stretches = [_stretch(stretch) for stretch in (*outcome.stretches, *outcome.open_stretches)]
    incidents = [_incident(document) for document in outcome.incidents.values() if document.state is not IncidentState.WITHDRAWN]
    return sorted(stretches, key=repr), sorted(incidents, key=repr)


def _stretch(stretch: Stretch) -> tuple[object, ...]:
    return _labels(stretch.labels), stretch.started, stretch.ended, stretch.reason


def _incident(document: IncidentDocument) -> tuple[object, ...]:
    members = sorted(
        {(_labels(member.labels), member.starts_at, str(member.ends_at)) for member in document.members if not _is_guess(member)}
    )
    causes = [(cause.entity, cause.kind, cause.condition, cause.confidence) for cause in document.root_causes]
    return (
        members,
        causes,
        document.category,
        document.priority,
        document.owner,
        document.state,
        document.opened,
        document.updated,
    )


def _is_guess(member: Member) -> bool:
    return member.state == "pending"


def _labels(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name not in FREE_LABELS))
