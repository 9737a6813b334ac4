"""Event files: JSON lines or one (indented) document, read in bounded pieces."""

import sys
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from correlator.intake.normalise import said_at
from correlator.model.calendar import parse_rfc3339
from correlator.model.instant import HOUR, Instant
from correlator.runtime.documents import is_broken_document, item_spots, read_array

PIECE_BYTES: Final = 1 << 22
CHUNK_BYTES: Final = 1 << 16
"""Read at a time; larger blocks gain nothing."""
DOCUMENT_BYTES_MOST: Final = 64 * 1024 * 1024
"""A file that is one JSON document is read whole, up to this size."""
_GZIP: Final = b"\x1f\x8b"
"""With which every gzip file begins, and no JSON."""
_BLANK_LINES_MOST: Final = 100_000
_STEP_MOST: Final = HOUR
"""A time further ahead of its file than this counts only when the next record agrees: one typing error must not hold back a file."""

Advance = Callable[[int], None]
"""Told how many bytes were read, for a progress bar."""


class Place(msgspec.Struct, frozen=True):
    """Where an item lies: the file, the line from 1 where its record begins, and its place in the record from 0.

    The items of one document all lie in the record that begins in its first line.
    """

    file: str
    line: int
    item: int


class Records(msgspec.Struct, frozen=True):
    """A batch of records and the line, from 1, where each began.

    The items of one document (a JSON array, `document` holds its bytes) are records that all began in its first line; `item` is the
    place of the batch's first in the array, from 0. Records merged from several files name, each, the batch it was in and its number.
    """

    values: list[bytes]
    lines: range | list[int]
    document: bytes | None = None
    item: int = 0
    file: str = "-"
    origins: list[tuple["Records", int]] | None = None

    def place_of(self, number: int, item: int = 0) -> Place:
        """Answer where an item of the batch's record of that number lies."""
        if self.origins is not None:
            batch, number = self.origins[number]
            return batch.place_of(number, item)
        first = self.item + number if self.document is not None else 0
        return Place(self.file, self.lines[number], first + item)

    def spot_of(self, number: int, item: int = 0) -> tuple[int, int] | None:
        """Answer the line and the column at which an item begins in its document, None where all is on one line or nothing tells."""
        if self.origins is not None:
            batch, number = self.origins[number]
            return batch.spot_of(number, item)
        whole = self.document if self.document is not None else self.values[number]
        if b"\n" not in whole:
            return None
        spots, place = item_spots(whole), item if self.document is None else self.item + number
        return spots[place] if place < len(spots) else None


class InputError(Exception):
    """A file cannot be read; says which and why."""


def read_records(path: str, *, size: int, advance: Advance = lambda _: None) -> Iterator[Records]:
    """Read a file (`-` is standard input) as batches of at most `size` records. Raises `InputError`."""
    try:
        with _opened(path) as file:
            for batch in _records(file, size, advance):
                yield msgspec.structs.replace(batch, file=path)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(message) from error


def check_readable(paths: Iterable[str]) -> None:
    """Open every file once, before anything is written because of them. Raises `InputError`."""
    for path in paths:
        if path != "-":
            try:
                with Path(path).open("rb") as file:
                    is_packed = file.peek(len(_GZIP)).startswith(_GZIP)
            except OSError as error:
                message = f"{path}: cannot be read: {error.strerror or error}"
                raise InputError(message) from error
            if is_packed:
                message = f"{path}: is compressed: unpack it into standard input (`gunzip -c {path} | … -`)"
                raise InputError(message)


def read_merged(paths: list[str], *, size: int, advance: Advance = lambda _: None) -> Iterator[Records]:
    """Read several files as one recording in the order of their event times; one file is read as it is."""
    if len(paths) == 1:
        yield from read_records(paths[0], size=size, advance=advance)
        return
    timed = [_timed(read_records(path, size=size, advance=advance)) for path in paths]
    merged = merge(*timed, key=lambda record: record[0])
    while batch := list(islice(merged, size)):
        values = [records.values[number] for _, records, number in batch]
        yield Records(values, range(len(values)), origins=[(records, number) for _, records, number in batch])


def input_bytes(paths: Iterable[str]) -> int | None:
    """Answer how many bytes there are to read, None when that cannot be known (standard input)."""
    total = 0
    for path in paths:
        if path == "-" or not Path(path).is_file():
            return None
        total += Path(path).stat().st_size
    return total


