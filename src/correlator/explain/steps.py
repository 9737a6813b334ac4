"""Steps: decisions in their order become steps with their reasons."""

from typing import Final

from correlator.explain.case import Case
from correlator.explain.reasons import Before, because, likelier
from correlator.model.explanation import Step
from correlator.model.incident import Decision, Why

ENTRIES: Final = (Why.NEW_FAULT, Why.JOINED, Why.RETURNED, Why.MOVED)
"""With an incident, these say that an alert is in it from now on."""
ENDS: Final = (Why.CLEARED, Why.EXPIRED)


def steps_of(case: Case) -> list[Step]:
    """Tell every decision of a case, each in the light of those before it."""
    before, steps = Before(), list[Step]()
    for decision in case.decisions:
        steps.append(_step(decision, case, before))
        fingerprint = decision.fingerprint
        before.note(decision, case.place_of(fingerprint) if fingerprint is not None else None)
    return steps


def _step(decision: Decision, case: Case, before: Before) -> Step:
    fingerprint = decision.fingerprint
    return Step(
        at=decision.at,
        why=decision.why,
        because=because(decision, case, before),
        rules_digest=decision.rules_digest,
        alert=case.name_of(fingerprint) if fingerprint is not None else None,
        fingerprint=fingerprint,
        entity=case.entity_of(fingerprint) if fingerprint is not None else None,
        incident=decision.incident,
        rule=decision.rule,
        path=decision.path,
        score=decision.score,
        likelier=likelier(decision),
    )
