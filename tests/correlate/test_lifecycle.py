"""The named boundaries of an alert's life."""

from collections.abc import Sequence

import msgspec
import pytest

from correlator.correlate.lifecycle import Lifecycle
from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.frames.frame import Extra, Frame, FrameKind, News
from correlator.model.alert import ALERT_MOVES, AlertMove, AlertState, next_alert_state
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Verdict
from correlator.model.incident import IncidentState, Why
from correlator.model.instant import MINUTE, SECOND, Instant
from correlator.model.rule import AlertRule, Identity, Matcher, MatchOperator, Retention, RuleSet

from tests.builders import T0, Outcome, a_control, a_tick, an_event, at, follow, frames_of, resolved, run

DOWN = (Matcher("alertname", MatchOperator.EQUAL, "Down"),)


def stretches(outcome: Outcome) -> list[tuple[str, str | None, Why | None]]:
    """Answer all stretches as (start, end, reason), times as seconds since T0, in order of their start."""
    found = sorted([*outcome.stretches, *outcome.open_stretches], key=lambda stretch: stretch.started)
    return [(since(stretch.started), since(stretch.ended), stretch.reason) for stretch in found]


def since(instant: Instant | None) -> str:
    """Answer an instant as a distance from T0 in seconds, empty for none."""
    return f"{(instant - T0) / SECOND:g}" if instant is not None else ""


def test_the_story_begins_where_builders_say() -> None:
    assert format_rfc3339(T0) == "2026-01-05T00:00:00.000Z"


@pytest.mark.parametrize("state", AlertState)
@pytest.mark.parametrize("move", AlertMove)
def test_an_alert_makes_only_the_moves_of_its_table(state: AlertState, move: AlertMove) -> None:
    if (state, move) in ALERT_MOVES:
        assert next_alert_state(state, move) is ALERT_MOVES[state, move]
        return
    with pytest.raises(AssertionError, match=f"that is {state} cannot be {move}"):
        next_alert_state(state, move)


# Expiry


def test_an_alert_expires_when_nobody_repeats_it() -> None:
    outcome = run([an_event()], until="16m")
    assert stretches(outcome) == [("0", "900", None)]


@pytest.mark.parametrize(("said", "count"), [("14m59s999ms", 1), ("15m", 1), ("15m1ms", 2)])
def test_a_repeat_just_before_or_exactly_at_expiry_extends_the_stretch(said: str, count: int) -> None:
    outcome = run([an_event(), an_event(said=said)], until="40m")
    assert len(stretches(outcome)) == count


def test_an_alert_does_not_expire_just_before_its_time() -> None:
    assert stretches(run([an_event()], until="15m9s999ms")) == [("0", "", None)]
    assert stretches(run([an_event()], until="15m10s")) == [("0", "900", None)]


# Order


def test_a_late_event_never_shortens_an_alert() -> None:
    story = [an_event(said="0", received="0"), an_event(said="10m", received="10m"), an_event(said="20m", received="20m")]
    late = resolved(said="5m", received="21m")
    assert stretches(run([*story, late], until="40m")) == stretches(run(story, until="40m"))


def test_an_early_event_that_comes_late_counts_as_late() -> None:
    machine = Machine(a_control())
    events = [an_event(said="20m", received="20m"), an_event(said="0", received="21m"), resolved(said="1m", received="21m")]
    follow(machine, frames_of([events], a_control()))
    assert machine.verdicts[Verdict.LATE] == 2


def test_late_news_of_an_unknown_alert_takes_effect_at_its_arrival() -> None:
    outcome = run([an_event(said="0", received="20m")], until="36m")
    assert stretches(outcome) == [("0", "2100", None)]


@pytest.mark.parametrize("apart", ["20m10s", "20m10s1ms", "21m"])
def test_a_late_firing_and_its_late_resolve_are_one_stretch_that_never_opens(apart: str) -> None:
    events = [
        an_event("mail/Up", said="20m", received="20m"),
        an_event(said="10s", received="20m10s"),
        resolved(said="20s", received=apart),
        an_event("mail/Up", said="30m", received="30m"),
    ]
    outcome = run(events, a_control(AlertRule("slow", DOWN, settle=2 * MINUTE)))
    (stretch,) = [stretch for stretch in outcome.stretches if stretch.labels["alertname"] == "Down"]
    assert (since(stretch.started), since(stretch.ended), stretch.count) == ("10", "20", 2)
    (*_, last) = [one for one in outcome.revisions if one.members and one.members[0].labels["alertname"] == "Down"]
    assert last.state is IncidentState.RESOLVED
    assert IncidentState.OPEN not in {one.state for one in outcome.revisions if one.id == last.id}


