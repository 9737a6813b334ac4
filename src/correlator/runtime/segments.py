"""Segments: many records of an ordinary topic in one row of the embedded log, as columns, and the cutting and joining of batches."""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from correlator.model.instant import Instant
from correlator.runtime.ports import Batch, Headers, Messages

T = TypeVar("T")

# Larger segments gain nothing, and a reader holds a whole one.
_SEGMENT_BYTES: Final = 512 * 1024
_SEGMENT_RECORDS: Final = 16_384
_ROW_BYTES: Final = 4 * 1024 * 1024  # no row is larger, but for one huge record


class _Columns(msgspec.Struct, array_like=True, gc=False):
    """A segment's body. `timestamps` are little-endian 64 bit integers, or one that holds for all."""

    timestamps: bytes
    values: list[bytes | None]
    keys: list[bytes | None] | None = None
    headers: list[list[tuple[str, bytes]]] | None = None


class Segment(NamedTuple):
    """What a transaction will put into one row of `segments`."""

    records: int
    body: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_COLUMNS: Final = msgspec.msgpack.Decoder(_Columns)


def _packed(stamps: Sequence[Instant]) -> bytes:
    column = array("q", stamps)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _unpacked(stamps: bytes, count: int) -> Sequence[Instant]:
    column = array("q")
    column.frombytes(stamps)
    if sys.byteorder == "big":
        column.byteswap()
    return column if len(column) == count else column * count


def _weight(messages: Messages) -> int:
    """Return about how many bytes the records hold."""
    weight = sum(map(len, filter(None, messages.values)))
    if messages.keys is not None:
        weight += sum(map(len, filter(None, messages.keys)))
    for headers in messages.headers or ():
        weight += sum(len(name) + len(value) for name, value in headers)
    return weight


def _part(messages: Messages, start: int, stop: int) -> Messages:
    def part(column: Sequence[T] | None) -> Sequence[T] | None:
        return None if column is None else column[start:stop]

    return Messages(messages.values[start:stop], part(messages.keys), part(messages.timestamps), part(messages.headers))


def cut(messages: Messages, now: Instant) -> Iterator[Segment]:
    """Cut records into segments of a size that a reader may hold; one huge record is a segment of its own."""
    count = len(messages.values)
    pieces = max(-(-count // _SEGMENT_RECORDS), min(count, -(-_weight(messages) // _SEGMENT_BYTES)))
    if pieces == 1:
        yield from _encoded(messages, now)
        return
    step = -(-count // pieces)
    for start in range(0, count, step):
        yield from _encoded(_part(messages, start, start + step), now)


def _encoded(messages: Messages, now: Instant) -> Iterator[Segment]:
    """Encode records as one segment, or as halves where a few large ones among them made it too large after all."""
    count = len(messages.values)
    stamps = (now,) if messages.timestamps is None else messages.timestamps
    body = _ENCODER.encode((_packed(stamps), messages.values, messages.keys, messages.headers))
    if len(body) <= _ROW_BYTES or count == 1:
        yield Segment(count, body)
        return
    yield from _encoded(_part(messages, 0, count // 2), now)
    yield from _encoded(_part(messages, count // 2, count), now)


def batch_of(base: int, body: bytes) -> Batch:
    """Return all records of a segment whose first has offset `base`; ValueError when it is damaged."""
    columns = _COLUMNS.decode(body)
    count = len(columns.values)
    keys = columns.keys if columns.keys is not None else [None] * count
    return Batch(range(base, base + count), _unpacked(columns.timestamps, count), keys, columns.values, columns.headers)


def rows_of(batch: Batch, start: int, stop: int) -> Batch:
    """Return some rows of a batch, or the batch itself if that is all of them."""
    if start == 0 and stop >= len(batch):
        return batch
    headers = None if batch.headers is None else batch.headers[start:stop]
    return Batch(batch.offsets[start:stop], batch.timestamps[start:stop], batch.keys[start:stop], batch.values[start:stop], headers)


def _chained(columns: Iterable[Sequence[T]]) -> list[T]:
    whole: list[T] = []
    for column in columns:
        whole.extend(column)
    return whole


def joined(batches: Sequence[Batch]) -> Batch:
    """Return the batches, at least one, as one; empty ones, as a read at the end of a topic answers, are nothing."""
    batches = [batch for batch in batches if len(batch)] or batches[:1]
    if len(batches) == 1:
        return batches[0]
    headers: list[Headers] | None = None
    if any(batch.headers is not None for batch in batches):
        headers = _chained(batch.headers or [()] * len(batch) for batch in batches)
    first, last = batches[0].offsets[0], batches[-1].offsets[-1]
    is_whole = last - first + 1 == sum(map(len, batches))
    stamps = array("q")  # no object is made for a timestamp, since recordings look at none
    for batch in batches:
        stamps.extend(batch.timestamps)
    return Batch(
        range(first, last + 1) if is_whole else _chained(batch.offsets for batch in batches),
        stamps,
        _chained(batch.keys for batch in batches),
        _chained(batch.values for batch in batches),
        headers,
    )
