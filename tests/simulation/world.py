"""The world of a run: a log in memory that keeps its history, virtual time, and the hand that steps one client after another.

Clients are the real coroutines. They wait only where the log lets others run, at every call of the port, so who goes on is a matter
of the run's seed alone. There is no event loop: a coroutine is stepped by hand until it waits again.
"""

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from random import Random
from typing import Final

import msgspec

from correlator.model.instant import SECOND, Instant
from correlator.runtime.memory import MemoryLog, MemoryWriter
from correlator.runtime.ports import Batch, Fenced, Messages, OffsetOutOfRange, Position, TopicPartition, Transient
from tests.builders import T0
from tests.simulation.faults import CANCELLED, CRASH_AFTER, CRASH_BEFORE, FENCED, LOST_REPLY, LOST_REQUEST, Cell, Counts

STEPS_MOST: Final = 20_000
"""Steps in which every slot of virtual time must come to rest."""
_GHOST_SLOTS_MOST: Final = 8
_DOWN_SLOTS_MOST: Final = 6


class CrashError(Exception):
    """The simulated process died here."""


class BrokenLawError(AssertionError):
    """Something happened that must not."""


class Task(msgspec.Struct, frozen=True):
    """A task of the runtime as two of its coroutines."""

    run: Callable[[], Coroutine[object, None, None]]
    close: Callable[[], Coroutine[object, None, None]]


class Client:
    """One process with one task. `makes` makes the task anew; it ends by itself, or never."""

    def __init__(self, name: str, stage: str, makes: Callable[[], Task], *, is_forever: bool = True) -> None:
        self.name = name
        self.stage = stage
        self.makes = makes
        self.is_forever = is_forever
        self.coroutine: Coroutine[object, None, None] | None = None
        self.is_ghost = False
        self.is_dead = False
        self.is_done = False
        self.is_idle = False
        self.sleeps_until = 0
        self.wishes: str | None = None

    async def life(self) -> None:
        """Run the task as the worker does: it is closed whatever ended it, unless the process died."""
        task = self.makes()
        try:
            await task.run()
            self.is_done = True
        except (Transient, OffsetOutOfRange, CancelledError):
            pass
        except Fenced:
            self.is_done = self.is_ghost
            law(self.is_ghost, f"{self.name} was fenced without a rival")
        await task.close()


class Commit(msgspec.Struct, frozen=True):
    """One transaction that took place."""

    writer: str | None
    epoch: int
    sent: list[tuple[TopicPartition, list[tuple[Instant, bytes | None, bytes | None, object]]]]
    positions: dict[tuple[str, TopicPartition], Position]


class HistoryLog(MemoryLog):
    """The log in memory, which also remembers every commit and tells whether a read found anything."""

    def __init__(self, on_call: Callable[[str], None], on_read: Callable[[bool], None], clock: Callable[[], Instant]) -> None:
        super().__init__(on_call=on_call, clock=clock)
        self.history: list[Commit] = []
        self._on_read = on_read

    def write(self, writer: MemoryWriter) -> None:
        """See `MemoryLog.write`."""
        super().write(writer)
        self.history.append(Commit(writer.transactional_id, writer.epoch, list(writer.sent), dict(writer.positions)))

    def read(self, tp: TopicPartition, position: int, *, most: int) -> tuple[Batch, int]:
        """See `MemoryLog.read`."""
        batch, after = super().read(tp, position, most=most)
        self._on_read(len(batch) > 0)
        return batch, after

    def records(self, topic: str) -> list[tuple[TopicPartition, bytes | None, bytes | None]]:
        """Answer all records that were ever committed to a topic, in order: partition, key, value."""
        return [(tp, record[1], record[2]) for commit in self.history for tp, records in commit.sent if tp.topic == topic for record in records]