def test_a_backlog_of_late_statements_is_ordered_by_their_event_times() -> None:
    said = [("1m", "firing"), ("2m", "firing"), ("3m", "resolved"), ("4m", "firing"), ("5m", "resolved")]
    events = [an_event(said=at, status=status, received="25m") for at, status in said]
    for batches in ([events], [[event] for event in events]):
        outcome = follow(Machine(a_control()), frames_of(batches, a_control()))
        assert stretches(outcome) == [("60", "180", None), ("240", "300", None)]


def test_a_resolve_out_of_order_splits_the_stretch_exactly() -> None:
    events = [an_event(said="0"), an_event(said="30s"), an_event(said="36s"), resolved(said="33s")]
    assert stretches(run(events)) == [("0", "33", None), ("36", "", None)]


def test_a_resolve_older_than_a_firing_that_is_judged_changes_nothing() -> None:
    events = [an_event(said="0", received="0"), an_event(said="60s", received="60s"), resolved(said="50s", received="75s")]
    assert stretches(run(events)) == [("0", "", None)]


def test_a_delayed_resolve_is_judged_before_a_firing_said_later_at_the_same_instant() -> None:
    events = [
        an_event(said="3ms", received="3ms"),
        an_event(said="5ms", received="10s4ms"),
        resolved(said="4ms", received="10s4ms"),
    ]
    for batches in ([events], [[event] for event in events], [[events[0]], events[1:]]):
        outcome = follow(Machine(a_control()), frames_of(batches, a_control()))
        assert stretches(outcome) == [("0.003", "0.004", None), ("0.005", "", None)]


def test_firing_and_resolved_at_the_same_instant_end_resolved() -> None:
    for events in ([an_event(), resolved()], [resolved(), an_event()]):
        assert stretches(run(events)) == [("0", "0", None)]


def test_a_firing_run_that_begins_at_the_instant_of_the_resolve_starts_with_its_next() -> None:
    events = [an_event(said="0"), resolved(said="5s"), an_event(said="5s"), an_event(said="7s")]
    assert stretches(run(events)) == [("0", "5", None), ("7", "", None)]


def test_a_firing_older_than_a_repeated_resolve_starts_nothing() -> None:
    events = [an_event(said="0", received="0"), resolved(said="5s", received="5s"), resolved(said="60s", received="60s")]
    stale = an_event(said="50s", received="90s")
    assert stretches(run([*events, stale])) == [("0", "5", None)]


def test_a_resolve_of_an_unknown_alert_makes_no_stretch() -> None:
    outcome = run([resolved()])
    assert stretches(outcome) == []
    assert [decision.why for decision in outcome.decisions] == [Why.NEVER_FIRED]


def early_of(batches: Sequence[Sequence[bytes]], *, control: Control | None = None, until: str | None = None) -> int:
    """How many items were judged to end what was not known to have fired."""
    control = control if control is not None else a_control()
    machine = Machine(control)
    frames = [*frames_of(batches, control), *([a_tick(until)] if until is not None else [])]
    return sum(machine.step(frame).resolved_early for frame in frames)


def test_every_end_of_an_alert_never_seen_firing_is_counted_until_it_fires() -> None:
    events = [resolved(), resolved(said="5s"), resolved(said="5s"), an_event(said="10s"), resolved(said="20s"), resolved(said="30s")]
    for batches in ([events], [[event] for event in events]):
        assert early_of(batches) == 3


def test_an_end_that_came_before_its_beginning_but_was_said_after_it_is_not_counted() -> None:
    assert early_of([[resolved(said="5s")], [an_event(said="3s")]]) == 0


def test_a_repeated_end_of_an_alert_that_is_still_known_is_not_counted() -> None:
    minutes = [resolved(said=f"{minute}m") for minute in range(1, 180, 10)]
    control = a_control(rule_set=RuleSet(retention=Retention(alert=0, close_after=MINUTE)))
    assert early_of([[an_event()], *[[event] for event in minutes]], control=control, until="4h") == 0


@pytest.mark.parametrize("batched", [False, True])
def test_an_end_long_after_the_alert_was_forgotten_is_counted_in_any_batching(*, batched: bool) -> None:
    events = [an_event(), resolved(said="1s"), resolved(said="3h")]
    assert early_of([events] if batched else [[event] for event in events]) == 1


def test_an_end_that_says_itself_that_it_came_first_is_left_to_intake() -> None:
    event = {"at": T0, "status": "resolved", "labels": {"alertname": "Down"}, "startsAt": T0 + 5, "endsAt": T0}
    assert early_of([[msgspec.json.encode(event)]]) == 0
    assert early_of([[msgspec.json.encode(event | {"startsAt": T0 - 5})]]) == 1


