"""One run: the tasks of a story over a fresh world, with the faults of a plan, until all input is judged."""

from collections.abc import Coroutine
from functools import partial
from typing import Final

import msgspec

from correlator.config.settings import CheckpointSettings, RetentionSettings
from correlator.frames.control import Control
from correlator.intake.formats import Format
from correlator.model.instant import MINUTE
from correlator.runtime.caution import Caution
from correlator.runtime.control import put_in_force
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.http import Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.memory import MemoryWriter
from correlator.runtime.ports import Messages, TopicPartition
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import END_HEADER, Topics
from correlator.runtime.upkeep import Upkeep

from tests.builders import T0
from tests.simulation.faults import AT_START, ONLY_ONCE, REDELIVERED, REORDERED, Cell
from tests.simulation.story import SETTLING, SLOT, WARM_UP, Delivery, Story
from tests.simulation.world import Client, Task, World

TOPICS: Final = Topics("sim")
RAW: Final = TOPICS.raw("events")
_DRAIN_SLOTS: Final = 16
"""Slots after which whoever was down or frozen is back and has caught up."""
_PATIENCE_SLOTS: Final = 4
_SILENCE: Final = 2 * MINUTE
_BRIEFLY: Final = RetentionSettings.model_construct(raw=SLOT, frames=SLOT, decisions=SLOT, dead_letters=SLOT, tombstones=SLOT)
"""So brief that whatever is not needed any more goes at once."""


async def _nothing() -> None:
    """Close what holds nothing."""


class Publisher:
    """Sends the deliveries of a story in order, each at least once: what was not confirmed is sent again at once."""

    def __init__(self, world: World, story: Story) -> None:
        self._world = world
        self._story = story
        self.outbox = list(story.deliveries)
        self._client = world.add(Client("publisher", "publisher", self._task, down_slots_most=0))

    def end(self) -> None:
        """Close a recording: an end mark for every partition."""
        self.outbox += [Delivery(self._world.slot, number, [], [], may_wait=0, is_plain=False) for number in range(self._story.partitions)]

    def _task(self) -> Task:
        writer = self._world.log.writer("publisher")
        return Task(partial(self._run, writer), writer.close)

    async def _run(self, writer: MemoryWriter) -> None:
        await writer.start()
        while True:
            delivery = self._next()
            if delivery is None:
                self._client.empty_polls += 1
                await self._world.log.reach("wait")
                continue
            if self._is_aborted():
                await self._write(writer, delivery)
                await writer.abort()
            await self._write(writer, delivery)
            await writer.commit()
            self.outbox.remove(delivery)
            self._send_again(delivery)

    async def _write(self, writer: MemoryWriter, delivery: Delivery) -> None:
        messages = Messages(delivery.values, timestamps=delivery.stamps) if delivery.values else Messages([b""], headers=[END_HEADER])
        await writer.begin()
        await writer.send(TopicPartition(RAW, delivery.partition), messages)

    def _next(self) -> Delivery | None:
        """Answer what is due; when disorder is wanted, hold back one that may wait and let the next overtake it."""
        for place, delivery in enumerate(self.outbox):
            if delivery.slot > self._world.slot:
                continue
            wait = min(delivery.may_wait, self._story.slots - 1 - self._world.slot)
            if self._world.armed == Cell("publisher", "delivery", REORDERED) and wait > 0:
                later = self._world.slot + self._world.random.randint(1, wait)
                self.outbox[place] = msgspec.structs.replace(delivery, slot=later, may_wait=0)
                self._world.happened(self._world.armed, f"partition {delivery.partition} until slot {later}")
                continue
            return delivery
        return None

    def _is_aborted(self) -> bool:
        """Answer whether to abort this transaction first: now and then, and when a fault is to happen there."""
        armed = self._world.armed
        return self._world.random.random() < 0.05 or (armed is not None and (armed.stage, armed.call) == ("publisher", "abort"))

    def _send_again(self, delivery: Delivery) -> None:
        if self._world.armed != Cell("publisher", "delivery", REDELIVERED) or not delivery.is_plain:
            return
        later = min(self._world.slot + self._world.random.choice((0, 1, self._world.random.randint(0, 20))), self._story.slots - 1)
        stamps = [T0 + later * SLOT] * len(delivery.values)
        self.outbox.append(msgspec.structs.replace(delivery, slot=later, stamps=stamps, may_wait=0, is_plain=False))
        self._world.happened(self._world.armed, f"partition {delivery.partition} in slot {later}")


