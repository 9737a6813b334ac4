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
from correlator.runtime.ports import Batch, Fenced, Headers, OffsetOutOfRange, Position, TopicPartition, Transient

from tests.builders import T0
from tests.simulation.faults import CANCELLED, CRASH_AFTER, CRASH_BEFORE, FENCED, LOST_REPLY, LOST_REQUEST, SLOW, Cell, Counts

_LOOKS: Final = ("poll", "bounds", "committed", "wait")
"""Calls of one that waits for input; with any other it has something to do."""
STEPS_MOST: Final = 60_000
"""Steps in which every slot of virtual time must come to rest."""
_EMPTY_POLLS: Final = 4
_FROZEN_SLOTS_MOST: Final = 8


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

    def __init__(self, name: str, stage: str, makes: Callable[[], Task], *, down_slots_most: int = 7) -> None:
        self.name = name
        self.stage = stage
        self.makes = makes
        self.down_slots_most = down_slots_most
        self.coroutine: Coroutine[object, None, None] | None = None
        self.has_rival = False
        self.is_dead = False
        self.is_done = False
        self.empty_polls = 0
        self.sleeps_until = 0
        self.slow_until = 0
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
            law(self.has_rival, f"{self.name} was fenced and never had a rival")
        await task.close()

    @property
    def is_idle(self) -> bool:
        """Answer whether the task has found nothing in two rounds, of two polls at most: one empty round may be a part of a restore."""
        return self.empty_polls >= _EMPTY_POLLS


class Commit(msgspec.Struct, frozen=True):
    """One transaction that took place."""

    writer: str | None
    epoch: int
    sent: list[tuple[TopicPartition, list[tuple[Instant, bytes | None, bytes | None, Headers]]]]
    positions: dict[tuple[str, TopicPartition], Position]


class HistoryLog(MemoryLog):
    """The log in memory, which also remembers every commit and tells whether a read found anything."""

    def __init__(self, world: "World") -> None:
        super().__init__(on_call=world.on_call, clock=lambda: world.now, cleans=world.random.random() < 0.5)
        self.history: list[Commit] = []
        self._world = world

    def write(self, writer: MemoryWriter) -> None:
        """See `MemoryLog.write`."""
        super().write(writer)
        self.history.append(Commit(writer.transactional_id, writer.epoch, list(writer.sent), dict(writer.positions)))
        self._world.wake()

    def read(self, tp: TopicPartition, position: int, *, most: int) -> tuple[Batch, int]:
        """See `MemoryLog.read`."""
        if self._world.is_slow():
            self._world.on_read(False)  # noqa: FBT003 - as below
            return Batch(), position
        batch, after = super().read(tp, position, most=most)
        self._world.on_read(len(batch) > 0)
        return batch, after

    def records(self, topic: str) -> list[tuple[TopicPartition, bytes | None, bytes | None]]:
        """Answer all records that were ever committed to a topic, in order: partition, key, value."""
        sent = [pair for commit in self.history for pair in commit.sent if pair[0].topic == topic]
        return [(tp, record[1], record[2]) for tp, records in sent for record in records]


class World:
    """Steps clients and lets one fault happen at a time: `armed` happens at the call for which `patience` calls passed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"world {seed}")
        self.slot = 0
        self.counts = Counts()
        self.clients: list[Client] = []
        self.now: Instant = T0
        self.log = HistoryLog(self)
        self.armed: Cell | None = None
        self.next_armed: list[Cell] = []
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
        self.armed = self.next_armed.pop(0) if self.next_armed else None

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
        self.wake()

    def wake(self) -> None:
        """Let every client look again: there may be something for it."""
        for client in self.clients:
            client.empty_polls = 0

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
        wish = client.wishes
        if wish == FENCED:
            client.wishes = None
            self._supersede(client)
        elif wish == CANCELLED:
            client.wishes = None
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
        client.coroutine, client.wishes, client.empty_polls = None, None, 0
        client.sleeps_until = self.slot + self.random.choice((0, 0, self.random.randint(0, client.down_slots_most)))
        if client.is_done or any(other.name == client.name for other in self.clients if other is not client):
            self.clients.remove(client)

    def _supersede(self, client: Client) -> None:
        """Start a rival. The old one lives on, perhaps frozen for a while; the first of the two to end is not made anew."""
        rival = self.add(Client(client.name, client.stage, client.makes, down_slots_most=client.down_slots_most))
        client.has_rival = rival.has_rival = True
        frozen = self.random.choice((0, 0, self.random.randint(0, _FROZEN_SLOTS_MOST)))
        client.sleeps_until = self.slot + (frozen if client.down_slots_most else 0)
        for _ in range(self.random.choice((0, 2, 2, 4, 40))):
            if rival in self.clients:
                self.step(rival)

    # What the log tells

    def is_slow(self) -> bool:
        """Answer whether this poll shall find nothing: the one at which the fault happened, and perhaps others for a while."""
        client = self._current
        if client is None:
            return False
        if client.wishes == SLOW:
            client.wishes = None
            client.slow_until = self.slot + self.random.choice((0, self.random.randint(0, 2 * client.down_slots_most)))
            return True
        return self.slot < client.slow_until

    def on_read(self, found: bool) -> None:  # noqa: FBT001 - one claim, told by the log
        """Note whether the client found anything."""
        if self._current is not None:
            self._current.empty_polls = 0 if found else self._current.empty_polls + 1

    def on_call(self, call: str) -> None:
        """Let the armed fault happen, if this is its call."""
        client = self._current
        if client is None:
            return
        if client.is_dead:
            raise CrashError(call)
        name, _, moment = call.partition(":")
        if name not in _LOOKS:
            client.empty_polls = 0
        self._strike(client, name, moment)

    def _strike(self, client: Client, name: str, moment: str) -> None:
        cell = self.armed
        if cell is None or (cell.stage, cell.call) != (client.stage, name):
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
