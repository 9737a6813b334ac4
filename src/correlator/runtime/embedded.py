"""The log in one SQLite file, `correlator.db`: the port's laws without any server, for any number of processes on one machine.

Survives the death of any process at any instant. After a power cut the file is sound, but the last commits may be missing: records
and positions then go back together (`synchronous=NORMAL`; WAL is not forced to disk at each commit).

A transaction is gathered in memory and written at its commit in one SQLite transaction, so the file's one write lock is never held
while the program waits for anything. Records of ordinary topics lie in segments, many a row, as columns; compacted topics have one row
a key. Rows are numbered by partition and offset, so a read is a walk along the table. Only this file, database.py and
trimming.py know of SQLite.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from correlator.model.instant import Duration, Instant
from correlator.runtime.alone import Alone
from correlator.runtime.database import (
    FILE_NAME,
    KEYED_CACHE_KIB,
    PAGE_BYTES,
    WAL_LIMIT_BYTES,
    WAL_NAME,
    Partition,
    connect,
    connect_still,
    in_transaction,
    is_busy,
    number_of,
    port_error,
    prepare,
)
from correlator.runtime.ports import (
    Batch,
    Fenced,
    Messages,
    OffsetOutOfRange,
    Position,
    Refused,
    Standing,
    TopicPartition,
    TopicSettings,
)
from correlator.runtime.segments import Segment, batch_of, cut, joined, rows_of
from correlator.runtime.topics import other_partitions
from correlator.runtime.trimming import Ripe, drop_slice, forget_marks, mark, ripe

T = TypeVar("T")

_FETCH_BYTES: Final = 4 * 1024 * 1024
_LONGEST_PAUSE_S: Final = 0.05  # how late a poll may see what another process committed

_ENCODER: Final = msgspec.msgpack.Encoder()
_HEADERS: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def wall_clock() -> Instant:
    """Return the machine's time, which stamps records that were sent without one."""
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """The log in a folder. One connection serves all its readers and writers; they belong to one event loop.

    A call blocks the loop while SQLite works (milliseconds; a checkpoint of the WAL, every 32 MB, waits for the disk), never while it
    waits for another process.
    """

    def __init__(
        self, db: sqlite3.Connection, path: Path, *, clock: Callable[[], Instant], patience_ms: int, is_still: bool = False
    ) -> None:
        self.path = path
        self.is_still = is_still
        self.clock = clock
        self._db = db
        self._patience_s = patience_ms / 1000
        self._wal = path.with_name(WAL_NAME)
        self._known: dict[TopicPartition, Partition] = {}
        self._retention: dict[str, Duration | None] = {}
        self._commits = 0
        self._committed_here = asyncio.Event()

    @classmethod
    async def open(
        cls, directory: Path, *, clock: Callable[[], Instant] = wall_clock, max_bytes: int | None = None, patience_ms: int = 10_000
    ) -> "EmbeddedLog":
        """Open the log in `directory`, or make it there.

        The file may grow to `max_bytes` (writes beyond raise Full), or to the disk's end. A file that other processes keep locked is
        waited for `patience_ms`, then Transient is raised. Raises Refused, and says what to do, when the folder cannot be written or
        the file is not ours, newer or damaged.
        """
        log = cls(connect(directory), directory / FILE_NAME, clock=clock, patience_ms=patience_ms)
        with ExitStack() as undo:
            undo.callback(log._db.close)
            await log.when_free(partial(prepare, log._db, log.path))
            if max_bytes is not None:
                log._db.execute(f"PRAGMA max_page_count = {max(1, max_bytes // PAGE_BYTES)}")
            undo.pop_all()
        return log

    @classmethod
    def open_still(cls, directory: Path) -> "EmbeddedLog":
        """Open the log in a folder on a disk that nobody can write, to read it. Raises Refused, which says what to do."""
        return cls(connect_still(directory), directory / FILE_NAME, clock=wall_clock, patience_ms=0, is_still=True)

    async def close(self) -> None:
        """See `Log.close`; the last process to close merges the WAL into the file."""
        self._db.close()

    async def when_free(self, step: Callable[[], T]) -> T:
        """Run `step`, again and again while other processes lock the file; errors of SQLite become the port's."""
        deadline = time.monotonic() + self._patience_s
        pause = 0.001
        while True:
            try:
                return step()
            except sqlite3.Error as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise port_error(error, self.path) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.02)

    async def write(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Run `step` in one SQLite transaction and wake the readers of this process. Raises Refused where nothing can be written."""
        if self.is_still:
            raise Refused(f"{self.path}: its disk is read-only: mount it for writing, or copy the folder to another one")
        result = await self.when_free(lambda: in_transaction(self._db, lambda: step(self._db)))
        self._commits += 1
        self._committed_here.set()
        self._committed_here = asyncio.Event()
        self._bound_wal()
        return result

    def _bound_wal(self) -> None:
        """Merge the WAL by force when it outgrew its limit: where two processes write all the time, no ordinary merge gets to its end.

        Another process that is reading or writing just now makes this fail quietly; the next commit tries again.
        """
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size > WAL_LIMIT_BYTES:
            with suppress(sqlite3.OperationalError):  # the commit stands whatever becomes of this; the next one meets a full disk itself
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    # ------------------------------------------------------------------------------------------------ topics

    async def open_topics(self, topics: Sequence[TopicSettings]) -> None:
        """See `Log.open_topics`."""
        await self.write(partial(_open_topics, topics))
        self._retention.update({topic.name: topic.retention for topic in topics})

    def partition(self, tp: TopicPartition) -> Partition:
        """Return what the file says of a partition; Refused where there is none."""
        known = self._known.get(tp)
        if known is None:
            row = self._db.execute("SELECT number, compacted FROM partitions WHERE topic = ? AND partition = ?", tp).fetchone()
            if row is None:
                raise Refused(f"{self.path}: there is no partition {tp.topic}-{tp.partition}: topics are created when the service starts")
            known = self._known[tp] = Partition(row[0], bool(row[1]))
        return known

    async def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        await self.when_free(partial(self.partition, TopicPartition(topic, 0)))
        query = "SELECT count(*) FROM partitions WHERE topic = ?"
        (count,) = await self.when_free(lambda: self._db.execute(query, (topic,)).fetchone())
        assert isinstance(count, int)
        return count

    async def committed(self, group: str, tp: TopicPartition) -> Position | None:
        """See `Log.committed`."""
        query = "SELECT next, note FROM positions WHERE consumers = ? AND topic = ? AND partition = ?"
        row = await self.when_free(lambda: self._db.execute(query, (group, *tp)).fetchone())
        return None if row is None else Position(*row)

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """See `Log.bounds`."""
        return await self.when_free(lambda: self.bounds_now(self.partition(tp)))

    async def standings(self, group: str, tps: Sequence[TopicPartition]) -> list[Standing]:
        """See `Log.standings`."""
        return [Standing(await self.committed(group, tp), *await self.bounds(tp)) for tp in tps]

    def bounds_now(self, partition: Partition) -> tuple[int, int]:
        """Return the first offset and the end; errors are SQLite's."""
        first, end = self._db.execute("SELECT first, next FROM partitions WHERE number = ?", (partition.number,)).fetchone()
        return first, end

    async def trim(self, tp: TopicPartition, before_offset: int) -> None:
        """Drop what lies wholly below `before_offset`: whole segments, or in a compacted topic the tombstones alone.

        The file keeps its size; what is written next takes the space.
        """
        await self._drop(await self.when_free(partial(self.partition, tp)), 0, max(0, before_offset))

    async def expire(self, needed_from: Mapping[TopicPartition, int | None]) -> None:
        """See `Log.expire`. Other transactions come between: each of ours drops a slice."""
        retention = {tp: self._retention.get(tp.topic) for tp in needed_from}
        kept = {tp: duration for tp, duration in retention.items() if duration is not None}
        partitions = {tp: await self.when_free(partial(self.partition, tp)) for tp in kept}
        now = self.clock()

        def look(db: sqlite3.Connection) -> dict[TopicPartition, Ripe | None]:
            for tp, partition in partitions.items():
                mark(db, partition, now=now, retention=kept[tp])
            return {tp: ripe(db, partition, before=now - kept[tp], needed_from=needed_from[tp]) for tp, partition in partitions.items()}

        for tp, found in (await self.write(look)).items():
            if found is not None:
                await self._drop(partitions[tp], found.low, found.high)
                await self.write(partial(forget_marks, found, partitions[tp]))

    async def _drop(self, partition: Partition, low: int, high: int) -> None:
        while await self.write(partial(drop_slice, partition, low=low, high=high)):  # noqa: ASYNC110 - nothing is waited for
            await asyncio.sleep(0)  # let the other tasks run

    # ------------------------------------------------------------------------------------------------ reading

    def reader(self, tp: TopicPartition) -> "EmbeddedReader":
        """See `Log.reader`."""
        return EmbeddedReader(self, tp)

    def membership(self, group: str, stages: Sequence[Sequence[TopicPartition]]) -> Alone:  # noqa: ARG002
        """See `Log.membership`."""
        return Alone(stages)

    def writer(self, transactional_id: str | None) -> "EmbeddedWriter":
        """See `Log.writer`."""
        return EmbeddedWriter(self, transactional_id)

    def stamp(self) -> tuple[int, int]:
        """Return a value that changes with every commit: of other processes (`data_version`) and of this one."""
        return number_of(self._db, "PRAGMA data_version"), self._commits

    async def until_changed(self, stamp: tuple[int, int], deadline: float) -> None:
        """Return when something was committed after `stamp`, or at `deadline` (the loop's time). Our own commits wake at once."""
        now = asyncio.get_running_loop().time
        pause = 0.001
        while (left := deadline - now()) > 0 and await self.when_free(self.stamp) == stamp:
            try:
                async with asyncio.timeout(min(pause, left)):
                    await self._committed_here.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def fetch(self, partition: Partition, position: int, *, most: int) -> Batch:
        """Return about `most` records at and above `position`, or fewer when they are large; errors are SQLite's."""
        if partition.compacted:
            return self._fetch_keyed(partition, position, most=most)
        query = "SELECT base, body FROM segments WHERE place >= ? AND place < ? ORDER BY place"
        batches: list[Batch] = []
        count = size = 0
        with closing(self._db.execute(query, (partition.place(position), partition.places_end))) as rows:
            for base, body in rows:
                batch = self._decoded(base, body)
                batches.append(rows_of(batch, max(0, position - base), len(batch)))
                count += len(batches[-1])
                size += len(body)
                if count >= most or size >= _FETCH_BYTES:
                    break
        return joined(batches) if batches else Batch()

    def _decoded(self, base: int, body: bytes) -> Batch:
        try:
            return batch_of(base, body)
        except (msgspec.DecodeError, ValueError) as error:  # SQLite has no checksums for what lies in a row
            raise Refused(f"{self.path}: it is damaged: move it away (or restore a copy) and start again ({error})") from error

    def _fetch_keyed(self, partition: Partition, position: int, *, most: int) -> Batch:
        query = "SELECT place, timestamp, key, value, headers FROM keyed WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
        found: list[tuple[int, int, bytes, bytes | None, bytes | None]] = []
        size = 0
        limits = (partition.place(position), partition.places_end, most)
        with closing(self._db.execute(query, limits)) as rows:
            for row in rows:
                found.append(row)
                size += len(row[3] or b"")
                if size >= _FETCH_BYTES:
                    break
        if not found:
            return Batch()
        places, stamps, keys, values, headers = zip(*found, strict=True)
        start = partition.place(0)
        decoded = [_HEADERS.decode(each) if each is not None else [] for each in headers] if any(headers) else None
        return Batch([place - start for place in places], stamps, keys, values, decoded)


def _open_topics(topics: Sequence[TopicSettings], db: sqlite3.Connection) -> None:
    for topic in topics:
        count, compacted = db.execute("SELECT count(*), max(compacted) FROM partitions WHERE topic = ?", (topic.name,)).fetchone()
        if count not in (0, topic.partitions):
            raise other_partitions(topic, count)
        if count and bool(compacted) != topic.compacted:
            raise Refused(f"topic {topic.name} is{'' if compacted else ' not'} compacted: choose another prefix")
        if not count:
            rows = ((topic.name, partition, topic.compacted) for partition in range(topic.partitions))
            db.executemany("INSERT INTO partitions (topic, partition, compacted) VALUES (?, ?, ?)", rows)


class EmbeddedReader:
    """See `Reader`. Holds what it fetched and did not yet return: one segment, or 4 MB of small ones."""

    def __init__(self, log: EmbeddedLog, tp: TopicPartition) -> None:
        self._log = log
        self._tp = tp
        self._position = 0
        self._ahead = Batch()
        self._taken = 0

    @property
    def position(self) -> int:
        """See `Reader.position`."""
        return self._position

    def seek(self, offset: int) -> None:
        """See `Reader.seek`."""
        self._position = offset
        self._ahead, self._taken = Batch(), 0

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        """See `Reader.poll`."""
        assert max_records > 0
        await asyncio.sleep(0)  # a long backlog must let the other tasks run
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        while self._taken >= len(self._ahead):
            stamp = await self._log.when_free(self._log.stamp)  # taken before looking: a commit between the two is not missed
            self._ahead, self._taken = await self._log.when_free(partial(self._fetch, max_records)), 0
            if len(self._ahead):
                break
            if asyncio.get_running_loop().time() >= deadline:
                return Batch()
            await self._log.until_changed(stamp, deadline)
        return self._take(max_records)

    def _fetch(self, most: int) -> Batch:
        partition = self._log.partition(self._tp)
        # The bounds come first: what a foreign commit adds between the two queries is then read, never jumped over.
        first, end = self._log.bounds_now(partition)
        if not first <= self._position <= end:
            raise OffsetOutOfRange(self._tp, self._position, first=first, end=end)
        batch = self._log.fetch(partition, self._position, most=most)
        if not len(batch):
            self._position = end
        elif not partition.compacted and batch.offsets[0] != self._position:  # trimmed between the two queries
            raise OffsetOutOfRange(self._tp, self._position, first=batch.offsets[0], end=end)
        return batch

    def _take(self, most: int) -> Batch:
        batch = rows_of(self._ahead, self._taken, self._taken + most)
        self._taken += len(batch)
        self._position = batch.offsets[-1] + 1
        if self._taken == len(self._ahead):
            self._ahead, self._taken = Batch(), 0
        return batch

    async def close(self) -> None:
        """See `Reader.close`."""
        self.seek(self._position)


class EmbeddedWriter:
    """See `Writer`. The open transaction is in memory, ordinary topics already encoded."""

    def __init__(self, log: EmbeddedLog, transactional_id: str | None) -> None:
        self._log = log
        self._id = transactional_id
        self._epoch = 0
        self._is_open = False
        self._segments: dict[Partition, list[Segment]] = {}
        self._keyed: dict[Partition, list[tuple[Messages, Instant]]] = {}
        self._positions: dict[tuple[str, str, int], Position] = {}

    async def start(self) -> None:
        """See `Writer.start`."""
        if self._id is not None:
            self._epoch = await self._log.write(partial(_fence, self._id))

    async def begin(self) -> None:
        """See `Writer.begin`."""
        assert not self._is_open, "the last transaction is still open"
        self._is_open = True

    async def send(self, tp: TopicPartition, messages: Messages) -> None:
        """See `Writer.send`."""
        assert self._is_open, "no transaction is open"
        for column in (messages.keys, messages.timestamps, messages.headers):
            assert column is None or len(column) == len(messages.values), "columns of unequal length"
        partition = await self._log.when_free(partial(self._log.partition, tp))
        if partition.compacted:
            if messages.keys is None or None in messages.keys:
                raise Refused(f"topic {tp.topic} is compacted: every record needs a key")
            self._keyed.setdefault(partition, []).append((messages, self._log.clock()))
        elif len(messages.values):
            self._segments.setdefault(partition, []).extend(cut(messages, self._log.clock()))

    async def send_offsets(self, group: str, offsets: Mapping[TopicPartition, Position]) -> None:
        """See `Writer.send_offsets`."""
        assert self._is_open, "no transaction is open"
        assert self._id is not None, "a plain producer sends no offsets"
        self._positions.update({(group, *tp): offset for tp, offset in offsets.items()})

    async def commit(self) -> None:
        """See `Writer.commit`."""
        assert self._is_open, "no transaction is open"
        await self._log.write(self._write)
        self._drop()

    async def abort(self) -> None:
        """See `Writer.abort`."""
        self._drop()

    async def close(self) -> None:
        """See `Writer.close`."""
        self._drop()

    def _drop(self) -> None:
        self._is_open = False
        self._segments, self._keyed, self._positions = {}, {}, {}

    def _write(self, db: sqlite3.Connection) -> None:
        if self._id is not None:
            (epoch,) = db.execute("SELECT epoch FROM fences WHERE transactional_id = ?", (self._id,)).fetchone() or (0,)
            if epoch != self._epoch:
                raise Fenced(f"a newer writer has taken over {self._id}")
        for partition, segments in self._segments.items():
            _append(db, partition, segments)
        for partition, sent in self._keyed.items():
            _upsert(db, partition, sent)
        rows = ((*whose, *position) for whose, position in self._positions.items())
        db.executemany("INSERT OR REPLACE INTO positions (consumers, topic, partition, next, note) VALUES (?, ?, ?, ?, ?)", rows)


def _fence(transactional_id: str, db: sqlite3.Connection) -> int:
    """Give the id to a new writer and return that writer's epoch."""
    query = "INSERT INTO fences VALUES (?, 1) ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch"
    (epoch,) = db.execute(query, (transactional_id,)).fetchall()[0]
    assert isinstance(epoch, int)
    return epoch


def _next_offset(db: sqlite3.Connection, partition: Partition) -> int:
    (offset,) = db.execute("SELECT next FROM partitions WHERE number = ?", (partition.number,)).fetchone()
    assert isinstance(offset, int)
    return offset


def _append(db: sqlite3.Connection, partition: Partition, segments: Sequence[Segment]) -> None:
    offset = _next_offset(db, partition)
    for count, body in segments:
        db.execute("INSERT INTO segments VALUES (?, ?, ?)", (partition.place(offset + count - 1), offset, body))
        offset += count
    db.execute("UPDATE partitions SET next = ? WHERE number = ?", (offset, partition.number))


def _upsert(db: sqlite3.Connection, partition: Partition, sent: Sequence[tuple[Messages, Instant]]) -> None:
    """Replace the rows of these keys. Delete and insert, not REPLACE: that journals every page it touches, at ten times the system time."""
    db.execute(f"PRAGMA cache_size = -{KEYED_CACHE_KIB}")
    offset = _next_offset(db, partition)
    row_by_key: dict[bytes, tuple[int, Instant, bytes | None, bytes | None]] = {}
    for messages, now in sent:
        count = len(messages.values)
        stamps = messages.timestamps if messages.timestamps is not None else [now] * count
        headers = [_ENCODER.encode(each) if each else None for each in messages.headers] if messages.headers is not None else [None] * count
        columns = zip(messages.keys or (), stamps, messages.values, headers, strict=True)
        for place, (key, stamp, value, packed) in enumerate(columns, partition.place(offset)):
            assert key is not None, "send refused it"
            row_by_key[key] = (place, stamp, value, packed)
        offset += count
    keys = sorted(row_by_key)  # neighbours share a page of the index
    number = partition.number
    db.executemany("DELETE FROM keyed WHERE number = ? AND key = ?", ((number, key) for key in keys))
    rows = ((row_by_key[key][0], number, key, *row_by_key[key][1:]) for key in keys)
    db.executemany("INSERT INTO keyed (place, number, key, timestamp, value, headers) VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.execute("UPDATE partitions SET next = ? WHERE number = ?", (offset, number))
