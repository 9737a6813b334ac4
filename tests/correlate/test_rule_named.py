"""Which rule a decision names: the one that took part, and no other."""

import pytest

from correlator.correlate.machine import Machine
from correlator.frames.control import Control, control_frame
from correlator.model.incident import Why
from correlator.model.instant import MINUTE
from correlator.model.rule import AlertRule, Matcher, MatchOperator

from tests.builders import a_control, a_tick, an_event, follow, frames_of, resolved, run

Named = list[tuple[Why, str | None]]

FLAPPING = (Matcher("alertname", MatchOperator.EQUAL, "Flaps"),)
HOLD = AlertRule("patience", FLAPPING, hold=MINUTE)
KEEP = AlertRule("stable", FLAPPING, keep_firing=2 * MINUTE)
SHORT = AlertRule("short", FLAPPING, expiry=3 * MINUTE)


def named(control: Control, *events: bytes, until: str = "30m") -> Named:
    decisions = run(events, control, until=until).decisions
    return [(decision.why, decision.rule) for decision in decisions if decision.fingerprint is not None]


def test_a_hold_that_was_not_met_names_its_rule() -> None:
    story = [an_event("db/Flaps"), resolved("db/Flaps", "30s")]
    assert named(a_control(HOLD), *story) == [(Why.HELD, "patience"), (Why.HOLD_NOT_MET, "patience")]


def test_an_alert_that_outlived_its_hold_names_the_rule_where_it_joins_and_not_where_it_clears() -> None:
    story = [an_event("db/Flaps"), resolved("db/Flaps", "5m")]
    assert named(a_control(HOLD), *story) == [(Why.HELD, "patience"), (Why.NEW_FAULT, "patience"), (Why.CLEARED, None)]


def test_keep_firing_for_names_its_rule_where_it_keeps_and_where_it_lets_go() -> None:
    story = [an_event("db/Flaps"), resolved("db/Flaps", "60s"), an_event("db/Flaps", "90s"), resolved("db/Flaps", "4m")]
    assert named(a_control(KEEP), *story) == [
        (Why.NEW_FAULT, None),
        (Why.KEPT, "stable"),
        (Why.RETURNED, "stable"),
        (Why.KEPT, "stable"),
        (Why.CLEARED, "stable"),
    ]


def test_an_expiry_names_the_rule_that_set_it() -> None:
    assert named(a_control(SHORT), an_event("db/Flaps")) == [(Why.NEW_FAULT, None), (Why.EXPIRED, "short")]


@pytest.mark.parametrize("rules", [(), (HOLD,), (KEEP,), (SHORT,)])
def test_the_general_rules_have_no_name(rules: tuple[AlertRule, ...]) -> None:
    assert named(a_control(*rules), an_event("db/Down")) == [(Why.NEW_FAULT, None), (Why.EXPIRED, None)]


def test_a_rule_that_no_longer_says_what_the_stretch_lives_by_is_not_named() -> None:
    before, after = a_control(KEEP), a_control(AlertRule("other", FLAPPING, keep_firing=5 * MINUTE))
    first, *rest = frames_of([[an_event("db/Flaps")], [resolved("db/Flaps", "60s")]], before)
    outcome = follow(Machine(before), [first, a_tick("30s"), control_frame(after), *rest, a_tick("30m")])
    assert (Why.KEPT, None) in [(decision.why, decision.rule) for decision in outcome.decisions]
