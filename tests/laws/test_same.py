"""Laws of sameness: batching, order within `reorder`, partitioning, guesses and resends change nothing that matters."""

from itertools import pairwise
from random import Random

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from correlator.correlate.lifecycle import MEMORY_LEAST
from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.pipeline import Intake
from correlator.model.incident import IncidentDocument, Why
from correlator.model.instant import MINUTE

from tests.builders import T0, a_tick, follow, frames_of, over_the_log
from tests.laws.canonical import Canonical, canonical
from tests.laws.streams import CONTROLS, GAPS, REORDER, Item, controls, streams

LONG: tuple[int, ...] = (*GAPS, 61 * MINUTE, 25 * 60 * MINUTE)


def outcome_of(batches: list[list[bytes]], control: Control, *, guesses: bool = True) -> Canonical:
    return canonical(follow(Machine(control, guesses=guesses), frames_of(batches, control)))


def split(values: list[bytes], cuts: list[int]) -> list[list[bytes]]:
    places = sorted({0, len(values), *[cut % (len(values) + 1) for cut in cuts]})
    return [values[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 100), max_size=8)


@given(items=streams(gaps=LONG), places=cuts, control=controls, with_arrival=st.booleans())
def test_any_split_into_batches_gives_the_same(items: list[Item], places: list[int], *, control: Control, with_arrival: bool) -> None:
    values = [item.written(with_arrival=with_arrival) for item in items]
    assert outcome_of(split(values, places), control) == outcome_of([values], control)


@given(items=streams(delays=(0,)), random=st.randoms(use_true_random=False), places=cuts, control=controls)
def test_order_within_reorder_changes_nothing(items: list[Item], random: Random, *, places: list[int], control: Control) -> None:
    pull = [item.at + random.randrange(REORDER) for item in items]
    moved = [item for _, item in sorted(zip(pull, items, strict=True), key=lambda pair: pair[0])]
    values = [item.written(with_arrival=False) for item in items]
    shuffled = [item.written(with_arrival=False) for item in moved]
    assert outcome_of(split(shuffled, places), control) == outcome_of([values], control)


@given(streams(), cuts, controls)
def test_guesses_change_nothing_that_is_judged(items: list[Item], places: list[int], control: Control) -> None:
    batches = split([item.written() for item in items], places)
    assert outcome_of(batches, control, guesses=True) == outcome_of(batches, control, guesses=False)


@given(streams(gaps=LONG), cuts, controls)
def test_a_replay_writes_each_incident_once_with_all_that_led_to_it(items: list[Item], places: list[int], control: Control) -> None:
    frames = frames_of(split([item.written() for item in items], places), control)
    machine = Machine(control, guesses=False, drafts=False)
    replayed = follow(machine, frames)
    once = [*replayed.revisions, *machine.open_incidents]
    replayed.incidents = {document.id: document for document in once}
    assert len(replayed.incidents) == len(once)
    assert {document.revision for document in once} <= {1}
    whole = follow(Machine(control, guesses=False), frames)
    assert {document.id: led_to([document]) for document in once} == {
        identifier: led_to([document for document in whole.revisions if document.id == identifier]) for identifier in whole.incidents
    }
    assert canonical(replayed) == canonical(whole)


def led_to(documents: list[IncidentDocument]) -> list[Why]:
    """Answer the reasons that documents give, each once, in their order; that a root is in no topology is no event, and left out."""
    return [why for why in dict.fromkeys(why for document in documents for why in document.why) if why is not Why.UNKNOWN_ENTITY]


@given(streams(), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 6)), min_size=1, max_size=6), controls)
def test_resends_change_counts_only(items: list[Item], again: list[tuple[int, int]], control: Control) -> None:
    """One that comes after its alert may be forgotten is left out: then nobody can know that it was said before."""
    resent = list(items)
    for number, later in again:
        item = items[number % len(items)]
        place = min(resent.index(item) + later, len(resent) - 1)
        arrival = resent[place].arrival
        if arrival - item.at < MEMORY_LEAST:
            resent.insert(place + 1, msgspec.structs.replace(item, arrival=arrival))
    values, twice = [item.written() for item in items], [item.written() for item in resent]
    assert outcome_of([twice], control) == outcome_of([values], control)


def delivered(items: list[Item], partition_of: list[int], control: Control, *, partitions: int, lags: list[int]) -> list[Frame]:
    """Deliver a stream over several partitions as live intakes do.

    Each ticks at least every four minutes of log time. `lags` delay frames, less than `max_hold`; a partition's frames keep their order.
    """
    intakes = [Intake(f"raw-{number}", control, is_recording=True, watermark=T0) for number in range(partitions)]
    arrived: list[tuple[int, Frame]] = []
    for number, intake in enumerate(intakes):
        mine = [item for place, item in enumerate(items) if partition_of[place] % partitions == number]
        due = 0
        for moment, instant in enumerate(instants_of(items)):
            due = max(due, instant + (lags[(moment + number) % len(lags)] if lags else 0))
            arrived += [(due, over_the_log(frame)) for frame in read_at(intake, instant, mine)]
    registered = [a_tick(T0, source=f"raw-{number}") for number in range(partitions)]
    ended = [over_the_log(frame) for intake in intakes for _, frame in intake.end().frames]
    return [*registered, *[frame for _, frame in sorted(arrived, key=lambda entry: entry[0])], *ended]


def instants_of(items: list[Item]) -> list[int]:
    return sorted({*[item.arrival for item in items], *range(T0, items[-1].arrival + 4 * MINUTE, 4 * MINUTE)})


def read_at(intake: Intake, instant: int, mine: list[Item]) -> list[Frame]:
    """Let an intake read what arrives at an instant, and say that there is no more."""
    earlier = sum(item.arrival < instant for item in mine)
    values = [item.written() for item in mine if item.arrival == instant]
    output = intake.step(range(earlier, earlier + len(values)), values)
    return [frame for _, frame in (*output.frames, *intake.tick(instant).frames)]


_TWO_ENDS_FOR_ONE_TIME = [
    Item(T0, T0, "db/Down", "firing", "a"),
    Item(T0 - REORDER - 1, T0, "web/Page", "firing", "a", 1),
    Item(T0 - REORDER - 1, T0, "web/Page", "firing", "a", 10_000),
]
"""Late statements that differ in nothing but the end they name: what they say must order them, not who was read first."""


@given(
    items=streams(),
    partition_of=st.lists(st.integers(0, 2), min_size=24, max_size=24),
    partitions=st.integers(2, 3),
    lags=st.lists(st.integers(0, 50_000), max_size=5),
    control=controls,
)
@example(items=_TWO_ENDS_FOR_ONE_TIME, partition_of=[0, 1] + [0] * 22, partitions=2, lags=[], control=CONTROLS["default"])
def test_any_split_over_partitions_gives_the_same(
    items: list[Item], partition_of: list[int], *, partitions: int, lags: list[int], control: Control
) -> None:
    one = delivered(items, [0] * len(items), control, partitions=1, lags=[])
    many = delivered(items, partition_of, control, partitions=partitions, lags=lags)
    assert canonical(follow(Machine(control), many)) == canonical(follow(Machine(control), one))
