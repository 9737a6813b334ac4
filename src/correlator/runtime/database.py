"""The SQLite file of the embedded log: its schema, how it is opened and written, and what its errors mean to the port."""

import errno
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from correlator.runtime.ports import Full, PortError, Refused, Transient

T = TypeVar("T")

FILE_NAME: Final = "correlator.db"
WAL_NAME: Final = f"{FILE_NAME}-wal"
SCHEMA_VERSION: Final = 2
_APPLICATION_ID: Final = 0x434F5252  # "CORR", in the file's header: tells our file from other programs' databases

# Large pages, as segments are large: against 4 KiB pages they halve the kernel's share of a write; 64 KiB gain 10 % more for segments
# but make the small commits of compacted topics write twice as much.
PAGE_BYTES: Final = 32 * 1024
# Appending runs best in a small cache; a compacted topic is written all over its index, and spills out of one
# (12 against 8 CPU-s for a million new rows).
_CACHE_KIB: Final = 4 * 1024
KEYED_CACHE_KIB: Final = 32 * 1024
_CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024

_OFFSET_BITS: Final = 44  # a row's number is its partition's number, then the offset: 524,288 partitions of 17 trillion records


class Partition(NamedTuple):
    """What never changes about a partition of this file."""

    number: int
    compacted: bool

    def place(self, offset: int) -> int:
        """Return the row number that stands for an offset."""
        return self.number << _OFFSET_BITS | offset

    @property
    def places_end(self) -> int:
        """The row number behind all of this partition's."""
        return (self.number + 1) << _OFFSET_BITS


