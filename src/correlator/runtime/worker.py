"""The worker: the tasks of one process's share of the partitions, supervised, with errors classed by what comes next.

Transient: the task is thrown away and made anew after a pause. Poison, which is input on which the program fails: it is narrowed down
to one record, which becomes a dead letter (see `runtime/caution.py`). Fenced, where workers share the log: the partition is somebody
else's now (docs/decisions/0008). Anything else is fatal: the worker stops and says what to do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Final, Protocol

from correlator.config.settings import Settings, TopicSettings
from correlator.frames.control import Control
from correlator.frames.frame import FrameError
from correlator.intake.formats import Format
from correlator.intake.route import Router
from correlator.model.instant import Instant
from correlator.model.version import NewerVersionError
from correlator.runtime.authority import Authority, until_open
from correlator.runtime.caution import Caution
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.embedded import wall_clock
from correlator.runtime.fatal import stopped
from correlator.runtime.http import STARTING, Readiness
from correlator.runtime.idleness import Idleness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Fenced, Log, OffsetOutOfRange, PortError, Refused, Share, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.upkeep import Upkeep

BACK_OFF_S: Final = (0.1, 0.5, 2.0, 5.0, 15.0)
"""Pauses before a failed task is made anew; the last one repeats."""
FENCED_PAUSE_S: Final = 1.0
"""After a fence, what the group says counts from then on: a word on its way may be older."""
FENCES_MOST: Final = 4
FENCES_WITHIN_S: Final = 60.0
LEAVE_PATIENCE_S: Final = 5.0
"""A task that was told to leave is cancelled after so long; the next owner fences it before, as a rule."""
_IDLE_CHECK_S: Final = 0.05
_logger: Final = logging.getLogger(__name__)


class Task(Protocol):
    """What the worker supervises: made anew for each attempt."""

    @property
    def place(self) -> str:
        """Where in the log it stands, for messages."""
        ...

    async def run(self) -> None:
        """Work until told to leave, or cancelled; any error ends the attempt."""

    def leave(self) -> None:
        """Stop behind the batch in hand: the partition is somebody else's now."""

    async def close(self) -> None:
        """Let go of what the task holds."""


class _Place:
    """One partition of our share: its task of the moment, which is made anew for each attempt."""

    def __init__(self, name: str, make: Callable[[Callable[[], None]], Task], caution: Caution | None = None) -> None:
        """`make` is told whom to tell that the task works."""
        self.name = name
        self.make = make
        self.caution = caution
        self.stage = Stage.INTAKE if caution is not None else Stage.CORRELATE
        self.task: Task | None = None
        self.running: asyncio.Task[None] | None = None
        self.failures = 0
        self.fences: list[float] = []
        self.confirmed = asyncio.Event()
        self._given_up: asyncio.TimerHandle | None = None

    def stay(self) -> None:
        """Take note that the group says it is ours."""
        self.confirmed.set()
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None

    def leave(self) -> None:
        """Let the task finish its batch, for a while."""
        if self._given_up is not None or self.running is None:
            return
        self.confirmed.set()
        self._given_up = asyncio.get_running_loop().call_later(LEAVE_PATIENCE_S, self.running.cancel)
        if self.task is not None:
            self.task.leave()

    async def confirmation(self) -> None:
        """Wait until the group says again whose this is: what it said a moment ago may be old."""
        await asyncio.sleep(FENCED_PAUSE_S)
        self.confirmed.clear()
        await self.confirmed.wait()


