"""The worker: all tasks of one process, supervised, with errors classed by what comes next.

Transient: the task is thrown away and made anew after a pause. Poison, which is input on which the program fails: it is narrowed down
to one record, which becomes a dead letter (see `runtime/caution.py`). Anything else is fatal: the worker stops and says what to do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Final, Protocol

from correlator.config.settings import Settings, TopicSettings
from correlator.frames.control import Control
from correlator.frames.frame import FrameError
from correlator.intake.formats import Format
from correlator.intake.route import Router
from correlator.model.instant import Instant
from correlator.model.version import NewerVersionError
from correlator.runtime.caution import Caution
from correlator.runtime.control import put_in_force
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.embedded import wall_clock
from correlator.runtime.fatal import stopped
from correlator.runtime.http import STARTING, Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.ports import Log, OffsetOutOfRange, PortError, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.upkeep import Upkeep

BACK_OFF_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Pauses before a failed task is made anew; the last one repeats."""
_IDLE_CHECK_S: Final = 0.05
_logger: Final = logging.getLogger(__name__)


class Task(Protocol):
    """What the worker supervises: made anew for each attempt."""

    @property
    def place(self) -> str:
        """Where in the log it stands, for messages."""
        ...

    async def run(self) -> None:
        """Work until cancelled; any error ends the attempt."""

    async def close(self) -> None:
        """Let go of what the task holds."""


