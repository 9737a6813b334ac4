"""The port to the log: what the runner asks of Kafka, of SQLite or of memory, and what it may rely on afterwards.

Order is sacred and reads so: poll, step, send, commit. A log keeps topics of numbered partitions; a record in a partition has an
offset, and offsets only grow (they may have holes). A reader sees committed records alone. A writer's transaction puts records and
positions into the log together or not at all, and a writer that starts fences every older writer of its transactional id.
"""

# ruff: noqa: N818 - the names say what happened; that they are errors, `except` says

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from correlator.model.instant import HOUR, Duration, Instant

Headers = Sequence[tuple[str, bytes]]
RECOMMIT_EVERY: Final = HOUR
"""A log may forget a position that was not committed for long (Kafka does after a week, as a rule): who is idle says it again."""
Share = frozenset["TopicPartition"]
"""The partitions that one member of a group works on."""


class PortError(Exception):
    """The log did not do what was asked; the subclass says what comes next."""


class Transient(PortError):
    """It may work later (a busy or unreachable log): throw the writer away, restore and try again."""


class Full(PortError):
    """No room is left on the log's disk; nothing was written. It works again when there is room."""


class Fenced(PortError):
    """A newer writer has this transactional id: this one is a ghost and must stop. Nothing was written."""


class Refused(PortError):
    """The log or its configuration is not fit for this program, and trying again will not help; the text says what to change."""


class OffsetOutOfRange(PortError):
    """The reader stands where the log has no records any more, or not yet; `first` and `end` are the offsets that it has."""

    def __init__(self, tp: "TopicPartition", position: int, *, first: int, end: int) -> None:
        super().__init__(f"{tp.topic}-{tp.partition} has offsets {first} to {end}, and {position} was asked for")
        self.first = first
        self.end = end


class TopicPartition(NamedTuple):
    """One partition of one topic, the unit of order; partitions are numbered from 0."""

    topic: str
    partition: int


class Position(NamedTuple):
    """Where a group stands in a partition: the offset it reads next, and a short note of its own (Kafka's commit metadata)."""

    offset: int
    note: str = ""


class Standing(NamedTuple):
    """Where a group stands in a partition, and the bounds of that, asked for in this order: what comes in between is not behind us."""

    position: Position | None
    first: int
    end: int


