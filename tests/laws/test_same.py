"""Laws of sameness: batching, order within `reorder`, partitioning, guesses and resends change nothing that matters."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.pipeline import Intake
from correlator.model.instant import MINUTE
from tests.builders import T0, a_tick, follow, frames_of, over_the_log
from tests.laws.canonical import Canonical, canonical
from tests.laws.streams import GAPS, REORDER, Item, controls, streams

LONG: tuple[int, ...] = (*GAPS, 61 * MINUTE, 25 * 60 * MINUTE)


def outcome_of(batches: list[list[bytes]], control: Control, *, guesses: bool = True) -> Canonical:
    return canonical(follow(Machine(control, guesses=guesses), frames_of(batches, control)))


def split(values: list[bytes], cuts: list[int]) -> list[list[bytes]]:
    places = sorted({0, len(values), *[cut % (len(values) + 1) for cut in cuts]})
    return [values[start:end] for start, end in zip(places, places[1:], strict=False)]


cuts = st.lists(st.integers(0, 100), max_size=8)


@given(streams(gaps=LONG), cuts, controls, st.booleans())
def test_any_split_into_batches_gives_the_same(items: list[Item], places: list[int], control: Control, with_arrival: bool) -> None:  # noqa: FBT001
    values = [item.written(with_arrival=with_arrival) for item in items]
    assert outcome_of(split(values, places), control) == outcome_of([values], control)


@given(streams(delays=(0,)), st.randoms(use_true_random=False), cuts, controls)
def test_order_within_reorder_changes_nothing(items: list[Item], random: object, places: list[int], control: Control) -> None:
    pull = [item.at + random.randrange(REORDER) for item in items]  # type: ignore[attr-defined]
    moved = [item for _, item in sorted(zip(pull, items, strict=True), key=lambda pair: pair[0])]
    values = [item.written(with_arrival=False) for item in items]
    shuffled = [item.written(with_arrival=False) for item in moved]
    assert outcome_of(split(shuffled, places), control) == outcome_of([values], control)


@given(streams(), cuts, controls)
def test_guesses_change_nothing_that_is_judged(items: list[Item], places: list[int], control: Control) -> None:
    batches = split([item.written() for item in items], places)
    assert outcome_of(batches, control, guesses=True) == outcome_of(batches, control, guesses=False)


@given(streams(), st.lists(st.tuples(st.integers(0, 100), st.integers(0, 6)), min_size=1, max_size=6), controls)
def test_resends_change_counts_only(items: list[Item], again: list[tuple[int, int]], control: Control) -> None:
    resent = list(items)
    for number, later in again:
        item = items[number % len(items)]
        place = min(resent.index(item) + later, len(resent) - 1)
        arrival = resent[place].arrival
        resent.insert(place + 1, Item(item.at, arrival, item.of, item.status, item.replica))
    values, twice = [item.written() for item in items], [item.written() for item in resent]
    assert outcome_of([twice], control) == outcome_of([values], control)


def delivered(items: list[Item], partition_of: list[int], control: Control, *, partitions: int, lags: list[int]) -> list[Frame]:
    """Deliver a stream over several partitions as live intakes do: each ticks at least every four minutes, some frames come late."""
    intakes = [Intake(f"raw-{number}", control, is_recording=True, watermark=T0) for number in range(partitions)]
    frames: list[tuple[int, int, Frame]] = []
    offsets = [0] * partitions
    end = items[-1].arrival
    instants = sorted({*[item.arrival for item in items], *range(T0, end + 4 * MINUTE, 4 * MINUTE)})
    for moment, instant in enumerate(instants):
        for number, intake in enumerate(intakes):
            mine = [item.written() for place, item in enumerate(items) if item.arrival == instant and partition_of[place] % partitions == number]
            lag = lags[(moment + number) % len(lags)] if lags else 0
            output = intake.step(range(offsets[number], offsets[number] + len(mine)), mine)
            offsets[number] += len(mine)
            for _, frame in (*output.frames, *intake.tick(instant).frames):
                frames.append((instant + lag, number, over_the_log(frame)))
    in_order: list[Frame] = []
    last = [0] * partitions
    for due, number, frame in frames:
        last[number] = max(last[number], due)
        frames[len(in_order)] = (last[number], number, frame)
        in_order.append(frame)
    ordered = [frame for _, _, frame in sorted(frames, key=lambda entry: entry[0])]
    registered = [a_tick(T0, source=f"raw-{number}") for number in range(partitions)]
    ended = [over_the_log(frame) for intake in intakes for _, frame in intake.end().frames]
    return [*registered, *ordered, *ended]


@given(
    streams(),
    st.lists(st.integers(0, 2), min_size=24, max_size=24),
    st.integers(2, 3),
    st.lists(st.integers(0, 50_000), max_size=5),
    controls,
)
def test_any_split_over_partitions_gives_the_same(
    items: list[Item], partition_of: list[int], partitions: int, lags: list[int], control: Control
) -> None:
    one = delivered(items, [0] * len(items), control, partitions=1, lags=[])
    many = delivered(items, partition_of, control, partitions=partitions, lags=lags)
    assert canonical(follow(Machine(control), many)) == canonical(follow(Machine(control), one))
