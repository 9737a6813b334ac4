"""Transition tables: every pair of state and move is either in the table or cannot happen."""

from itertools import product

import pytest

from correlator.model.alert import ALERT_MOVES, AlertMove, AlertState, next_alert_state
from correlator.model.event import Flag, Rejection
from correlator.model.incident import FINAL_STATES, INCIDENT_MOVES, IncidentMove, IncidentState, next_incident_state


@pytest.mark.parametrize(("state", "move"), list(product(AlertState, AlertMove)))
def test_an_alert_moves_as_its_table_says_and_in_no_other_way(state: AlertState, move: AlertMove) -> None:
    if (state, move) in ALERT_MOVES:
        assert next_alert_state(state, move) is ALERT_MOVES[state, move]
        return
    with pytest.raises(AssertionError, match=f"an alert that is {state} cannot be {move}"):
        next_alert_state(state, move)


@pytest.mark.parametrize(("state", "move"), list(product(IncidentState, IncidentMove)))
def test_an_incident_moves_as_its_table_says_and_in_no_other_way(state: IncidentState, move: IncidentMove) -> None:
    if (state, move) in INCIDENT_MOVES:
        assert next_incident_state(state, move) is INCIDENT_MOVES[state, move]
        return
    with pytest.raises(AssertionError, match=f"an incident that is {state} cannot be {move}"):
        next_incident_state(state, move)


@pytest.mark.parametrize("state", AlertState)
def test_every_alert_can_become_resolved_again(state: AlertState) -> None:
    reached = {state}
    for _ in AlertState:
        reached |= {after for (before, _), after in ALERT_MOVES.items() if before in reached}
    assert AlertState.RESOLVED in reached


@pytest.mark.parametrize("state", IncidentState)
def test_every_incident_can_come_to_an_end_and_then_stays_there(state: IncidentState) -> None:
    after = [then for (before, _), then in INCIDENT_MOVES.items() if before is state]
    assert bool(after) is (state not in FINAL_STATES)


def test_every_move_is_in_a_table() -> None:
    assert {move for _, move in ALERT_MOVES} == set(AlertMove)
    assert {move for _, move in INCIDENT_MOVES} == set(IncidentMove)


def test_flags_keep_their_numbers_since_they_travel_in_frames() -> None:
    assert [(flag.name, flag.value) for flag in Flag] == [
        ("LATE", 1),
        ("IMPLAUSIBLE_TIME", 2),
        ("NO_ZONE", 4),
        ("RESOLVED_BEFORE_FIRING", 8),
        ("SAME_ID_OTHER_CONTENT", 16),
        ("MISSING_SERVICE", 32),
        ("UNKNOWN_SERVICE", 64),
        ("TIME_UNIT", 128),
        ("NO_TIME", 256),
    ]


def test_reasons_are_words_that_can_be_metric_labels() -> None:
    assert all(reason.value == reason.name.lower() for reason in Rejection)