def test_one_event_of_2100_or_1970_moves_nothing_else() -> None:
    story = [an_event(of="db/Down", said=f"{second}s") for second in range(0, 60, 2)]
    for wild in (4_102_444_800_000, 0):
        spoilt = [*story[:15], an_event(of="mail/Down", said=wild), *story[15:]]
        assert [stretch for stretch in stretches(run(spoilt)) if stretch[0] == "0"] == stretches(run(story))


def test_a_repeat_delayed_by_exactly_reorder_comes_too_late_for_its_expiry_in_any_batching() -> None:
    control = a_control(AlertRule("brief", DOWN, expiry=MINUTE))
    events = [an_event(received="0"), an_event("mail/Up", said="70s", received="70s"), an_event(said="60s", received="70s")]
    for batches in ([events], [[event] for event in events]):
        outcome = follow(Machine(control), frames_of(batches, control))
        assert ("0", "60", None) in stretches(outcome)


def test_of_a_run_that_comes_long_after_its_time_only_what_is_newer_than_the_end_begins_a_stretch() -> None:
    control = a_control()
    machine = Machine(control)
    outcome = follow(machine, [a_tick("0", source="raw-1"), *frames_of([[an_event(), resolved(said="6s")]], control), a_tick("5m")])
    follow(machine, [a_tick("9m")], outcome)
    assert len(machine.sources.fallen_out) == 1
    run_of_three = frames_of([[an_event(said="5s"), an_event(said="7s"), an_event(said="8s")]], control, source="raw-1")
    follow(machine, run_of_three, outcome)
    assert stretches(outcome) == [("0", "6", None), ("7", "", None)]
    assert {verdict: count for verdict, count in machine.verdicts.items() if count} == {
        Verdict.NEW: 2,
        Verdict.UPDATE: 1,
        Verdict.REPEAT: 2,
    }


# Memory


def test_a_resolve_repeated_for_hours_needs_labels_only_now_and_then() -> None:
    events = [an_event(), *[resolved(said=f"{minute}m") for minute in range(1, 200)]]
    outcome = follow(Machine(a_control()), frames_of([[event] for event in events], a_control()))
    assert stretches(outcome) == [("0", "60", None)]


def test_a_very_late_statement_is_remembered_from_its_arrival() -> None:
    events = [resolved(said="-20h", received="0"), resolved(said="-20h", received="60s"), an_event("mail/Up", said="2m", received="2m")]
    machine = Machine(a_control())
    follow(machine, frames_of([[event] for event in events], a_control()))
    assert len(machine.lifecycle.alerts) == 2


def test_an_alert_that_is_over_is_forgotten_after_its_retention() -> None:
    machine = Machine(a_control())
    frames = frames_of([[an_event(), resolved(said="10s")]], a_control())
    follow(machine, [*frames, a_tick("1h19s999ms")])
    assert len(machine.lifecycle.alerts) == 1
    effects = machine.step(a_tick("1h20s"))
    assert not machine.lifecycle.alerts
    assert list(effects.alerts.values()) == [None]


def test_an_alert_is_never_forgotten_sooner_than_intake_sends_labels_again() -> None:
    control = a_control(rule_set=RuleSet(retention=Retention(alert=0, close_after=0)))
    machine = Machine(control)
    follow(machine, [*frames_of([[an_event(), resolved(said="10s")]], control), a_tick("15m19s")])
    assert len(machine.lifecycle.alerts) == 1


def test_an_unknown_fingerprint_without_labels_is_a_bug() -> None:
    frame = Frame(FrameKind.ROWS, "raw-0", T0, "", [b"f" * 16], [0], [1], [T0], [T0])
    with pytest.raises(AssertionError, match="without labels"):
        Machine(a_control()).step(frame)


def many(count: int, *, status: int, since: int) -> Frame:
    """Answer a frame with one row for each of many alerts."""
    fingerprints = [(since + number).to_bytes(16, "big") for number in range(count)]
    labels = b'{"alertname":"A","service":"mail"}'
    instants = [T0 + since] * count
    news = {row: News(labels) for row in range(count)}
    return Frame(FrameKind.ROWS, "raw-0", T0 + since, "", fingerprints, [status] * count, [1] * count, instants, instants, news=news)


def judged(lifecycle: Lifecycle, until: int) -> None:
    while lifecycle.next_instant() <= until:
        lifecycle.advance(lifecycle.next_instant())


