"""Trimming the embedded log by age: what its file remembers of when records came, and how they go.

Age goes by when a record was appended, never by its timestamp: a recording of last year was appended today. Instead of an instant a
record there are *marks*: "at this instant the partition ended at this offset", so all below it is at least as old. A partition has about
a hundred marks a retention, each made when the service looks after its log; what came while none ran counts as come when one looked next.
"""

import sqlite3
from typing import Final, NamedTuple

from correlator.model.instant import Duration, Instant
from correlator.runtime.database import Partition

MARKS: Final = 100
"""Marks within one retention: records may stay so much of it longer."""
_SLICE_SEGMENTS: Final = 16
_SLICE_TOMBSTONES: Final = 2_000
"""What one transaction drops, so that no other waits long for the file (8 MB of segments: about 20 ms)."""


class Ripe(NamedTuple):
    """What may go of a partition: offsets from `low` to below `high`. Nothing below `low` is left to go."""

    low: int
    high: int
    newest: Instant
    is_whole: bool


def mark(db: sqlite3.Connection, partition: Partition, *, now: Instant, retention: Duration) -> None:
    """Note where a partition ends now, unless that was noted a moment ago. Before the first mark stands one at the very beginning."""
    number = partition.number
    (end,) = db.execute("SELECT next FROM partitions WHERE number = ?", (number,)).fetchone()
    query = "SELECT instant, next FROM marks WHERE number = ? AND instant <= ? ORDER BY instant DESC LIMIT 1"
    newest = db.execute(query, (number, now)).fetchone()
    if newest is None:
        db.execute("INSERT INTO marks VALUES (?, 0, 0)", (number,))
    elif newest[1] == end or now - newest[0] < retention // MARKS:
        return
    db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (number, now, end))


def ripe(db: sqlite3.Connection, partition: Partition, *, before: Instant, needed_from: int | None) -> Ripe | None:
    """Answer what was there at `before` already and lies below `needed_from` (None: nobody needs it); None when nothing is."""
    query = "SELECT min(next), max(next), max(instant) FROM marks WHERE number = ? AND instant <= ?"
    low, high, newest = db.execute(query, (partition.number, before)).fetchone()
    if low is None:
        return None
    limit = high if needed_from is None else min(high, needed_from)
    return Ripe(low, limit, newest, limit == high) if limit > low else None


def forget_marks(done: Ripe, partition: Partition, db: sqlite3.Connection) -> None:
    """Forget the marks that everything went for but the newest: that one says that nothing is left below it."""
    if done.is_whole:
        db.execute("DELETE FROM marks WHERE number = ? AND instant < ?", (partition.number, done.newest))


def drop_slice(partition: Partition, db: sqlite3.Connection, *, low: int, high: int) -> bool:
    """Drop some of what lies between two offsets: whole segments, or in a compacted topic tombstones; answers whether there may be more."""
    limits = partition.place(low), partition.place(high)
    if partition.compacted:
        rows = "SELECT place FROM keyed WHERE place >= ? AND place < ? AND value IS NULL LIMIT ?"
        dropped = db.execute(f"DELETE FROM keyed WHERE place IN ({rows})", (*limits, _SLICE_TOMBSTONES)).rowcount  # noqa: S608 - our own words
        return dropped == _SLICE_TOMBSTONES
    rows = "SELECT place FROM segments WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
    dropped = db.execute(f"DELETE FROM segments WHERE place IN ({rows})", (*limits, _SLICE_SEGMENTS)).rowcount  # noqa: S608 - our own words
    _set_first(partition, db)
    return dropped == _SLICE_SEGMENTS


def _set_first(partition: Partition, db: sqlite3.Connection) -> None:
    oldest = "SELECT base FROM segments WHERE place >= ? AND place < ? ORDER BY place LIMIT 1"
    row = db.execute(oldest, (partition.place(0), partition.places_end)).fetchone()
    if row is None:
        db.execute("UPDATE partitions SET first = next WHERE number = ?", (partition.number,))
    else:
        db.execute("UPDATE partitions SET first = ? WHERE number = ?", (row[0], partition.number))
