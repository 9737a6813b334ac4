"""The named boundaries of an incident's life."""

import msgspec
import pytest

from correlator.correlate import incidents
from correlator.correlate.incidents import IncidentBook
from correlator.correlate.machine import Machine
from correlator.model.incident import INCIDENT_MOVES, IncidentMove, IncidentState, Why, next_incident_state
from correlator.model.instant import MINUTE
from correlator.model.rule import AlertRule, Grouping, Matcher, MatchOperator, Retention, RuleSet
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

from tests.builders import Outcome, a_control, a_tick, an_event, follow, frames_of, resolved, run

DOWN = (Matcher("alertname", MatchOperator.EQUAL, "Down"),)


def states(outcome: Outcome) -> list[IncidentState]:
    """Answer the states that were published, in order, without repeats."""
    published: list[IncidentState] = []
    for document in outcome.revisions:
        if not published or published[-1] is not document.state:
            published.append(document.state)
    return published


def told(events: list[bytes], *ticks: str) -> Outcome:
    """Take events one at a time, and ticks after them."""
    control = a_control()
    frames = frames_of([[event] for event in events], control)
    return follow(Machine(control), [*frames, *[a_tick(tick) for tick in ticks]])


@pytest.mark.parametrize("state", IncidentState)
@pytest.mark.parametrize("move", IncidentMove)
def test_an_incident_makes_only_the_moves_of_its_table(state: IncidentState, move: IncidentMove) -> None:
    if (state, move) in INCIDENT_MOVES:
        assert next_incident_state(state, move) is INCIDENT_MOVES[state, move]
        return
    with pytest.raises(AssertionError, match=f"that is {state} cannot be {move}"):
        next_incident_state(state, move)


def test_an_incident_opens_after_reorder_and_settle() -> None:
    machine = Machine(a_control())
    frames = frames_of([[an_event()]], a_control())
    outcome = follow(machine, [frames[0], a_tick("39s999ms")])
    assert states(outcome) == [IncidentState.PENDING]
    follow(machine, [a_tick("40s")], outcome)
    assert states(outcome) == [IncidentState.PENDING, IncidentState.OPEN]


def test_without_settling_an_incident_opens_as_soon_as_it_is_judged() -> None:
    control = a_control(AlertRule("now", DOWN, settle=0))
    outcome = follow(Machine(control), [frames_of([[an_event()]], control)[0], a_tick("10s")])
    assert states(outcome) == [IncidentState.PENDING, IncidentState.OPEN]


def test_an_incident_that_resolves_before_it_opens_never_pages() -> None:
    outcome = told([an_event(), resolved(said="29s999ms")], "1m", "20m")
    assert IncidentState.OPEN not in states(outcome)
    assert states(outcome)[-2:] == [IncidentState.RESOLVED, IncidentState.CLOSED]


def test_an_incident_that_resolves_exactly_when_it_would_open_never_pages() -> None:
    outcome = told([an_event(), resolved(said="30s")], "1m")
    assert IncidentState.OPEN not in states(outcome)


def test_a_relapse_within_close_after_reopens() -> None:
    outcome = told([an_event(), resolved(said="1m"), an_event(said="16m")], "17m")
    assert len(outcome.incidents) == 1
    assert states(outcome) == [IncidentState.PENDING, IncidentState.OPEN, IncidentState.RESOLVED, IncidentState.REOPENED]


def test_a_relapse_after_close_after_opens_a_new_incident() -> None:
    outcome = told([an_event(), resolved(said="1m"), an_event(said="16m1ms")], "17m")
    assert sorted(document.state for document in outcome.incidents.values()) == [IncidentState.CLOSED, IncidentState.OPEN]


def test_a_longer_close_after_is_kept_to() -> None:
    control = a_control(rule_set=RuleSet(retention=Retention(close_after=120 * MINUTE)))
    events = [an_event(), resolved(said="1m"), an_event(said="2h")]
    outcome = run(events, control, guesses=False)
    assert [document.state for document in outcome.incidents.values()] == [IncidentState.REOPENED]


def test_what_never_opened_is_not_reopened() -> None:
    outcome = told([an_event(), resolved(said="10s"), an_event(said="2m")], "4m")
    assert sorted(document.state for document in outcome.incidents.values()) == [IncidentState.OPEN, IncidentState.RESOLVED]


def test_a_reopened_incident_recovers_and_closes() -> None:
    outcome = told([an_event(), resolved(said="1m"), an_event(said="2m"), resolved(said="3m")], "4m", "20m")
    assert states(outcome)[-3:] == [IncidentState.REOPENED, IncidentState.RESOLVED, IncidentState.CLOSED]


def test_a_guess_is_published_before_it_is_judged_and_keeps_its_id() -> None:
    machine = Machine(a_control())
    first = follow(machine, frames_of([[an_event()]], a_control())[:1])
    (guess,) = first.incidents.values()
    assert guess.state is IncidentState.PENDING
    assert guess.why == [Why.GUESSED]
    assert guess.members[0].state == "pending"
    assert guess.counts["alerts"] == 0
    later = follow(machine, [a_tick("1m")])
    assert list(later.incidents) == [guess.id]
    assert later.incidents[guess.id].counts["alerts"] == 1


