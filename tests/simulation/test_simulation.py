"""The simulation as a test: about two minutes on CI, where every fault must have happened at every call, and seconds elsewhere."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import pytest

from correlator.runtime.ports import TopicPartition

from tests.simulation.faults import CELLS, SLOW, Cell, a_plan, table
from tests.simulation.laws import judge
from tests.simulation.play import RAW, TOPICS, Play
from tests.simulation.runs import Runs, told
from tests.simulation.story import WARM_UP, a_story

ON_CI: Final = os.environ.get("CI", "").lower() == "true"
SECONDS: Final = 120 if ON_CI else 10
TIMES_LEAST: Final = 20
SECONDS_MOST: Final = 400
"""A slow machine may take longer until the rarest fault has happened often enough."""


@pytest.mark.timeout(SECONDS_MOST + 100)
def test_no_fault_at_any_call_loses_or_doubles_anything() -> None:
    runs, started, seed = Runs(), time.monotonic(), 1
    while time.monotonic() - started < SECONDS or (ON_CI and runs.rarest < TIMES_LEAST and time.monotonic() - started < SECONDS_MOST):
        failure = runs.one(seed)
        assert failure is None, told(failure)
        seed += 1
    print(table(runs.counts))
    rare = [cell for cell in CELLS if runs.counts[cell] < TIMES_LEAST]
    assert not (ON_CI and rare), f"these faults happened too seldom to say anything: {rare}"


def test_a_recording_is_judged_to_its_end_though_one_partition_ends_sooner() -> None:
    stories = map(a_story, range(1, 200))
    story = next(one for one in stories if one.is_recording and one.partitions > 1 and one.slots >= 50)
    shorter = [one for one in story.deliveries if one.partition or one.slot <= 2 * WARM_UP]
    play = Play(msgspec.structs.replace(story, deliveries=shorter), 1, [])
    play.run()
    judge(play)


def test_what_is_not_needed_goes_from_the_log_meanwhile() -> None:
    play = Play(a_story(8), 8, [])
    play.run()
    judge(play)
    for tp in (TopicPartition(RAW, 0), TopicPartition(TOPICS.frames, 0), TopicPartition(TOPICS.decisions, 0)):
        first, end = asyncio.run(play.world.log.bounds(tp))
        assert 0 < first <= end


@pytest.mark.parametrize("seed", [1, 10, 13])
def test_a_backlog_behind_a_slow_log_fires_no_timers(seed: int) -> None:
    failure = Runs().one(seed, [Cell("intake", "poll", SLOW)] * 12)
    assert failure is None, told(failure)


def test_equal_seeds_do_equal_runs() -> None:
    plays = [Play(a_story(7), 7, a_plan(7)) for _ in range(2)]
    for play in plays:
        play.run()
    first, second = plays
    assert first.world.trail == second.world.trail
    assert first.world.log.history == second.world.log.history


_DIGEST: Final = """
import hashlib
from tests.simulation.faults import a_plan
from tests.simulation.laws import judge
from tests.simulation.play import Play
from tests.simulation.story import WARM_UP, a_story
from tests.simulation.world import BrokenLawError
play = Play(a_story(8), 8, a_plan(8))
play.run()
print(hashlib.sha256(repr((play.world.trail, play.world.log.history)).encode()).hexdigest())
"""


def test_a_run_does_not_depend_on_the_order_of_hashes() -> None:
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST], cwd=root, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