def test_beyond_the_limit_the_alerts_longest_over_are_forgotten_and_counted() -> None:
    lifecycle = Lifecycle(RuleSet(retention=Retention(alert=100 * MINUTE)), alerts_most=64)
    for since in range(0, 60 * MINUTE, MINUTE):
        lifecycle.receive(many(10, status=1, since=since), T0 + since)
        judged(lifecycle, T0 + since + SECOND)
    assert lifecycle.evicted > 0
    remembered = sorted({alert.sighted for alert in lifecycle.alerts.values()})
    assert remembered[0] >= T0 + (60 - 15 - 2) * MINUTE, "the oldest went first"
    assert len(lifecycle.alerts) <= 10 * 17, "none that intake counts on was forgotten, all others were"


def test_firing_alerts_are_never_forgotten_for_want_of_room() -> None:
    lifecycle = Lifecycle(RuleSet(), alerts_most=8)
    lifecycle.receive(many(30, status=0, since=0), T0)
    judged(lifecycle, T0)
    lifecycle.receive(many(30, status=0, since=SECOND), T0)
    assert len(lifecycle.alerts) == 60
    assert lifecycle.evicted == 0


def test_twenty_thousand_alerts_expire_in_one_tick() -> None:
    machine = Machine(a_control(), guesses=False)
    outcome = follow(machine, [many(20_000, status=0, since=0), a_tick("10m"), a_tick("20m")])
    assert len(outcome.stretches) == 20_000
    assert machine.open_stretches == []
    assert [document.counts["firing"] for document in outcome.incidents.values()] == [0]


# Hold and keep


def test_a_hold_is_met_exactly_at_its_time() -> None:
    control = a_control(AlertRule("hold", DOWN, hold=MINUTE))
    assert stretches(run([an_event(), resolved(said="59s999ms")], control)) == [("0", "59.999", Why.HOLD_NOT_MET)]
    assert stretches(run([an_event(), resolved(said="60s")], control)) == [("0", "60", Why.HOLD_NOT_MET)]
    assert stretches(run([an_event(), resolved(said="60s1ms")], control)) == [("0", "60.001", None)]


def test_an_alert_on_hold_counts_when_its_time_has_passed() -> None:
    control = a_control(AlertRule("hold", DOWN, hold=MINUTE))
    outcome = run([an_event()], control, until="2m")
    assert [document.opened for document in outcome.incidents.values()] == ["2026-01-05T00:00:00.000Z"]
    assert [document.state for document in outcome.incidents.values()] == [IncidentState.OPEN]


def test_an_alert_that_expires_on_hold_never_counted() -> None:
    control = a_control(AlertRule("hold", DOWN, hold=20 * MINUTE))
    outcome = run([an_event()], control, until="1h")
    assert stretches(outcome) == [("0", "900", Why.HOLD_NOT_MET)]
    assert outcome.incidents == {}


def test_an_alert_that_is_kept_goes_on_when_it_fires_again() -> None:
    control = a_control(AlertRule("keep", DOWN, keep_firing=MINUTE))
    events = [an_event(), resolved(said="30s"), an_event(said="80s"), resolved(said="100s")]
    assert stretches(run(events, control, until="5m")) == [("0", "100", None)]


@pytest.mark.parametrize(("again", "count"), [("90s", 1), ("90s1ms", 2)])
def test_an_alert_is_kept_up_to_exactly_its_end_and_no_longer(again: str, count: int) -> None:
    control = a_control(AlertRule("keep", DOWN, keep_firing=MINUTE))
    events = [an_event(), resolved(said="30s"), an_event(said=again), resolved(said="100s")]
    assert len(stretches(run(events, control, until="5m"))) == count


def test_an_older_firing_does_not_bring_a_kept_alert_back() -> None:
    control = a_control(AlertRule("keep", DOWN, keep_firing=MINUTE))
    events = [an_event(said="0", received="0"), resolved(said="30s", received="30s"), an_event(said="20s", received="45s")]
    assert stretches(run(events, control, until="5m")) == [("0", "30", None)]


def test_an_expiry_of_its_own_goes_with_the_rule_that_gave_it() -> None:
    brief = a_control(AlertRule("brief", DOWN, expiry=MINUTE))
    machine = Machine(brief)
    outcome = follow(machine, frames_of([[an_event()]], brief))
    follow(machine, [a_tick("5m")], outcome)
    machine._adopt(a_control())  # noqa: SLF001 - what a control frame does
    later = frames_of([[an_event(said="6m")]], a_control(), source="raw-0")
    follow(machine, [*later, a_tick("10m")], outcome)
    assert stretches(outcome) == [("0", "60", None), ("360", "", None)]


# Ends that a message names, labels outside the identity