def test_each_of_many_guesses_is_listed_when_it_comes() -> None:
    """A document lists a hundred guesses: those who wait for the newest must not wait until the oldest are judged."""
    names = [f"Slow{number:03d}" for number in range(250)]
    frames = frames_of([[an_event(f"db/{name}", f"{number * 10}ms")] for number, name in enumerate(names)], a_control())
    outcome = follow(Machine(a_control()), frames[: len(names)])
    listed = [{member.labels["alertname"] for member in document.members} for document in outcome.revisions]
    assert len(outcome.incidents) == 1
    assert all(name in members for name, members in zip(names, listed, strict=True))
    assert listed[-1] == {names[0], *names[-100:]}


def test_a_guess_that_does_not_come_true_is_withdrawn() -> None:
    control = a_control()
    machine = Machine(control)
    batches = [[an_event(said="1s", received="0")], [resolved(said="1s", received="0")], [resolved(said="2s", received="0")]]
    early = resolved(said="0", received="0")
    frames = frames_of([*batches, [early]], control)
    outcome = follow(machine, [*frames[:1]])
    (guess,) = outcome.incidents.values()
    joined = frames_of([[an_event("cart/Down", said="0", received="0")]], control, source="raw-0")[:1]
    follow(machine, [*joined, a_tick("1m")], outcome)
    final = [document.state for document in outcome.incidents.values()]
    assert guess.id in outcome.incidents
    assert set(final) <= {IncidentState.OPEN, IncidentState.WITHDRAWN}


def test_an_incident_is_published_even_if_it_is_forgotten_in_the_same_step() -> None:
    control = a_control()
    machine = Machine(control, guesses=False)
    frames = frames_of([[an_event(), resolved(said="1m"), an_event("mail/Down", said="48h"), an_event("mail/Down", said="48h1s")]], control)
    steps = [machine.step(frame) for frame in (*frames[:-1], a_tick("48h1m"), a_tick("48h2m"))]
    (gone,) = {identifier for effects in steps for identifier in effects.incidents if identifier not in machine.book.incidents}
    written = [effects.incidents[gone] for effects in steps if gone in effects.incidents]
    assert [document.state if document is not None else None for document in written][-2:] == [IncidentState.CLOSED, None]


def test_a_member_that_is_forgotten_and_comes_back_is_counted_once() -> None:
    control = a_control(rule_set=RuleSet(grouping=Grouping(window=300 * MINUTE)))
    keeper = [an_event("db/Slow", said=f"{minute}m") for minute in range(0, 200, 10)]
    events = [*keeper, an_event("db/Down", said="0"), resolved("db/Down", said="1m"), an_event("db/Down", said="150m")]
    ordered = sorted(events, key=lambda event: int(msgspec.json.decode(event)["at"]))
    outcome = run(ordered, control)
    for document in outcome.incidents.values():
        assert document.counts["alerts"] == len(document.members)
        assert document.counts["firing"] == sum(member.state == "firing" for member in document.members)


def test_a_document_of_many_shows_those_of_the_worst_severity() -> None:
    events = [an_event(f"db/Down{number:03}", labels={"severity": "critical" if number in (300, 310) else "info"}) for number in range(600)]
    outcome = run(events)
    (document,) = outcome.incidents.values()
    assert len(document.members) == 200
    assert {member.labels["alertname"] for member in document.members if member.labels["severity"] == "critical"} == {"Down300", "Down310"}


def test_beyond_its_limit_an_incident_only_counts_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "MEMBERS_MOST", 3)
    monkeypatch.setattr(incidents, "HITS_MOST", 1)
    outcome = run([an_event(f"db/Down{number}") for number in range(8)] + [an_event("cart/Down")])
    (document,) = outcome.incidents.values()
    assert document.counts == {"alerts": 9, "firing": 9, "pending": 0, "entities": 1}
    assert len(document.members) == 3


def test_beyond_the_limit_closed_incidents_are_forgotten_first() -> None:
    control = a_control()
    machine = Machine(control, guesses=False)
    machine.book = IncidentBook(control.rules, "default", incidents_most=4)
    for hour in range(12):
        story = [an_event("mail/Down", said=f"{hour}h"), resolved("mail/Down", said=f"{hour}h1m")]
        follow(machine, [*frames_of([story], control), a_tick(f"{hour}h30m")])
    assert machine.book.evicted > 0
    assert len(machine.book.incidents) <= 6


def test_a_document_shows_its_members_even_if_they_were_forgotten_meanwhile() -> None:
    brief = a_control(rule_set=RuleSet(retention=Retention(close_after=MINUTE)))
    events = [an_event("db/Slow", said="0"), resolved("db/Slow", said="1m"), *[an_event("mail/Up", said=f"{hour}h") for hour in (1, 2, 3)]]
    batched, single = run(events, brief), follow(Machine(brief), frames_of([[event] for event in events], brief))
    for outcome in (batched, single):
        closed = [document for document in outcome.incidents.values() if document.state is IncidentState.CLOSED]
        assert all(document.members for document in closed)
        assert closed[0].members[0].ends_at == "2026-01-05T00:01:00.000Z"


