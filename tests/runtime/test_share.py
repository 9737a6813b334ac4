"""A worker and its share of the work, on a log in memory whose group says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from correlator.config.settings import Settings, TopicSettings
from correlator.runtime import worker as workers
from correlator.runtime.http import Readiness
from correlator.runtime.memory import MemoryLog, MemoryWriter
from correlator.runtime.ports import Batch, Messages, Reader, Refused, Share, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.worker import Worker

from tests.builders import T0, a_control, an_event

TOPICS = Topics("correlator")
RAW = TopicPartition(TOPICS.raw("events"), 0)
FRAMES = TopicPartition(TOPICS.frames, 0)
ALL = frozenset({RAW, FRAMES})
BRIEF_S = 0.05
FAILURES = 5


class Group:
    """A membership that says what it is told to say, again and again while it is asked to."""

    is_shared = True

    def __init__(self) -> None:
        self.share: Share = ALL
        self.is_telling = True
        self._rounds = asyncio.Condition()

    async def run(self, on_share: Callable[[Share], None]) -> None:
        while True:
            if self.is_telling:
                on_share(self.share)
            async with self._rounds:
                self._rounds.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(BRIEF_S):
                    await asyncio.Event().wait()

    async def rounds(self, count: int) -> None:
        """Let the group go on for so many heartbeats."""
        for _ in range(count):
            async with self._rounds:
                await self._rounds.wait()


class SlowReader:
    """A reader that answers nothing, and takes its time to close, while `is_open` is not set."""

    def __init__(self, reader: Reader, is_open: asyncio.Event) -> None:
        self._reader = reader
        self._is_open = is_open

    @property
    def position(self) -> int:
        return self._reader.position

    def seek(self, offset: int) -> None:
        self._reader.seek(offset)

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        await self._is_open.wait()
        return await self._reader.poll(max_records=max_records, timeout_ms=timeout_ms)

    async def close(self) -> None:
        await self._is_open.wait()
        await self._reader.close()


class SharedLog(MemoryLog):
    """A log in memory with a group; raw records are slow to come while `flows` is not set."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        self.flows = asyncio.Event()
        self.flows.set()
        self.starts = 0
        self.failing, self.failures = "", 0
        self.on_call = self._count

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> Group:  # type: ignore[override] # noqa: ARG002
        return self.group

    def reader(self, tp: TopicPartition) -> Reader:  # type: ignore[override] # a reader all the same
        reader = super().reader(tp)
        return SlowReader(reader, self.flows) if tp == RAW else reader

    def write(self, writer: MemoryWriter) -> None:
        if writer.transactional_id == self.failing and self.failures < FAILURES:
            self.failures += 1
            raise Transient("too few replicas")
        super().write(writer)

    def _count(self, call: str) -> None:
        self.starts += call == "start:before"


class Company:
    """One worker of a group, its log, and what it says of itself."""

    def __init__(self) -> None:
        self.group = Group()
        self.log = SharedLog(self.group)
        self.readiness = Readiness(self._hear)
        self.ready_after: list[int] = []
        self.telemetry = Telemetry()
        settings = Settings(topics=(TopicSettings(name="events"),))
        self.worker = Worker(self.log, settings, a_control(), telemetry=self.telemetry, readiness=self.readiness)

    def _hear(self, is_ready: bool) -> None:  # noqa: FBT001 - as `Readiness` calls it
        self.ready_after += [self.log.failures] if is_ready else []

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        await self.log.open_topics(TOPICS.settings({"events": 1}, 1))
        async with asyncio.timeout(30):
            running = asyncio.create_task(self.worker.run())
            await self.until(lambda: self.readiness.is_ready)
            yield
            self.worker.stop.set()
            await running

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            await self.group.rounds(1)

    async def publish(self) -> None:
        writer = self.log.writer(None)
        await writer.begin()
        await writer.send(RAW, Messages([an_event()], timestamps=[T0]))
        await writer.commit()

    async def take_over(self, transactional_id: str) -> None:
        """Be a newer writer, as another worker that was given the partition."""
        writer = self.log.writer(transactional_id)
        await writer.start()
        await writer.close()

    def task(self, tp: TopicPartition) -> asyncio.Task[None] | None:
        place = self.worker._places.get(tp)  # noqa: SLF001 - who works at what is nowhere else to be seen
        return None if place is None else place.running

    def count(self, name: str) -> int:
        return int(self.telemetry.registry.get_sample_value(f"correlator_{name}") or 0)


async def test_a_partition_that_goes_elsewhere_is_left_behind_the_batch_in_hand() -> None:
    company = Company()
    async with company.at_work():
        company.group.share = frozenset({FRAMES})
        async with asyncio.timeout(workers.LEAVE_PATIENCE_S / 2):
            await company.until(lambda: company.task(RAW) is None)


async def test_a_partition_that_comes_back_while_it_is_being_left_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LEAVE_PATIENCE_S", BRIEF_S)
    company = Company()
    async with company.at_work():
        company.log.flows.clear()
        leaving = company.task(RAW)
        assert leaving is not None
        company.group.share = frozenset({FRAMES})
        await company.until(lambda: leaving.cancelling() > 0)
        company.group.share = ALL
        await company.group.rounds(3)  # the group says so while the old task is closing
        company.log.flows.set()
        await company.until(lambda: company.task(RAW) not in (leaving, None))
        await company.publish()
        await company.until(lambda: company.count("items_received_total") == 1)


async def test_a_partition_that_stays_after_all_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LEAVE_PATIENCE_S", 5 * BRIEF_S)
    company = Company()
    async with company.at_work():
        company.log.flows.clear()
        task, starts = company.task(RAW), company.log.starts
        assert task is not None
        company.group.share = frozenset({FRAMES})
        await company.group.rounds(3)
        company.group.share = ALL
        await company.group.rounds(7)  # it would have been given up by now
        assert (task.cancelling(), company.task(RAW), company.log.starts) == (0, task, starts)
        company.log.flows.set()


async def test_a_fenced_partition_is_not_taken_again_before_the_group_says_that_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FENCED_PAUSE_S", BRIEF_S)
    company = Company()
    async with company.at_work():
        company.group.is_telling = False
        starts = company.log.starts
        await company.take_over(TOPICS.intake_writer(RAW))
        await company.publish()
        await company.until(lambda: company.count("fences_total") == 1)
        await company.group.rounds(5)
        assert company.log.starts == starts + 1  # the one that took over
        company.group.is_telling = True
        await company.until(lambda: company.count("items_received_total") == 1)


async def test_who_is_fenced_again_and_again_though_the_partition_is_ours_stops_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "FENCED_PAUSE_S", 0.0)
    company = Company()
    await company.log.open_topics(TOPICS.settings({"events": 1}, 1))
    running = asyncio.create_task(company.worker.run())
    while not running.done():
        await company.take_over(TOPICS.intake_writer(RAW))
        await company.publish()
        await asyncio.wait((running,), timeout=BRIEF_S)
    with pytest.raises(Refused, match="for the 5th time in a minute, and the group says that the partition is ours"):
        await running


@pytest.mark.parametrize("writer", [TOPICS.intake_writer(RAW), TOPICS.correlate_writer(0)])
async def test_who_cannot_commit_is_not_ready_until_it_can(monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    monkeypatch.setattr(workers, "BACK_OFF_S", (BRIEF_S,))
    company = Company()
    async with company.at_work():
        company.log.failing = writer
        await company.publish()
        await company.until(lambda: company.log.failures == FAILURES and company.readiness.is_ready)
        assert {failures for failures in company.ready_after if failures} == {FAILURES}