class Play:
    """The clients of one run and its phases. Read `world.log` when it is over."""

    def __init__(self, story: Story, seed: int, plan: list[Cell]) -> None:
        self.story = story
        self.world = World(seed)
        self._plan = list(plan)
        self._armed_in = 0
        self._at_control: list[Cell] = []
        self.telemetry = Telemetry()
        random = self.world.random
        self._records = random.choice((1, 4, 15, 60))
        rows, every = random.choice((1, 6, 40, 1_000)), random.choice(("1s", "5s", "20s"))
        self._intakes: dict[TopicPartition, IntakeTask] = {}
        self._correlates: dict[int, CorrelateTask] = {}
        self._cleans = seed % 2 == 0
        self._upkeep = Upkeep(
            self.world.log,
            TOPICS,
            _BRIEFLY,
            intakes=self._intakes,
            correlates=self._correlates,
            telemetry=self.telemetry,
            readiness=Readiness(),
            clock=lambda: self.world.now,
        )
        self._checkpoint = CheckpointSettings.model_validate({"rows": rows, "every": every})

    def run(self) -> None:
        """Put the rules in force, play the story with its faults, and let everything settle without any."""
        self._open()
        publisher = Publisher(self.world, self.story)
        self._add_tasks()
        while self.world.slot < self.story.slots:
            self._let_faults_happen()
            if self.world.slot == self.story.changes_at:
                self._put_in_force(self.story.later)
            self._slot(SLOT)
        self.world.armed = None
        self._drain()
        if self.story.is_recording:
            publisher.end()
            self._drain()
            return
        for _ in range(SETTLING // _SILENCE):
            self._slot(_SILENCE)
        self._drain()

    def _open(self) -> None:
        now(self.world.log.open_topics(TOPICS.settings({"events": self.story.partitions}, len(self.story.domains), _BRIEFLY)))
        self._at_control = [cell for cell in self._plan if cell.stage == "control"]
        self._plan = [cell for cell in self._plan if cell.stage != "control"]
        self._put_in_force(self.story.control)

    def _slot(self, duration: int) -> None:
        self.world.rest()
        if self._cleans:
            now(self._upkeep.clean())
        self.world.pass_time(duration)

    def _drain(self) -> None:
        for _ in range(_DRAIN_SLOTS):
            self._slot(SLOT)
        self.world.rest()

    def _put_in_force(self, control: Control) -> None:
        """Put rules in force as a process does at its start or on SIGHUP, once for every fault that may happen then, and once without."""
        before, first = self.world.armed, self._at_control
        self.world.next_armed = [cell for cell in first[1:] if cell.call in ONLY_ONCE]
        for cell in [*first[:1], *[cell for cell in first[1:] if cell.call not in ONLY_ONCE], None]:
            self.world.armed = cell
            client = self.world.add(Client("control", "control", partial(self._control, control), down_slots_most=0))
            self.world.rest()
            assert client not in self.world.clients, "it was done"
            self.world.next_armed = []
        self.world.armed = before

    def _control(self, control: Control) -> Task:
        return Task(partial(self._putting, control), _nothing)

    async def _putting(self, control: Control) -> None:
        await put_in_force(self.world.log, TOPICS, control, domains=len(self.story.domains), rest=self._rest)

    async def _rest(self, _: float) -> None:
        """Let the others have their turn: seconds do not pass here."""
        await self.world.log.reach("wait")

    def _add_tasks(self) -> None:
        for partition in range(self.story.partitions):
            self.add_intake(partition)
        for partition in range(len(self.story.domains)):
            self.world.add(Client(f"correlate {partition}", "correlate", partial(self._correlate, partition)))

    def add_intake(self, partition: int) -> Client:
        """Let a process begin to read a raw partition."""
        return self.world.add(Client(f"intake {partition}", "intake", partial(self._intake, TopicPartition(RAW, partition))))

    def _intake(self, tp: TopicPartition) -> Task:
        task = IntakeTask(
            self.world.log,
            TOPICS,
            tp,
            form=Format.AUTO,
            is_recording=self.story.is_recording,
            caution=Caution(self._records),
            telemetry=self.telemetry,
            others=self._others_of(tp),
            clock=lambda: self.world.now,
            seconds=self.world.monotonic,
            rest=self._rest,
        )
        self._intakes[tp] = task
        return Task(task.run, task.close)

    def _others_of(self, tp: TopicPartition) -> list[TopicPartition]:
        return [TopicPartition(RAW, number) for number in range(self.story.partitions) if number != tp.partition]

    def _correlate(self, partition: int) -> Task:
        task = CorrelateTask(
            self.world.log,
            TOPICS,
            partition,
            domain=self.story.domains[partition],
            checkpoint=self._checkpoint,
            telemetry=self.telemetry,
            on_restored=lambda: None,
            clock=self.world.monotonic,
        )
        self._correlates[partition] = task
        return Task(task.run, task.close)

    # Faults

    def _let_faults_happen(self) -> None:
        """Arm the next fault of the plan when the last one happened, or would not."""
        world = self.world
        if world.slot < 2 * WARM_UP or (world.armed is not None and world.slot < self._armed_in + _PATIENCE_SLOTS):
            return
        world.armed = None
        if not self._plan:
            return
        cell, self._armed_in = self._plan.pop(0), world.slot
        world.arm(cell, patience=0 if cell.call in AT_START else world.random.choice((0, 1, world.random.randint(0, 6))))
        if cell.call in AT_START or (cell.call == "poll" and world.random.random() < 0.5):
            self._make_anew(cell.stage)

    def _make_anew(self, stage: str) -> None:
        running = [client for client in self.world.clients if client.stage == stage and client.coroutine is not None]
        if running:
            self.world.cancel(self.world.random.choice(running))


def now(coroutine: Coroutine[object, None, None]) -> None:
    """Run to its end what waits for nobody."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration:
            return