class Worker:
    """Runs intake and correlate tasks of its share of a log until told to stop.

    It puts `control` in force, unless that was read from the log itself, by one who follows (`is_follower`).
    """

    def __init__(
        self,
        log: Log,
        settings: Settings,
        control: Control,
        *,
        telemetry: Telemetry,
        readiness: Readiness,
        is_follower: bool = False,
        clock: Callable[[], Instant] = wall_clock,
    ) -> None:
        self._log = log
        self._settings = settings
        self._control = control
        self._is_follower = is_follower
        self._telemetry = telemetry
        self._readiness = readiness
        self._topics = Topics(settings.prefix)
        self._domains = Router(control.topology).domains
        self._authority = Authority(log, settings, domains=len(self._domains), telemetry=telemetry)
        self._cautions: dict[TopicPartition, Caution] = {}
        self._raw = {
            TopicPartition(self._topics.raw(topic.name), number): topic for topic in settings.topics for number in range(topic.partitions)
        }
        self._frames = [TopicPartition(self._topics.frames, number) for number in range(len(self._domains))]
        self._known = frozenset([*self._raw, *self._frames])
        self._membership = log.membership(self._topics.workers_group, [tuple(self._raw), self._frames])
        self._share: Share | None = None
        self._is_restored = self._is_ending = False
        self._places: dict[TopicPartition, _Place] = {}
        self._intakes: dict[TopicPartition, IntakeTask] = {}
        self._correlates: dict[int, CorrelateTask] = {}
        self._positions: list[int] = []
        self._idleness = Idleness(log, {self._topics.intake_group: list(self._raw), self._topics.correlate_group: self._frames})
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
        if self.stop.is_set():
            _logger.info("told to stop; what is under way is finished")
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
        return await self._authority.put_in_force(control)

    async def _run_all(self) -> None:
        await until_open(partial(self._authority.open, None if self._is_follower else self._control), self._readiness)
        self._readiness.not_ready("restore", "restoring state")
        self._readiness.ready(STARTING)
        self.opened.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._upkeep.run())
            if not self._is_follower:
                group.create_task(self._authority.watch())
            group.create_task(self._membership.run(partial(self._take_share, group)))

    # The share

    def _take_share(self, group: asyncio.TaskGroup, share: Share) -> None:
        """Begin with what is ours now and leave what is not; what stays is not disturbed. Who may commit is up to the fences."""
        if self._is_ending:
            return
        for tp, place in self._places.items():
            if tp in share:
                place.stay()
            else:
                place.leave()
        if share != self._share:
            self._share = share
            self._tell_share(share)
        for tp in sorted(share - self._places.keys()):  # one that came back while it was being left is among these only now
            if tp in self._known:
                made = self._places[tp] = self._place(tp)
                made.running = group.create_task(self._kept(tp, made))
        self._look_restored()

    def _tell_share(self, share: Share) -> None:
        if self._membership.is_shared:
            _logger.info("our share: %s", _listed(share))
        for tp in sorted(share - self._known):
            _logger.warning("our settings do not know %s-%d: another worker has other settings; restart with the same", *tp)

    def _place(self, tp: TopicPartition) -> _Place:
        topic = self._raw.get(tp)
        if topic is None:
            return _Place(f"correlate {self._domains[tp.partition]}", partial(self._correlate, tp.partition))
        caution = self._cautions.setdefault(tp, Caution(self._settings.batch.records))
        return _Place(f"intake {tp.topic}-{tp.partition}", partial(self._intake, tp, topic), caution)

    async def _kept(self, tp: TopicPartition, place: _Place) -> None:
        """Keep a partition's task running for as long as it is in our share, and forget it then."""
        try:
            while self._share is not None and tp in self._share:
                await self._attempt(place)
        finally:
            self._forget(tp, place)

    def _forget(self, tp: TopicPartition, place: _Place) -> None:
        if self._is_ending:
            return  # what it said last is the last word
        del self._places[tp]
        self._intakes.pop(tp, None)
        if tp.topic == self._topics.frames:
            self._correlates.pop(tp.partition, None)
        self._telemetry.release(f"{tp.topic}-{tp.partition}")
        self._readiness.ready(place.name)
        self._look_restored()

    async def _attempt(self, place: _Place) -> None:
        """Make a task and run it; return when another may be made: after a passing failure, a fence, or behind bad input.

        Anything else ends the worker.
        """
        task, pause, is_fenced = place.make(partial(self._works, place)), 0.0, False
        place.task = task
        try:
            await task.run()
        except Transient as error:
            place.failures += 1
            pause = BACK_OFF_S[min(place.failures, len(BACK_OFF_S)) - 1]
            self._telemetry.failed(place.stage)
            self._readiness.not_ready(place.name, f"{place.name}: {error}")
            if place.failures == 1:  # an outage is told of once, and its end; `/-/ready` has the newest reason
                _logger.warning("%s failed: %s; it is made anew until it works", place.name, error)
        except Fenced as error:
            self._bear(place, error)
            is_fenced = True
        except (FrameError, NewerVersionError, OffsetOutOfRange) as error:
            raise stopped(place.name, task.place, error) from error
        except PortError:
            raise
        except Exception as error:
            _logger.exception("%s failed at %s", place.name, task.place)
            if place.caution is None or not place.caution.blames(f"{type(error).__name__}: {error}"):
                raise stopped(place.name, task.place, error) from error
        finally:
            place.task = None
            await _closed(task)
        await (place.confirmation() if is_fenced else asyncio.sleep(pause))

    def _works(self, place: _Place) -> None:
        """Take note that a task did all there was to do, so that what failed before has passed."""
        if place.failures:
            _logger.info("%s works again, after %d failures", place.name, place.failures)
        place.failures = 0
        self._readiness.ready(place.name)

    def _bear(self, place: _Place, error: Fenced) -> None:
        """Take a fence for what it is in a group: somebody else's partition. Raises where nobody shares, or where it never ends."""
        if not self._membership.is_shared:
            raise error
        now = time.monotonic()
        place.fences = [*[before for before in place.fences if now - before < FENCES_WITHIN_S], now]
        if len(place.fences) > FENCES_MOST:
            raise Refused(
                f"{place.name}: {error}, for the {len(place.fences)}th time in a minute, and the group says that the partition is "
                "ours: stop what else writes under this `prefix`, or choose another"
            ) from error
        self._telemetry.fenced()
        _logger.info("%s: another worker owns it now: %s", place.name, error)

    def _intake(self, tp: TopicPartition, topic: TopicSettings, on_works: Callable[[], None]) -> Task:
        task = IntakeTask(
            self._log,
            self._topics,
            tp,
            form=Format(topic.format),
            is_recording=topic.arrival == "item",
            caution=self._cautions[tp],
            telemetry=self._telemetry,
            on_works=on_works,
            # Live topics wait for no recording, nor recordings for them.
            others=[other for other, one in self._raw.items() if one.arrival == topic.arrival and other != tp],
        )
        self._intakes[tp] = task
        return task

    def _correlate(self, partition: int, on_works: Callable[[], None]) -> Task:
        task = CorrelateTask(
            self._log,
            self._topics,
            partition,
            domain=self._domains[partition],
            checkpoint=self._settings.checkpoint,
            telemetry=self._telemetry,
            on_restored=self._look_restored,
            on_works=on_works,
            raw={f"{tp.topic}-{tp.partition}" for tp in self._raw},
        )
        self._correlates[partition] = task
        self._look_restored()
        return task

    def _look_restored(self) -> None:
        """Say whether the machines of our share are restored."""
        if self._share is None:
            return
        if self._are_own_restored:
            if not self._is_restored:
                _logger.info("restored; ready")
            self._is_restored = True
            self._readiness.ready("restore")
        else:
            self._is_restored = False
            self._readiness.not_ready("restore", "restoring state")

    @property
    def _are_own_restored(self) -> bool:
        """Whether the machines of all frames partitions of our share are restored."""
        own = [tp.partition for tp in self._frames if tp in (self._share or ())]
        return all(number in self._correlates and self._correlates[number].is_restored for number in own)

    async def _until_idle(self) -> None:
        """Return when all there is was taken, by whomever, raw records first, and the log was looked after: nobody else may do it."""
        while self._has_moved() or not await self.is_idle():  # noqa: ASYNC110 - other processes publish too: no event tells of that
            await asyncio.sleep(_IDLE_CHECK_S)
        await self._upkeep.clean()
        await self._leave_all()

    def _has_moved(self) -> bool:
        """Answer whether a task of ours went on since the last time: then there is no need to ask the log whether all is taken."""
        positions = [intake.position for intake in self._intakes.values()]
        positions += [correlate.position for correlate in self._correlates.values()]
        has_moved, self._positions = positions != self._positions, positions
        return has_moved

    async def _leave_all(self) -> None:
        """Let all tasks finish what is committed already: it has to be counted."""
        self._is_ending = True
        self._share = frozenset()
        running = [place.running for place in self._places.values() if place.running is not None]
        for place in self._places.values():
            place.leave()
        if running:
            await asyncio.wait(running, timeout=LEAVE_PATIENCE_S)

    async def is_idle(self) -> bool:
        """Answer whether every record published so far has become frames, and every frame documents, whichever worker did it."""
        if self._share is None or not self._are_own_restored:
            return False
        if any(intake.is_ahead for intake in self._intakes.values()):
            return False
        # Asking the log reads a few MB where a backlog waits, which our own tasks know of.
        backlogs = [intake.waiting_since for intake in self._intakes.values()]
        backlogs += [correlate.waiting_since for correlate in self._correlates.values()]
        if any(since is not None for since in backlogs):
            return False
        try:
            return await self._idleness.is_idle()
        except Transient:
            return False  # the tasks tell of it


async def _closed(task: Task) -> None:
    """Close a task to the end, also when we are cancelled meanwhile: what it leaves open, nobody closes."""
    closing = asyncio.ensure_future(task.close())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise


def _listed(share: Share) -> str:
    """Name partitions, those of a topic together."""
    parts = groupby(sorted(share), key=lambda tp: tp.topic)
    return ", ".join([f"{topic} {' '.join(str(tp.partition) for tp in tps)}" for topic, tps in parts]) or "nothing, others have all"
