"""A backlog over several raw partitions gives the same as over one, whatever order the tasks go on in, and whatever fails on the way."""

import logging
from functools import partial
from typing import Final

import msgspec
import pytest

from correlator.frames.codec import decode_frame
from correlator.model.instant import MINUTE, SECOND
from correlator.model.rule import TimeRules
from correlator.runtime.pace import PATIENCE_S
from correlator.runtime.ports import TopicPartition

from tests.builders import T0
from tests.profile import PROFILE
from tests.simulation.backlog import Backlog, BacklogPlay, Item, a_backlog, late_rows, replayed
from tests.simulation.laws import values_of
from tests.simulation.play import TOPICS

SEEDS: Final = {"night": 2_000, "ci": 400}.get(PROFILE, 40)
EACH: Final = 20


class Unpaced(BacklogPlay):
    """A service whose intakes do not see each other."""

    def _others_of(self, _tp: TopicPartition) -> list[TopicPartition]:
        return []


def given_up(play: BacklogPlay) -> float:
    return play.telemetry.registry.get_sample_value("correlator_partitions_given_up_total") or 0


@pytest.mark.parametrize("first", range(0, SEEDS, EACH))
def test_a_backlog_gives_what_a_replay_of_a_single_partition_gives(first: int) -> None:
    for seed in range(first, first + EACH):
        play = BacklogPlay(a_backlog(seed), seed)
        play.run()
        assert (late_rows(play), given_up(play)) == ([], 0), f"seed {seed}"
        assert play.forms() == replayed(play.backlog), f"seed {seed}"


@pytest.mark.parametrize("first", range(0, SEEDS, EACH))
def test_no_fault_on_the_way_through_a_backlog_changes_what_comes_of_it(first: int) -> None:
    for seed in range(first, first + EACH):
        play = BacklogPlay(a_backlog(seed), seed, faults=True)
        play.run()
        assert (late_rows(play), given_up(play)) == ([], 0), f"seed {seed}"
        assert play.forms() == replayed(play.backlog), f"seed {seed}"


def test_intakes_that_do_not_see_each_other_would_break_these_laws() -> None:
    plays = [Unpaced(a_backlog(seed), seed) for seed in range(20)]
    for play in plays:
        play.run()
    assert sum(bool(late_rows(play)) for play in plays) > len(plays) // 2


@pytest.mark.parametrize("seed", range(6))
def test_a_partition_that_nobody_reads_delays_the_others_by_their_patience_and_no_longer(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    backlog = a_dense_backlog(seed, is_recording=seed % 2 == 0)
    play = BacklogPlay(backlog, seed)
    play.publish()
    alive = range(backlog.partitions - 1)
    for partition in alive:
        play.add_intake(partition)
    with caplog.at_level(logging.WARNING):
        play.go_on(partial(play.is_read, *alive))
    assert PATIENCE_S <= play.slots <= PATIENCE_S + 3
    assert given_up(play) == len(alive)
    assert f"sim.events-{len(alive)} has a backlog and has not moved for 30 s; the other raw partitions go on without it" in caplog.text
    play.add_intake(len(alive))
    play.go_on(partial(play.is_read, len(alive)))
    assert play.slots <= PATIENCE_S + 5


def test_a_partition_that_stops_on_the_way_is_waited_for_where_it_stopped() -> None:
    backlog = a_dense_backlog(0, is_recording=True)
    play = BacklogPlay(backlog, 0)
    play.publish()
    first, *_ = [play.add_intake(partition) for partition in range(backlog.partitions)]
    while play.behind(0) > 4 * EACH:
        play.world.step(play.world.random.choice(play.world.clients))
    first.sleeps_until = play.world.slot + PATIENCE_S - 2
    play.go_on(lambda: play.world.slot >= first.sleeps_until - 1)
    stopped = furthest(play, 0)
    assert stopped < backlog.items[-1].arrival - 5 * MINUTE
    assert all(furthest(play, other) <= stopped + 5 * MINUTE for other in range(1, backlog.partitions))
    play.go_on(partial(play.is_read, *range(backlog.partitions)))
    assert (late_rows(play), given_up(play)) == ([], 0)
    assert play.forms() == replayed(backlog)


def furthest(play: BacklogPlay, partition: int) -> int:
    """Answer how far time was said to have come in a raw partition."""
    frames = [decode_frame(value) for value in values_of(play.world.log, TopicPartition(TOPICS.frames, 0))]
    return max([frame.watermark for frame in frames if frame.source.endswith(f"-{partition}")], default=0)


def a_dense_backlog(seed: int, *, is_recording: bool) -> Backlog:
    """An hour with an event every few seconds in each partition, and nothing in doubt."""
    backlog = a_backlog(seed)
    control = msgspec.structs.replace(backlog.control, rules=msgspec.structs.replace(backlog.control.rules, time=TimeRules()))
    pattern = next(one for one in map(a_backlog, range(100)) if len(one.items) >= 150)
    items = []
    for number in range(600):
        arrival = T0 + number * 6 * SECOND
        value = pattern.items[number % len(pattern.items)].value
        document = {**msgspec.json.decode(value), "at": arrival}
        document.pop("receivedAt", None)
        if is_recording:
            document["receivedAt"] = arrival
        items.append(Item(arrival, msgspec.json.encode(document), number % backlog.partitions))
    return msgspec.structs.replace(backlog, control=control, is_recording=is_recording, items=items)
