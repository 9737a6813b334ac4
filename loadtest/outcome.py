"""What a run left in the embedded log, read by SQL and MessagePack alone: nothing here imports the code under test.

The layout read here is that of schema 2: partitions, segments of columns, and the rows of compacted topics by key.
"""

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

Document = dict[str, Any]
FILE_NAME: Final = "correlator.db"
PREFIX: Final = "correlator"
_OFFSET_BITS: Final = 44
_FINGERPRINT_BYTES: Final = 16
_FINGERPRINTS, _STATUSES, _COUNTS = 5, 6, 7
"""Places of the columns in a frame."""
_RESOLVED_BIT: Final = 1


class Topics(Protocol):
    """What a run left, wherever its log is."""

    def appended(self, topic: str) -> Iterator[bytes | None]:
        """Yield the values of an ordinary topic in order, partition by partition."""
        ...

    def kept(self, topic: str) -> Iterator[tuple[bytes, Document]]:
        """Yield key and newest document of a compacted topic, tombstones left out."""
        ...


class Outcome:
    """The topics of one folder. Opens the file for reading only; a run may be under way."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def appended(self, topic: str) -> Iterator[bytes | None]:
        """Yield the values of an ordinary topic in order, partition by partition."""
        for number in self._partitions(topic):
            query = "SELECT body FROM segments WHERE place >= ? AND place < ? ORDER BY place"
            with closing(self._db.execute(query, (number << _OFFSET_BITS, (number + 1) << _OFFSET_BITS))) as rows:
                for (body,) in rows:
                    yield from msgspec.msgpack.decode(body)[1]

    def kept(self, topic: str) -> Iterator[tuple[bytes, Document]]:
        """Yield key and document of what a compacted topic holds, tombstones left out, in the order of writing."""
        for number in self._partitions(topic):
            query = "SELECT key, value FROM keyed WHERE number = ? AND value IS NOT NULL ORDER BY place"
            for key, value in self._db.execute(query, (number,)).fetchall():
                yield key, msgspec.json.decode(value)

    def _partitions(self, topic: str) -> list[int]:
        query = "SELECT number FROM partitions WHERE topic = ? ORDER BY partition"
        return [number for (number,) in self._db.execute(query, (f"{PREFIX}.{topic}",)).fetchall()]


def items_of(frames: Iterable[bytes | None]) -> Counter[tuple[str, bool]]:
    """Count the items on the internal log by fingerprint (hex) and whether they resolve."""
    found: Counter[tuple[str, bool]] = Counter()
    for frame in frames:
        wire = msgspec.msgpack.decode(frame or b"")
        fingerprints, statuses = wire[_FINGERPRINTS], wire[_STATUSES]
        for row, count in enumerate(array("I", wire[_COUNTS])):
            place = row * _FINGERPRINT_BYTES
            found[fingerprints[place : place + _FINGERPRINT_BYTES].hex(), bool(statuses[row] & _RESOLVED_BIT)] += count
    return found


def records_in(folder: Path, topic: str) -> int:
    """Count the records ever appended to a topic; 0 where there is no log yet."""
    if not (folder / FILE_NAME).exists():
        return 0
    with closing(sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True, timeout=30)) as db:
        is_made = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'partitions'").fetchone()[0]
        query = "SELECT coalesce(sum(next), 0) FROM partitions WHERE topic = ?"
        count = db.execute(query, (f"{PREFIX}.{topic}",)).fetchone()[0] if is_made else 0
    assert isinstance(count, int)
    return count
