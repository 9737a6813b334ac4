"""What an alert looks like is what the statement said that began its stretch, in whatever order and batches the statements came."""

from collections.abc import Sequence
from itertools import permutations

import pytest

from correlator.correlate.machine import Machine
from correlator.model.alert import AlertState

from tests.builders import a_control, a_tick, an_event, frames_of

SAID = ("0", "2s", "4s")
SPLITS = ([3], [1, 2], [2, 1], [1, 1, 1])


def looks(batches: Sequence[Sequence[bytes]]) -> tuple[dict[str, str], float | None]:
    """Answer annotations and value of the one alert that fires in the end."""
    control = a_control()
    machine = Machine(control)
    for frame in [*frames_of(batches, control), a_tick("1m")]:
        machine.step(frame)
    [alert] = [alert for alert in machine.lifecycle.alerts.values() if alert.state is AlertState.FIRING]
    return alert.annotations, alert.value


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("order", list(permutations(SAID)), ids=str)
def test_looks_are_those_of_the_statement_that_began_the_stretch(order: tuple[str, ...], split: list[int]) -> None:
    events = [an_event(said=said, received="6s", annotations={"said": said}, value=float(said[0])) for said in order]
    batches, first = [], 0
    for size in split:
        batches.append(events[first : first + size])
        first += size
    assert looks(batches) == ({"said": "0"}, 0.0)