class Worker:
    """Runs intake and correlate tasks over one log until told to stop."""

    def __init__(
        self,
        log: Log,
        settings: Settings,
        control: Control,
        *,
        telemetry: Telemetry,
        readiness: Readiness,
        clock: Callable[[], Instant] = wall_clock,
    ) -> None:
        self._log = log
        self._settings = settings
        self._control = control
        self._telemetry = telemetry
        self._readiness = readiness
        self._topics = Topics(settings.prefix)
        self._domains = Router(control.topology).domains
        self._cautions: dict[TopicPartition, Caution] = {}
        self._intakes: dict[TopicPartition, IntakeTask] = {}
        self._correlates: dict[int, CorrelateTask] = {}
        self._upkeep = Upkeep(
            log,
            self._topics,
            settings.log_retention,
            intakes=self._intakes,
            correlates=self._correlates,
            telemetry=telemetry,
            readiness=readiness,
            clock=clock,
        )
        self.stop = asyncio.Event()
        self.opened = asyncio.Event()

    async def run(self, *, until_idle: bool = False) -> None:
        """Open the topics, put the rules in force, and run until `stop` is set (or all input is judged, when `until_idle`).

        Raises the `PortError` that cannot be overcome, or `StoppedError`; whatever was committed is kept.
        """
        running = asyncio.create_task(self._run_all())
        stopping = asyncio.create_task(self.stop.wait())
        idling = asyncio.create_task(self._until_idle()) if until_idle else None
        await asyncio.wait([task for task in (running, stopping, idling) if task is not None], return_when=asyncio.FIRST_COMPLETED)
        self._readiness.not_ready("stop", "stopping")
        for task in (running, stopping, idling):
            if task is not None and not task.done():
                task.cancel()
        results = await asyncio.gather(running, stopping, *([idling] if idling is not None else []), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseExceptionGroup):
                raise result.exceptions[0]
            if isinstance(result, Exception):
                raise result

    async def put_in_force(self, control: Control) -> bool:
        """Put rules and topology in force for all workers; answer whether they were not yet.

        Raises `PortError`, or `StoppedError` when what is in force cannot be read; then nothing has changed.
        """
        try:
            return await put_in_force(self._log, self._topics, control, domains=len(self._domains))
        except (FrameError, NewerVersionError) as error:
            raise stopped("putting rules in force", self._topics.control, error) from error

    async def _run_all(self) -> None:
        await self._open()
        self._readiness.not_ready("restore", "restoring state")
        self._readiness.ready(STARTING)
        self.opened.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._upkeep.run())
            for topic in self._settings.topics:
                for number in range(topic.partitions):
                    tp = TopicPartition(self._topics.raw(topic.name), number)
                    caution = self._cautions.setdefault(tp, Caution(self._settings.batch.records))
                    make = partial(self._intake, tp, topic)
                    group.create_task(self._supervised(f"intake {tp.topic}-{number}", make, caution=caution))
            for partition in range(len(self._domains)):
                group.create_task(self._supervised(f"correlate {self._domains[partition]}", partial(self._correlate, partition)))

    async def _open(self) -> None:
        """Open the topics and put the rules in force, again and again while the log cannot be reached."""
        raw = {topic.name: topic.partitions for topic in self._settings.topics}
        for pause in chain(BACK_OFF_S, repeat(BACK_OFF_S[-1])):
            try:
                await self._log.open_topics(self._topics.settings(raw, len(self._domains), self._settings.log_retention))
                await self.put_in_force(self._control)
                break
            except Transient as error:
                self._readiness.not_ready("open", f"opening the log: {error}")
                _logger.warning("the log could not be opened: %s; trying again in %s s", error, pause)
            await asyncio.sleep(pause)
        self._readiness.ready("open")

    async def _supervised(self, name: str, make: Callable[[], Task], *, caution: Caution | None = None) -> None:
        """Make a task and run it; make it anew after a passing failure, or to go on behind bad input. Anything else ends the worker."""
        failures = 0
        while True:
            started, task, pause = time.monotonic(), make(), 0.0
            try:
                await task.run()
            except Transient as error:
                failures = failures + 1 if time.monotonic() - started < BACK_OFF_S[-1] else 1
                pause = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
                self._readiness.not_ready(name, f"{name}: {error}")
                _logger.warning("%s failed: %s; it is made anew in %s s", name, error, pause)
            except (FrameError, NewerVersionError, OffsetOutOfRange) as error:
                raise stopped(name, task.place, error) from error
            except PortError:
                raise
            except Exception as error:
                _logger.exception("%s failed at %s", name, task.place)
                if caution is None or not caution.blames(f"{type(error).__name__}: {error}"):
                    raise stopped(name, task.place, error) from error
            finally:
                await task.close()
            await asyncio.sleep(pause)
            self._readiness.ready(name)

    def _intake(self, tp: TopicPartition, topic: TopicSettings) -> Task:
        task = IntakeTask(
            self._log,
            self._topics,
            tp,
            form=Format(topic.format),
            is_recording=topic.arrival == "item",
            caution=self._cautions[tp],
            telemetry=self._telemetry,
            others=[other for other in self._paced_with(topic) if other != tp],
        )
        self._intakes[tp] = task
        return task

    def _paced_with(self, topic: TopicSettings) -> list[TopicPartition]:
        """Answer the raw partitions that keep pace with a topic's: live ones wait for no recording."""
        alike = [one for one in self._settings.topics if one.arrival == topic.arrival]
        return [TopicPartition(self._topics.raw(one.name), number) for one in alike for number in range(one.partitions)]

    def _correlate(self, partition: int) -> Task:
        task = CorrelateTask(
            self._log,
            self._topics,
            partition,
            domain=self._domains[partition],
            checkpoint=self._settings.checkpoint,
            telemetry=self._telemetry,
            on_restored=self._on_restored,
        )
        self._correlates[partition] = task
        return task

    def _on_restored(self) -> None:
        if len(self._correlates) == len(self._domains) and all(task.is_restored for task in self._correlates.values()):
            self._readiness.ready("restore")
            _logger.info("restored; ready")

    async def _until_idle(self) -> None:
        """Return when every task has taken all there is, raw records first, and the log was looked after: nobody else may do it."""
        while not await self.is_idle():  # noqa: ASYNC110 - other processes publish too: no event tells of that
            await asyncio.sleep(_IDLE_CHECK_S)
        await self._upkeep.clean()

    async def is_idle(self) -> bool:
        """Answer whether every record published so far has become frames, and every frame documents."""
        if len(self._correlates) < len(self._domains) or not self._intakes:
            return False
        for tp, intake in self._intakes.items():
            if intake.is_ahead or intake.position < (await self._log.bounds(tp))[1]:
                return False
        for partition, correlate in self._correlates.items():
            end = (await self._log.bounds(TopicPartition(self._topics.frames, partition)))[1]
            if not correlate.is_restored or correlate.position < end:
                return False
        return True
