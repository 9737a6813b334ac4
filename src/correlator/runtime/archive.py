"""The file of `correlator state`: one application's state on its way from log to log, or kept as a copy.

A line that names the format, a line of JSON that says what lies in it (`head -2 FILE` shows both), then chunks: the number of bytes, their
XXH3 hash, and the bytes, MessagePack. The last chunk is empty, so that a file without its end is known.
"""

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from xxhash import xxh3_64_digest

from correlator.frames.codec import FRAME_VERSION
from correlator.frames.control import CONTROL_VERSION
from correlator.model.version import NewerVersionError
from correlator.runtime.files import InputError
from correlator.runtime.ports import Batch
from correlator.state.records import ROW_VERSION

ARCHIVE_VERSION: Final = 1
_MAGIC: Final = b"correlator state "
_VERSIONS: Final = {"rows": ROW_VERSION, "frames": FRAME_VERSION, "control": CONTROL_VERSION}
_HEAD: Final = Struct("<I8s")
_LINE_MOST: Final = 16 * 1024 * 1024
_CHUNK_MOST: Final = 64 * 1024 * 1024


class Witness(msgspec.Struct, frozen=True):
    """The last record that was read of a raw partition: where it lies, and the XXH3 hash (hex) of its time, key and value."""

    offset: int
    hash: str


class RawPlace(msgspec.Struct, frozen=True):
    """Where a raw partition is read on: `offset` is None when it never was, `note` what intake remembers of its time."""

    topic: str
    partition: int
    offset: int | None
    note: str = ""
    witness: Witness | None = None


class Header(msgspec.Struct, frozen=True):
    """What an archive holds. `judged` is the offset, in the log it was made of, of each domain's first frame that is not judged."""

    prefix: str
    domains: list[str]
    raw: list[RawPlace]
    judged: list[int]
    versions: dict[str, int] = msgspec.field(default_factory=_VERSIONS.copy)


class Records(msgspec.Struct, frozen=True, array_like=True):
    """Records of one partition in columns; `topic` without the prefix. `headers` is None where none has any."""

    topic: str
    partition: int
    offsets: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[list[tuple[str, bytes]]] | None = None

    @classmethod
    def of(cls, topic: str, partition: int, batch: Batch) -> "Records":
        """Take over a batch."""
        headers = [list(each) for each in batch.headers] if batch.headers is not None else None
        return cls(topic, partition, list(batch.offsets), list(batch.keys), list(batch.values), headers)

    def kept(self, numbers: list[int]) -> "Records":
        """Answer these records alone."""
        headers = self.headers
        return Records(
            self.topic,
            self.partition,
            [self.offsets[number] for number in numbers],
            [self.keys[number] for number in numbers],
            [self.values[number] for number in numbers],
            None if headers is None else [headers[number] for number in numbers],
        )


_RECORDS: Final = msgspec.msgpack.Decoder(Records)
_HEADER: Final = msgspec.json.Decoder(Header)


class ArchiveWriter:
    """Writes an archive beside its place and moves it there when it is whole: a file of that name is never a part.

    Use it as a context; an error inside leaves what was there before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self._partial.open("wb")
        return self

    def header(self, header: Header) -> None:
        """Say what will follow. Called once, first."""
        self._file.write(b"%s%d\n%s\n" % (_MAGIC, ARCHIVE_VERSION, msgspec.json.encode(header)))

    def add(self, records: Records) -> None:
        """Add a chunk."""
        self._chunk(msgspec.msgpack.encode(records))

    def _chunk(self, body: bytes) -> None:
        self._file.write(_HEAD.pack(len(body), xxh3_64_digest(body)))
        self._file.write(body)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._chunk(b"")
        finally:
            self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink()


class Archive:
    """An archive that was read to its end once: whole, undamaged, and of versions that we know."""

    def __init__(self, path: Path) -> None:
        """Raises `InputError` and `NewerVersionError`, and `OSError` where there is no such file."""
        self._path = path
        with path.open("rb") as file:
            self.header = self._read_header(file)
            self._start = file.tell()
        for _ in self.records():
            pass

    def records(self) -> Iterator[Records]:
        """Yield all chunks, in the order they were written. Raises `InputError` at one that is damaged."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            while body := self._read_chunk(file):
                try:
                    yield _RECORDS.decode(body)
                except msgspec.DecodeError as error:
                    raise self._damaged(file, str(error)) from error

    def _read_header(self, file: BinaryIO) -> Header:
        line = file.readline(100)
        if not line.startswith(_MAGIC) or not line[len(_MAGIC) :].strip().isdigit():
            raise InputError(f"{self._path}: is no state of the correlator; `correlator state export` writes one")
        self._refuse_newer({"file": int(line[len(_MAGIC) :])}, {"file": ARCHIVE_VERSION})
        try:
            header = _HEADER.decode(file.readline(_LINE_MOST))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(file, str(error)) from error
        self._refuse_newer(header.versions, _VERSIONS)
        return header

    def _refuse_newer(self, found: dict[str, int], known: dict[str, int]) -> None:
        for name, version in found.items():
            if version > known.get(name, 0):
                message = (
                    f"{self._path}: was written by a newer correlator (format {version} of its {name}; this one reads up to "
                    f"{known.get(name, 0)}): import it with that version"
                )
                raise NewerVersionError(message)

    def _read_chunk(self, file: BinaryIO) -> bytes:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise self._damaged(file, "its end is missing")
        size, digest = _HEAD.unpack(head)
        body = file.read(size) if size <= _CHUNK_MOST else b""
        if len(body) < size or xxh3_64_digest(body) != digest:
            raise self._damaged(file, "its bytes are not those that were written")
        return body

    def _damaged(self, file: BinaryIO, why: str) -> InputError:
        return InputError(f"{self._path}: damaged near byte {file.tell()}: {why}; export again, or take another copy")