class World:
    """Steps clients and lets one fault happen at a time: `armed` happens at the call for which `patience` calls passed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"world {seed}")
        self.slot = 0
        self.counts = Counts()
        self.clients: list[Client] = []
        self.log = HistoryLog(self._on_call, self._on_read, lambda: self.now)
        self.now: Instant = T0
        self.armed: Cell | None = None
        self.trail: list[str] = []
        self._patience = 0
        self._current: Client | None = None

    def monotonic(self) -> float:
        """Answer virtual seconds."""
        return (self.now - T0) / SECOND

    def add(self, client: Client) -> Client:
        """Let a client live."""
        self.clients.append(client)
        return client

    def arm(self, cell: Cell, *, patience: int) -> None:
        """Let a fault happen at its call, after so many calls that go well."""
        self.armed, self._patience = cell, patience

    def happened(self, cell: Cell, where: str) -> None:
        """Note a fault."""
        self.counts[cell] += 1
        self.trail.append(f"slot {self.slot}: {where}: {cell.stage} {cell.call}, {cell.kind}")
        self.armed = None

    # Steps

    def rest(self) -> None:
        """Step clients in any order until none has anything to do in this slot."""
        for _ in range(STEPS_MOST):
            busy = [client for client in self.clients if self._is_busy(client)]
            if not busy:
                return
            self.step(self.random.choice(busy))
        stuck = [client.name for client in self.clients if self._is_busy(client)]
        raise BrokenLawError(f"{', '.join(stuck)} did not come to rest in {STEPS_MOST} steps")

    def pass_time(self, duration: Instant) -> None:
        """Let time pass; whoever waited for it looks again."""
        self.slot += 1
        self.now += duration
        for client in self.clients:
            client.is_idle = False

    def _is_busy(self, client: Client) -> bool:
        return not (client.is_done or client.is_idle) and client.sleeps_until <= self.slot

    def step(self, client: Client) -> None:
        """Let a client go on until it waits again."""
        if client.coroutine is None:
            client.coroutine, client.is_dead = client.life(), False
        self._current = client
        try:
            client.coroutine.send(None)
            self._grant(client)
        except StopIteration:
            self._end(client)
        except CrashError:
            self._end(client)
        finally:
            self._current = None

    def _grant(self, client: Client) -> None:
        """Do what the hook wished for and could not do while the client ran."""
        wish, client.wishes = client.wishes, None
        if wish == FENCED:
            self._supersede(client)
        elif wish == CANCELLED:
            self.cancel(client)

    def cancel(self, client: Client) -> None:
        """Stop a task where it waits; it closes what it holds, and is made anew later."""
        if client.coroutine is None:
            return
        self._current = client
        try:
            client.coroutine.throw(CancelledError())
        except (StopIteration, CrashError, CancelledError):
            self._end(client)
        finally:
            self._current = None

    def _end(self, client: Client) -> None:
        """Bury the process; another takes its place unless it was done or a ghost."""
        if client.coroutine is not None:
            client.is_dead = True
            client.coroutine.close()
        client.coroutine, client.is_idle = None, False
        if client.is_ghost:
            client.is_done = True
        elif client.is_forever:
            client.sleeps_until = self.slot + self.random.choice((0, 0, 1, self.random.randint(0, _DOWN_SLOTS_MOST)))
        if client.is_done:
            self.clients.remove(client)

    def _supersede(self, client: Client) -> None:
        """Start a rival; the old one lives on as a ghost, perhaps frozen for a while."""
        rival = Client(client.name, client.stage, client.makes, is_forever=client.is_forever)
        client.is_ghost, client.name = True, f"{client.name}, a ghost"
        client.sleeps_until = self.slot + self.random.choice((0, 0, self.random.randint(0, _GHOST_SLOTS_MOST)))
        self.add(rival)
        for _ in range(self.random.choice((0, 2, 2, 4, 40))):
            if rival.coroutine is not None or not rival.is_done:
                self.step(rival)

    # What the log tells

    def _on_read(self, found: bool) -> None:  # noqa: FBT001 - one claim, told by the log
        if self._current is not None:
            self._current.is_idle = not found

    def _on_call(self, call: str) -> None:
        client = self._current
        if client is None:
            return
        if client.is_dead:
            raise CrashError(call)
        name, _, moment = call.partition(":")
        if name != "poll":
            client.is_idle = False
        self._strike(client, name, moment)

    def _strike(self, client: Client, name: str, moment: str) -> None:
        cell = self.armed
        if cell is None or (cell.stage, cell.call) != (client.stage, name) or client.is_ghost:
            return
        if (cell.kind in (CRASH_AFTER, LOST_REPLY)) != (moment == "after"):
            return
        if self._patience > 0:
            self._patience -= 1
            return
        self.happened(cell, client.name)
        if cell.kind in (CRASH_BEFORE, CRASH_AFTER):
            client.is_dead = True
            raise CrashError(name)
        if cell.kind in (LOST_REQUEST, LOST_REPLY):
            raise Transient(f"{name}: {cell.kind}")
        client.wishes = cell.kind


def law(is_kept: bool, fact: str) -> None:  # noqa: FBT001 - a law is a claim and a fact
    """Fail with a fact that a person can follow, unless the law is kept."""
    if not is_kept:
        raise BrokenLawError(fact)


async def send(writer: MemoryWriter, tp: TopicPartition, messages: Messages) -> None:
    """Send one transaction of one partition."""
    await writer.begin()
    await writer.send(tp, messages)
    await writer.commit()