class TopicSettings(msgspec.Struct, frozen=True):
    """A topic as the program needs it. A compacted topic keeps the newest record of each key (a None value is a tombstone).

    `retention` is for how long after they were appended records stay (of a compacted topic: tombstones); None is for ever. `largest` is how
    many bytes a record may have; None leaves it to the log, as for raw topics. Our own (`is_own`) are refused if they are there already and
    would lose records.
    """

    name: str
    partitions: int = 1
    compacted: bool = False
    retention: Duration | None = None
    largest: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether the service writes it, and says how large its records are."""
        return self.largest is not None


class Batch(msgspec.Struct, frozen=True):
    """Records read from one partition, as columns of equal length: no object is made for a record.

    `offsets` grow strictly and may have holes; `timestamps` are epoch milliseconds; `headers` is None where no record has any.
    """

    offsets: Sequence[int] = ()
    timestamps: Sequence[Instant] = ()
    keys: Sequence[bytes | None] = ()
    values: Sequence[bytes | None] = ()
    headers: Sequence[Headers] | None = None

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.offsets)


class Messages(msgspec.Struct, frozen=True):
    """Records to be sent to one partition, as columns of equal length; a column that is left out is empty for all.

    Without `timestamps` (epoch milliseconds) the records bear the instant of sending. The columns must not change before the commit.
    """

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None = None
    timestamps: Sequence[Instant] | None = None
    headers: Sequence[Headers] | None = None


class Reader(Protocol):
    """Reads one partition in offset order, committed records only. It has one user: calls must not overlap."""

    @property
    def position(self) -> int:
        """The offset from which the next poll reads; 0 at first. After a poll it is above the last offset which that returned."""
        ...

    def seek(self, offset: int) -> None:
        """Move to `offset`. Never waits and never fails: the next poll tells whether the log has it."""
        ...

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        """Return the next records: at least one and at most `max_records`, or none when nothing came within `timeout_ms`.

        May wait, but no longer than some 50 ms while records are there: where few come at a time, each batch would cost a transaction.
        A log may return fewer than it has (memory is bounded by bytes too). A compacted topic shows the
        newest record of each key, tombstones included until they are cleaned away; older ones may show before it.
        Raises OffsetOutOfRange when the position lies outside `Log.bounds`; Transient; Refused for an unknown partition.
        After an error or a cancellation the position is what it was.
        """
        ...

    async def close(self) -> None:
        """Give back what the reader holds. Called once, last; a poll must not be under way."""
        ...


class Writer(Protocol):
    """Writes transactions: start once, then begin, send and send_offsets any number of times, commit or abort, begin again.

    Any call that waits may raise Fenced, Full, Transient or Refused. After any of these, and after a cancelled commit, the writer is
    spent and the outcome of its transaction is what the log says: close it, take a new one, start that, read `committed`.
    A writer without a transactional id is a plain producer for `publish`: nobody fences it, records may become visible before the
    commit, an abort may come too late, and it sends no offsets. Its records are in the log when the commit returns.
    """

    async def start(self) -> None:
        """Fence every older writer of this transactional id. Called once, first; may wait for the log.

        Afterwards no older writer can commit, and `committed`, `bounds` and readers show all that they ever will have written.
        """
        ...

    async def begin(self) -> None:
        """Open a transaction. Called after start, when none is open."""
        ...

    async def send(self, tp: TopicPartition, messages: Messages) -> None:
        """Add records to the transaction, behind those already sent to this partition. May wait (back-pressure).

        A compacted topic needs a key for every record, else Refused. Nothing can be read before the commit.
        """
        ...

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Position]) -> None:
        """Add positions to the transaction: for each partition where `group` will go on reading. All of a transaction have one group."""
        ...

    async def commit(self) -> None:
        """Make the whole transaction visible at once: all records and all positions. May wait; ends the transaction.

        `Log.bounds` of this client counts the records from now on; readers, other clients and `Log.committed` may follow a moment
        later, and after the start of the next writer of this id at the latest.
        A fenced writer gets Fenced here at the latest, unless the transaction is empty. An error other than Transient means that nothing
        was written.
        """
        ...

    async def abort(self) -> None:
        """Drop the open transaction: none of it will ever be read."""
        ...

    async def close(self) -> None:
        """Give back what the writer holds; an open transaction is dropped. Called once, last; allowed after any error."""
        ...


class Membership(Protocol):
    """Tells a worker which partitions are its share of the work. It is advice: who may commit, the writers' fence decides."""

    @property
    def is_shared(self) -> bool:
        """Whether others may have shares too, so that a fence means that a partition is somebody else's now."""
        ...

    async def run(self, on_share: Callable[[Share], None]) -> None:
        """Be a member until cancelled, then leave; `on_share` is told the share, at first and whenever the group agreed anew.

        Where the work is shared it is told again and again: a fenced task waits to hear that a partition is still ours.
        Waits for a log that is away; nothing is told meanwhile. Raises Refused.
        """


class Log(Protocol):
    """A log of topics, shared by any number of readers and writers in any number of processes."""

    async def open_topics(self, topics: Sequence[TopicSettings]) -> None:
        """Create the topics that are missing and check the others. Called at start, before any other call about them.

        Raises Refused, and says what to change, where a topic has other partitions or is compacted otherwise; then none is created.
        """
        ...

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions. Raises Refused where there is no such topic."""
        ...

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        """Return where `group` goes on reading, as last committed; None when it never committed a position."""
        ...

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """Return the first offset that can be read and the one behind the last committed record (equal when there is none)."""
        ...

    async def standings(self, group: str, tps: Sequence[TopicPartition]) -> list[Standing]:
        """Return `committed` and `bounds` of each of these partitions; of many it costs about what it costs of one."""
        ...

    async def expire(self, needed_from: Mapping[TopicPartition, int | None]) -> None:
        """Let go of what lay in these partitions for longer than the retention that `open_topics` named, the service's regular chore.

        Never drops a record at or above the offset named (None: nobody needs any), nor the newest record of a key unless it is a
        tombstone; when it drops the others is the log's affair. A log that cleans up by itself need do nothing. Raises Transient; Full.
        """
        ...

    def reader(self, tp: TopicPartition) -> Reader:
        """Make a reader at offset 0. Never waits; an unknown partition shows at the first poll."""
        ...

    def writer(self, transactional_id: str | None) -> Writer:
        """Make a writer, to be started. Never waits. Only one writer of a transactional id can commit: the last that started."""
        ...

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> Membership:
        """Make a membership of the group that shares these partitions, to be run. Each stage is shared by itself, as evenly as can be."""
        ...

    async def close(self) -> None:
        """Let go of the log. Called once, when all readers and writers are closed."""
        ...