class _Times(msgspec.Struct):
    at: int | str | None = None
    status: object = None
    receivedAt: int | str | None = None  # noqa: N815 - the public contract's name
    startsAt: int | str | None = None  # noqa: N815 - the public contract's name
    endsAt: int | str | None = None  # noqa: N815 - the public contract's name


_TIMES: Final = msgspec.json.Decoder(_Times)


def _timed(batches: Iterator[Records]) -> Iterator[tuple[Instant, Records, int]]:
    """Give each record the newest time that its file had reached."""
    newest: Instant = 0
    records = ((batch, number) for batch in batches for number in range(len(batch.values)))
    for record, following in pairwise(chain(records, (None,))):
        assert record is not None, "only the last of all is none"
        claim = _claim(record)
        if claim is not None and claim > newest + _STEP_MOST and newest and following is not None:
            witness = _claim(following)
            claim = claim if witness is None or witness > claim - _STEP_MOST else None
        newest = max(newest, claim) if claim is not None else newest
        yield newest, *record


def _claim(record: tuple[Records, int]) -> Instant | None:
    """Answer when a record says that it was said, None when it does not tell."""
    batch, number = record
    try:
        times = _TIMES.decode(batch.values[number])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    said: int | str | None = times.receivedAt
    if said is None:
        said = said_at(times.at, is_resolved=times.status == "resolved", starts_at=times.startsAt, ends_at=times.endsAt)
    if not isinstance(said, str):
        return said
    try:
        return parse_rfc3339(said)[0]
    except ValueError:
        return None


def _opened(path: str) -> BinaryIO:
    return sys.stdin.buffer if path == "-" else Path(path).open("rb")


def _records(file: BinaryIO, size: int, advance: Advance) -> Iterator[Records]:
    head = file.readline(DOCUMENT_BYTES_MOST)
    if not _opens_document(head):
        yield from _lines(head, file, size, advance=advance)
        return
    body = head + file.read(DOCUMENT_BYTES_MOST - len(head))
    values = _document(body)
    if values is None:
        yield from _lines(body + file.readline(), file, size, advance=advance)
        return
    document = body if values[0] is not body else None
    advance(len(body))
    for first in range(0, len(values), size):
        batch = values[first : first + size]
        yield Records(batch, [1] * len(batch), document=document, item=first)


def _opens_document(head: bytes) -> bool:
    """Answer whether the first line is the beginning of a document that goes on below it."""
    if not head.lstrip().startswith((b"{", b"[")):
        return False
    try:
        return isinstance(msgspec.json.decode(head), list)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True


def _document(body: bytes) -> list[bytes] | None:
    """Read one document: its items as they stand there, itself when it has none or a fault, None when it is lines after all."""
    items = read_array(body)
    if items is not None:
        return items or [body]
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return [body] if len(body) < DOCUMENT_BYTES_MOST and is_broken_document(body) else None
    return [body]


def _lines(head: bytes, file: BinaryIO, size: int, *, advance: Advance) -> Iterator[Records]:
    number, blank = 1, list[bytes]()
    for lines, length in _pieces(head, file):
        advance(length)
        whole, blank = _without_blank_end([*blank, *lines])
        for first in range(0, len(whole), size):
            batch = whole[first : first + size]
            yield Records(batch, range(number, number + len(batch)))
            number += len(batch)


def _pieces(head: bytes, file: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """Answer lines without their ends, about `PIECE_BYTES` at a time, and how many bytes they took."""
    lines, length, open_line = list[bytes](), len(head), [head]
    while chunk := file.read(CHUNK_BYTES):
        length += len(chunk)
        whole, end, rest = chunk.rpartition(b"\n")
        if not end:
            open_line.append(chunk)
            continue
        lines += _split(b"".join([*open_line, whole]))
        open_line = [rest]
        if length >= PIECE_BYTES:
            yield lines, length
            lines, length = [], 0
    last = b"".join(open_line)
    yield ([*lines, *_split(last.removesuffix(b"\n"))] if last else lines), length


def _split(body: bytes) -> list[bytes]:
    lines = body.split(b"\n")
    return [line.rstrip(b"\r") for line in lines] if b"\r" in body else lines


def _without_blank_end(lines: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Part lines from the blank ones at their end, which are no items unless others follow; of very many none is kept back."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return (lines[:end], lines[end:]) if len(lines) - end <= _BLANK_LINES_MOST else (lines, [])
