"""Alerts: one monitored condition's state, and the table of moves it can make."""

from enum import IntEnum
from typing import Final

from correlator.model.word import Word

FINGERPRINT_BYTES: Final = 16


class Status(IntEnum):
    """What one event says of its alert."""

    FIRING = 0
    RESOLVED = 1


class AlertState(Word):
    """Where an alert stands."""

    RESOLVED = "resolved"
    HELD = "held"
    FIRING = "firing"
    KEPT = "kept"


class AlertMove(Word):
    """What happens to an alert; each member is also a metric label and the word in a decision."""

    STARTED = "started"
    HELD = "held"
    HOLD_ENDED = "hold_ended"
    CLEARED = "cleared"
    KEPT = "kept"
    RETURNED = "returned"
    KEEP_ENDED = "keep_ended"
    EXPIRED = "expired"


ALERT_MOVES: Final[dict[tuple[AlertState, AlertMove], AlertState]] = {
    (AlertState.RESOLVED, AlertMove.STARTED): AlertState.FIRING,
    (AlertState.RESOLVED, AlertMove.HELD): AlertState.HELD,
    (AlertState.HELD, AlertMove.HOLD_ENDED): AlertState.FIRING,
    (AlertState.HELD, AlertMove.CLEARED): AlertState.RESOLVED,
    (AlertState.HELD, AlertMove.EXPIRED): AlertState.RESOLVED,
    (AlertState.FIRING, AlertMove.CLEARED): AlertState.RESOLVED,
    (AlertState.FIRING, AlertMove.KEPT): AlertState.KEPT,
    (AlertState.FIRING, AlertMove.EXPIRED): AlertState.RESOLVED,
    (AlertState.KEPT, AlertMove.RETURNED): AlertState.FIRING,
    (AlertState.KEPT, AlertMove.KEEP_ENDED): AlertState.RESOLVED,
}
"""Every move an alert can make; a pair that is not here cannot happen."""


def next_alert_state(state: AlertState, move: AlertMove) -> AlertState:
    """Answer the state after a move; a pair outside the table is a bug and fails the assertion."""
    after = ALERT_MOVES.get((state, move))
    assert after is not None, f"an alert that is {state} cannot be {move}"
    return after