def a_message(said: str, ends: str | None = None, *, received: str | None = None, name: str = "Down") -> bytes:
    """Write an alert of Alertmanager that fires, as a recording has it."""
    alert: dict[str, object] = {"status": "firing", "labels": {"alertname": name, "service": "db"}, "startsAt": at(said)}
    if ends is not None:
        alert["endsAt"] = at(ends)
    return msgspec.json.encode({"version": "4", "alerts": [{**alert, "receivedAt": at(received or said)}]})


def test_an_alert_of_alertmanager_expires_after_five_hours() -> None:
    assert stretches(run([a_message("0")], until="5h9s999ms")) == [("0", "", None)]
    assert stretches(run([a_message("0")], until="5h10s")) == [("0", "18000", None)]


def test_of_ends_said_at_one_instant_the_latest_counts_in_any_order() -> None:
    for ends in (["3m", "5m", None], ["5m", "3m", None], [None, "3m", "5m"], ["5m", None, "3m"]):
        assert stretches(run([a_message("0", end) for end in ends], until="10m")) == [("0", "300", None)]


def test_a_newer_statement_may_bring_an_end_forward() -> None:
    assert stretches(run([a_message("0", "50m"), a_message("1m", "4m")], until="1h")) == [("0", "240", None)]


def test_a_newer_statement_without_an_end_lets_the_alert_expire() -> None:
    assert stretches(run([a_message("0", "5m"), a_message("1m")], until="6h")) == [("0", "18060", None)]


def test_an_end_no_later_than_its_statement_says_nothing() -> None:
    assert stretches(run([a_message("1m", "1m"), a_message("2m", "30s")], until="1h")) == [("60", "", None)]


def test_a_run_never_steps_over_an_end_whatever_the_batching_or_order() -> None:
    named, plain, later = a_message("0", "5m"), a_message("0"), a_message("6m")
    for events in ([named, plain, later], [plain, named, later]):
        for batches in ([events], [events[:1], events[1:]], [events[:2], events[2:]], [[event] for event in events]):
            outcome = follow(Machine(a_control()), frames_of(batches, a_control()))
            assert stretches(outcome) == [("0", "300", None), ("360", "", None)]


def test_an_end_that_comes_out_of_order_divides_what_was_folded_beyond_it() -> None:
    first, named, folded = a_message("0"), a_message("21s", "22s", received="21s"), [a_message("20s"), a_message("25s")]
    batches = [[first], [a_message("15s", name="Other")], folded, [named]]
    outcome = follow(Machine(a_control()), frames_of(batches, a_control()))
    found = [one for one in (*outcome.stretches, *outcome.open_stretches) if one.labels["alertname"] == "Down"]
    assert [(since(one.started), since(one.ended), one.count) for one in found] == [("0", "22", 3), ("25", "", 1)]


@pytest.mark.parametrize(("ends", "over"), [("24h", "86400"), ("24h1ms", "18000")])
def test_an_end_more_than_a_day_ahead_of_its_arrival_is_ignored(ends: str, over: str) -> None:
    assert stretches(run([a_message("0", ends)], until="25h")) == [("0", over, None)]


def test_an_alert_lasts_until_the_end_its_message_names() -> None:
    frame = many(1, status=2, since=0)
    frame.extras[0] = Extra(expires=T0 + 4 * MINUTE)
    machine = Machine(a_control())
    outcome = follow(machine, [frame, a_tick("3m"), a_tick("5m")])
    assert stretches(outcome) == [("0", "240", None)]


def test_a_label_outside_the_identity_that_changes_is_an_update() -> None:
    control = a_control(rule_set=RuleSet(identity=Identity(ignore=("replica",))))
    machine = Machine(control)
    events = [
        an_event(labels={"replica": "a"}),
        an_event(said="30s", labels={"replica": "b"}),
        an_event(said="40s", labels={"replica": "b"}),
    ]
    outcome = follow(machine, frames_of([[event] for event in events], control))
    assert machine.verdicts == {Verdict.REJECTED: 0, Verdict.NEW: 1, Verdict.UPDATE: 1, Verdict.REPEAT: 1, Verdict.LATE: 0}
    assert outcome.open_stretches[0].labels["replica"] == "b"


def test_a_stretch_that_begins_with_other_labels_shows_them() -> None:
    control = a_control(rule_set=RuleSet(identity=Identity(ignore=("replica",))))
    events = [an_event(labels={"replica": "a"}), resolved(said="20s"), an_event(said="40s", labels={"replica": "b"})]
    outcome = run(events, control)
    assert outcome.open_stretches[0].labels["replica"] == "b"