# Where a partition ended at some instants, see trimming.py. New in schema 2; a file of schema 1 is given the empty table when it is
# opened, and what it holds counts as appended then.
_MARKS: Final = (
    "CREATE TABLE marks (number INTEGER NOT NULL, instant INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (number, instant))"
    " WITHOUT ROWID"
)
_SCHEMA: Final = (
    (
        "CREATE TABLE partitions (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, compacted INTEGER NOT NULL,"
        " first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition))"
    ),
    # `place` is that of the segment's last record, so one comparison finds the segment that holds an offset or follows it.
    "CREATE TABLE segments (place INTEGER PRIMARY KEY, base INTEGER NOT NULL, body BLOB NOT NULL)",
    (
        "CREATE TABLE keyed (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, key BLOB NOT NULL, timestamp INTEGER NOT NULL,"
        " value BLOB, headers BLOB, UNIQUE (number, key))"
    ),
    (
        "CREATE TABLE positions (consumers TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,"
        " note TEXT NOT NULL,"
        " PRIMARY KEY (consumers, topic, partition)) WITHOUT ROWID"
    ),
    "CREATE TABLE fences (transactional_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    _MARKS,
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


_ERRORS: Final[dict[int, tuple[type[PortError], str]]] = {
    sqlite3.SQLITE_BUSY: (Transient, "other processes kept it locked; is one of them stuck?"),
    sqlite3.SQLITE_LOCKED: (Transient, "it is locked"),
    sqlite3.SQLITE_FULL: (
        Full,
        f"the disk, or the size allowed to it, is full: make room, but leave {WAL_NAME}, it holds records; the last write was undone",
    ),
    sqlite3.SQLITE_READONLY: (Refused, "it cannot be written: give this user write permission to the file and its folder"),
    sqlite3.SQLITE_PERM: (Refused, "permission denied: give this user write permission to the file and its folder"),
    sqlite3.SQLITE_CANTOPEN: (Refused, "it cannot be opened: check that the folder exists, may be written and has room"),
    sqlite3.SQLITE_CORRUPT: (Refused, "it is damaged: move it away (or restore a copy) and start again"),
    sqlite3.SQLITE_NOTADB: (Refused, "it is not a database, or damaged: move it away (or restore a copy) and start again"),
    sqlite3.SQLITE_IOERR: (Refused, "the disk reports an error: check it, then start again"),
    sqlite3.SQLITE_TOOBIG: (Refused, "a record is larger than SQLite allows (1 GB)"),
}


def port_error(error: sqlite3.Error, path: Path) -> PortError:
    """Class an error of SQLite by what comes next."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # the index of the WAL could not grow: this, too, is a full disk
        code = sqlite3.SQLITE_FULL
    kind, advice = _ERRORS.get(
        code & 0xFF, (Refused, "it is not as this program left it: move it away (or restore a copy) and start again")
    )
    return kind(f"{path}: {advice} ({error})")


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process holds the file just now."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def connect(directory: Path) -> sqlite3.Connection:
    """Open the file in `directory`, making both where missing; Refused or Full where that cannot be."""
    path = directory / FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = Full if error.errno == errno.ENOSPC else Refused
        raise kind(f"{directory}: cannot be made a folder: {error.strerror}; choose another, or give this user permission") from error
    try:
        return sqlite3.connect(path, isolation_level=None, timeout=0)
    except sqlite3.Error as error:
        raise port_error(error, path) from error


def lies_still(directory: Path) -> bool:
    """Tell whether a folder is there and lies on a file system that is read-only for everybody, as one remounted after an error."""
    return directory.is_dir() and bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def connect_still(directory: Path) -> sqlite3.Connection:
    """Open the file in a folder that nobody can write; Refused where that cannot be, or a part of what was committed cannot be read.

    Without a WAL the file holds all, and SQLite need not look for one. A WAL is read through the index that lies beside it; where the
    index has gone, SQLite would have to write it.
    """
    path, wal = directory / FILE_NAME, directory / WAL_NAME
    has_wal = wal.exists() and wal.stat().st_size > 0
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{'' if has_wal else '&immutable=1'}", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise port_error(error, path) from error
    try:
        _check_ours(db, path)
    except sqlite3.Error as error:
        db.close()
        if has_wal:
            raise Refused(
                f"{path}: its disk is read-only, so that what {wal.name} holds cannot be read there: copy both files into a folder that "
                f"can be written, and name that ({error})"
            ) from error
        raise port_error(error, path) from error
    return db


def _check_ours(db: sqlite3.Connection, path: Path) -> int:
    """Check whose file it is, and answer the version of its schema. Raises Refused."""
    application, version = number_of(db, "PRAGMA application_id"), number_of(db, "PRAGMA user_version")
    if application != _APPLICATION_ID and number_of(db, "SELECT count(*) FROM sqlite_master"):
        raise Refused(f"{path}: is a database of another program: choose another folder")
    if version > SCHEMA_VERSION:
        raise Refused(f"{path}: was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION}): use that version")
    return version


def prepare(db: sqlite3.Connection, path: Path) -> None:
    """Check whose file it is, create its tables if it is new, and set how it is written."""
    version = _check_ours(db, path)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Refused(f"{path}: its file system has no shared memory for a write-ahead log: choose a folder on a local disk")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_BYTES // PAGE_BYTES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    if version < SCHEMA_VERSION:
        in_transaction(db, partial(_create, db))


def _create(db: sqlite3.Connection) -> None:
    version = number_of(db, "PRAGMA user_version")  # another process may have been quicker
    if version == 0:
        for statement in _SCHEMA:
            db.execute(statement)
    elif version < SCHEMA_VERSION:
        db.execute(_MARKS)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def number_of(db: sqlite3.Connection, statement: str) -> int:
    """Return the one integer that a statement yields."""
    (number,) = db.execute(statement).fetchone()
    assert isinstance(number, int)
    return number


def in_transaction(db: sqlite3.Connection, step: Callable[[], T]) -> T:
    """Run `step` in one SQLite transaction: all of it stays, or none when it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = step()
        db.execute("COMMIT")
    finally:
        if db.in_transaction:  # not after the commit, nor when SQLite itself rolled back because the disk is full
            db.execute("ROLLBACK")
    return result