def test_a_member_of_a_live_incident_that_is_forgotten_is_still_shown() -> None:
    events = [an_event("db/Slow", said="0"), resolved("db/Slow", said="2m")]
    events += [an_event("db/Down", said=f"{minute}m") for minute in range(1, 100, 10)]
    ordered = sorted(events, key=lambda event: int(msgspec.json.decode(event)["at"]))
    outcome = run([*ordered, resolved("db/Down", said="100m")])
    (document,) = outcome.incidents.values()
    assert document.counts["alerts"] == len(document.members) == 2
    assert sorted(member.ends_at or "" for member in document.members) == ["2026-01-05T00:02:00.000Z", "2026-01-05T01:40:00.000Z"]


def test_a_guess_ends_with_the_alert_it_was_made_for() -> None:
    control = a_control()
    machine = Machine(control)
    frames = frames_of([[resolved("db/Down", said="5s"), an_event("db/Down", said="5s", received="6s")]], control)
    outcome = follow(machine, [frames[0], a_tick("5m", source="raw-1"), a_tick("5h", source="raw-0"), a_tick("5h", source="raw-1")])
    follow(machine, [a_tick("5h1m", source="raw-0"), a_tick("5h1m", source="raw-1")], outcome)
    assert not any(incident.guesses for incident in machine.book.incidents.values())


def test_a_guess_that_goes_elsewhere_leaves_the_times_of_its_incident_alone() -> None:
    outcome = told(
        [an_event("db/Down"), an_event("mail/Up", said="20s"), resolved("db/Down", said="21s"), an_event("cart/Slow", said="22s")]
    )
    guessed = next(document for document in outcome.revisions if document.counts["pending"] and document.counts["alerts"])
    assert outcome.incidents[guessed.id].updated == "2026-01-05T00:00:21.000Z"
    assert outcome.incidents[guessed.id].counts["pending"] == 0


def test_a_guess_follows_a_declared_path_to_another_guess_before_edges_that_nobody_declared() -> None:
    names = ("east-web", "east-db", "west-web", "west-db")
    edges = tuple([Edge(f"{isle}-web", f"{isle}-db", EdgeKind.CALLS) for isle in ("east", "west")])
    control = a_control(topology=Topology(tuple([Node(name, NodeKind.SERVICE) for name in names]), edges))
    judged = [an_event(f"{name}/Down{number}") for name in names[:2] for number in range(4)]
    coming = [an_event("west-db/Down", "25s"), an_event("west-web/Down", "26s")]
    machine = Machine(control)
    follow(machine, frames_of([judged, [an_event("none/Other", "20s")], coming], control)[:3])
    west = [incident.guesses for incident in machine.book.incidents.values() if "west-db" in incident.hits]
    assert [len(guesses) for guesses in west] == [2]


def test_a_member_whose_onset_is_told_late_does_not_close_the_joining_window_early() -> None:
    control = a_control(rule_set=RuleSet(grouping=Grouping(window=MINUTE)))
    told_late = an_event("db/Full", "5s", received="65s")
    story = [an_event("db/Down", received="0"), an_event("db/Slow", "50s", received="50s"), told_late]
    outcome = run([*story, an_event("db/Errors", "80s", received="80s")], control)
    assert [len(document.members) for document in outcome.incidents.values()] == [4]


@pytest.mark.parametrize(
    ("of", "severity", "priority"),
    [("web", "critical", "P1"), ("db", "critical", "P2"), ("web", "warning", "P2"), ("db", "warning", "P3"), ("web", "info", "P3")],
)
def test_a_cause_of_the_first_tier_raises_the_priority_by_one(of: str, severity: str, priority: str) -> None:
    outcome = run([an_event(f"{of}/Down", labels={"severity": severity})])
    assert [document.priority for document in outcome.incidents.values()] == [priority]


def test_what_an_incident_does_as_a_whole_is_decided_too_in_order() -> None:
    story = [an_event(), resolved("db/Down", "5m"), an_event("db/Down", "10m"), resolved("db/Down", "12m")]
    decisions = run(story, until="1h").decisions
    assert [str(decision.why) for decision in decisions] == [
        *("new_fault", "settled", "cleared", "recovered"),
        *("relapsed", "returned", "cleared", "recovered", "stayed_well"),
    ]
    assert [decision.at[14:19] for decision in decisions if decision.fingerprint is None] == ["00:30", "05:00", "10:00", "12:00", "27:00"]
    assert len({decision.incident for decision in decisions}) == 1


def test_a_guess_that_does_not_come_true_is_no_decision() -> None:
    frames = frames_of([[an_event()], [resolved("db/Down", "-1m")]], a_control())
    outcome = follow(Machine(a_control()), [frames[0]])
    assert outcome.decisions == []
    assert follow(Machine(a_control(), decisions=False), [*frames, a_tick("1h")]).decisions == []
