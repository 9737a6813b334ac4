"""How much of a partition is left, as those who watch are told, and how often the log is asked for it."""

from collections import Counter

from correlator.runtime.backlog import LOOK_EVERY_S, Backlog
from correlator.runtime.memory import MemoryLog
from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Messages, TopicPartition, TopicSettings
from correlator.runtime.telemetry import Telemetry

RAW = TopicPartition("raw", 0)


class World:
    """A partition with records, and a clock of seconds that a test moves."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.log = MemoryLog(on_call=self._count)
        self.now = 0.0
        self.telemetry = Telemetry()
        self.backlog = Backlog(self.log, RAW, stage=Stage.INTAKE, telemetry=self.telemetry, seconds=lambda: self.now)

    def _count(self, call: str) -> None:
        self.calls[call] += 1

    async def records(self, count: int) -> None:
        writer = self.log.writer(None)
        await writer.begin()
        await writer.send(RAW, Messages([b""] * count))
        await writer.commit()

    @property
    def lag(self) -> float | None:
        return self.telemetry.registry.get_sample_value("correlator_lag_records", {"stage": "intake", "partition": "raw-0"})

    @property
    def looks(self) -> int:
        return self.calls["bounds:after"]


async def a_world() -> World:
    world = World()
    await world.log.open_topics([TopicSettings("raw")])
    await world.records(10)
    return world


async def test_the_first_commit_tells_what_is_left() -> None:
    world = await a_world()
    await world.backlog.moved(3)
    assert (world.lag, world.backlog.end) == (7, 10)


async def test_the_log_is_asked_once_a_second_while_records_come() -> None:
    world = await a_world()
    for position in range(1, 10):
        world.now = position * LOOK_EVERY_S / 4
        await world.backlog.moved(position)
    assert world.looks == 3
    assert world.lag == 1


async def test_the_log_is_asked_once_more_when_no_more_come() -> None:
    world = await a_world()
    await world.backlog.rested()
    assert world.looks == 0
    await world.backlog.moved(4)
    await world.backlog.moved(10)
    assert world.lag == 6
    for _ in range(3):
        await world.backlog.rested()
    assert (world.lag, world.looks) == (0, 2)
