"""Dead letters read back: refused records with their bytes, where they lay and why they were refused."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from correlator.runtime.ports import Log, TopicPartition
from correlator.runtime.restore import read_all, read_until
from correlator.runtime.topics import Topics

_RECORDS: Final = 100
"""Few at a time: each may hold 256 KB."""


class Reason(msgspec.Struct, frozen=True):
    """Why one item of a record was refused; items are counted from 0."""

    item: int
    reason: str
    detail: str


class Letter(msgspec.Struct, frozen=True):
    """One dead letter. `number` is its offset among the dead letters, `about` its headers as text but for `refusals`.

    `value` is the original's bytes as far as they were kept; the header `length` says how many there were.
    """

    number: int
    about: dict[str, str]
    refusals: list[Reason]
    value: bytes

    @property
    def length(self) -> int:
        """How many bytes the record had."""
        return int(self.about.get("length", len(self.value)))


async def read_letters(log: Log, topics: Topics) -> AsyncIterator[Letter]:
    """Read all dead letters there are now, the oldest first. Raises `Refused` where nothing ever ran on this log, and `Transient`."""
    for number in range(await log.partitions(topics.dead_letters)):
        async for batch in read_all(log, TopicPartition(topics.dead_letters, number), most=_RECORDS):
            headers = batch.headers if batch.headers is not None else [()] * len(batch)
            for offset, value, about in zip(batch.offsets, batch.values, headers, strict=True):
                yield _letter(offset, value or b"", dict(about))


async def read_letter(log: Log, topics: Topics, number: int) -> Letter | None:
    """Read one dead letter by its number, None where there is none."""
    tp = TopicPartition(topics.dead_letters, 0)
    await log.partitions(tp.topic)
    first, end = await log.bounds(tp)
    if not first <= number < end:
        return None
    reader = log.reader(tp)
    reader.seek(number)
    async for batch in read_until(reader, tp, end=number + 1, most=1):
        headers = batch.headers[0] if batch.headers is not None else ()
        if batch.offsets[0] == number:
            return _letter(number, batch.values[0] or b"", dict(headers))
    return None


def _letter(number: int, value: bytes, headers: dict[str, bytes]) -> Letter:
    refusals = msgspec.json.decode(headers.pop("refusals", b"[]"), type=list[Reason])
    return Letter(number, {name: text.decode("utf-8", "replace") for name, text in headers.items()}, refusals, value)
