"""Event files: JSON lines or one (indented) document, read in bounded pieces."""

import sys
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from correlator.model.calendar import parse_rfc3339
from correlator.model.instant import HOUR, Instant

PIECE_BYTES: Final = 1 << 22
DOCUMENT_BYTES_MOST: Final = 64 * 1024 * 1024
"""A file that is one JSON document is read whole, up to this size."""
_STEP_MOST: Final = HOUR
"""A time further ahead of its file than this counts only when the next record agrees: one typing error must not hold back a file."""

Advance = Callable[[int], None]
"""Told how many bytes were read, for a progress bar."""


class Records(msgspec.Struct, frozen=True):
    """A batch of records and the line, from 1, where each began.

    The items of one document (a JSON array) are records that all began in its first line; `item` is the place of the batch's first
    in the array, from 0.
    """

    values: list[bytes]
    lines: range | list[int]
    is_document: bool = False
    item: int = 0


class InputError(Exception):
    """A file cannot be read; says which and why."""


def read_records(path: str, *, size: int, advance: Advance = lambda _: None) -> Iterator[Records]:
    """Read a file (`-` is standard input) as batches of at most `size` records. Raises `InputError`."""
    try:
        with _opened(path) as file:
            yield from _records(file, size, advance)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise InputError(message) from error


def check_readable(paths: Iterable[str]) -> None:
    """Open every file once, before anything is written because of them. Raises `InputError`."""
    for path in paths:
        if path != "-":
            try:
                with Path(path).open("rb") as file:
                    file.peek(1)
            except OSError as error:
                message = f"{path}: cannot be read: {error.strerror or error}"
                raise InputError(message) from error


def read_merged(paths: list[str], *, size: int, advance: Advance = lambda _: None) -> Iterator[Records]:
    """Read several files as one recording in the order of their event times; one file is read as it is."""
    if len(paths) == 1:
        yield from read_records(paths[0], size=size, advance=advance)
        return
    timed = [_timed(read_records(path, size=size, advance=advance)) for path in paths]
    values = (value for _, value in merge(*timed, key=lambda pair: pair[0]))
    first = 1
    while batch := list(islice(values, size)):
        yield Records(batch, range(first, first + len(batch)))
        first += len(batch)


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


def _timed(batches: Iterator[Records]) -> Iterator[tuple[Instant, bytes]]:
    """Give each record the newest time that its file had reached."""
    newest: Instant = 0
    values = (value for batch in batches for value in batch.values)
    for value, following in pairwise(chain(values, (None,))):
        assert value is not None, "only the last of all is none"
        claim = _claim(value)
        if claim is not None and claim > newest + _STEP_MOST and newest and following is not None:
            witness = _claim(following)
            claim = claim if witness is None or witness > claim - _STEP_MOST else None
        newest = max(newest, claim) if claim is not None else newest
        yield newest, value


def _claim(value: bytes) -> Instant | None:
    """Answer when a record says that it was said, None when it does not tell."""
    try:
        times = _TIMES.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    said = times.receivedAt if times.receivedAt is not None else times.at
    if said is None:
        said = times.endsAt if times.status == "resolved" and times.endsAt is not None else times.startsAt
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
    document = _document(head, file) if _opens_document(head) else None
    if isinstance(document, list):
        advance(sum(map(len, document)))
        for first in range(0, len(document), size):
            batch = document[first : first + size]
            yield Records(batch, [1] * len(batch), is_document=True, item=first)
        return
    yield from _lines(document if document is not None else head, file, size, advance=advance)


def _opens_document(head: bytes) -> bool:
    """Answer whether the first line is the beginning of a document that goes on below it."""
    if not head.lstrip().startswith((b"{", b"[")):
        return False
    try:
        return isinstance(msgspec.json.decode(head), list)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True


def _document(head: bytes, file: BinaryIO) -> list[bytes] | bytes:
    """Read on as one document: its items, or the bytes read when it is none (they are lines then)."""
    body = head + file.read(DOCUMENT_BYTES_MOST - len(head))
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return body
    if not isinstance(document, list):
        return [body]
    return [msgspec.json.encode(item) for item in document] or [body]


def _lines(head: bytes, file: BinaryIO, size: int, *, advance: Advance) -> Iterator[Records]:
    number, lines = 1, head.splitlines(keepends=True) if head.count(b"\n") > 1 else [head] if head else []
    while lines or (lines := file.readlines(PIECE_BYTES)):
        advance(sum(map(len, lines)))
        for first in range(0, len(lines), size):
            batch = [line.rstrip(b"\r\n") for line in lines[first : first + size]]
            yield Records(batch, range(number, number + len(batch)))
            number += len(batch)
        lines = []
