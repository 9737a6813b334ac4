"""Reading back what the log holds already: to its end as it stood at the start, and never a part of it taken for the whole."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from correlator.runtime.ports import Batch, Log, Reader, TopicPartition, Transient

POLL_MS: Final = 200
EMPTY_POLLS_MOST: Final = 150
"""A log that gives nothing for half a minute, though records must be there, is given up."""


async def read_all(log: Log, tp: TopicPartition, *, most: int, start: int = 0) -> AsyncGenerator[Batch, None]:
    """Read a partition from its first record, or from `start`, to what is its end now, in batches of at most `most` records.

    Raises Transient.
    """
    first, end = await log.bounds(tp)
    reader = log.reader(tp)
    reader.seek(max(first, start))
    try:
        async for batch in read_until(reader, tp, end=end, most=most):
            yield batch
    finally:
        await reader.close()


async def read_until(reader: Reader, tp: TopicPartition, *, end: int, most: int) -> AsyncIterator[Batch]:
    """Read on until the position is `end` or beyond. An empty poll may only mean that the log is slow, so it proves nothing.

    Relies on a reader that moves its position over holes, those before the end too. Raises Transient when nothing comes any more.
    """
    empty = 0
    while reader.position < end:
        batch = await reader.poll(max_records=most, timeout_ms=POLL_MS)
        empty = 0 if len(batch) else empty + 1
        if len(batch):
            yield batch
        if empty >= EMPTY_POLLS_MOST:
            raise Transient(f"{tp.topic}-{tp.partition} gives no records at {reader.position}, though it ends at {end}")
