"""Publish: recorded events onto a raw topic, batch by batch, with an end mark so that time moves on behind the last."""

from collections.abc import Iterator

import msgspec

from correlator.model.instant import Instant
from correlator.runtime.files import Records
from correlator.runtime.pace import read_note
from correlator.runtime.ports import Log, Messages, PortError, TopicPartition
from correlator.runtime.restore import read_until
from correlator.runtime.topics import END_HEADER, Topics, is_end


class Closed(msgspec.Struct, frozen=True):
    """A recording that lies on a topic and was closed. `until` is how far its time was read, None where it was not."""

    until: Instant | None


async def publish(log: Log, topic: str, batches: Iterator[Records], *, marks_end: bool) -> int:
    """Append all records in order, whole batches to the partitions in turn; answers how many there were.

    Each batch is in the log before the next is read, so an interruption leaves a prefix; an error of the log says how long it is.
    """
    partitions, number, records = await log.partitions(topic), 0, 0
    writer = log.writer(None)
    try:
        await writer.start()
        for batch in batches:
            await writer.begin()
            await writer.send(TopicPartition(topic, number % partitions), Messages(batch.values))
            await writer.commit()
            number += 1
            records += len(batch.values)
        if marks_end:
            await writer.begin()
            for partition in range(partitions):
                await writer.send(TopicPartition(topic, partition), Messages([b""], headers=[END_HEADER]))
            await writer.commit()
    except PortError as error:
        if records:
            error.add_note(f"the first {records:,} records were published to {topic} before: go on behind them")
        raise
    finally:
        await writer.close()
    return records


async def closed_recording(log: Log, topics: Topics, name: str) -> Closed | None:
    """Answer the recording that lies on a raw topic when all its partitions end with an end mark. Raises Transient."""
    topic, until = topics.raw(name), list[Instant]()
    for number in range(await log.partitions(topic)):
        tp = TopicPartition(topic, number)
        if not await _is_closed(log, tp):
            return None
        position = await log.committed(topics.intake_group, tp)
        watermark = read_note(position.note).watermark if position is not None else None
        until += [watermark] if watermark is not None else []
    return Closed(max(until, default=None))


async def _is_closed(log: Log, tp: TopicPartition) -> bool:
    first, end = await log.bounds(tp)
    if first == end:
        return False
    reader, has_mark = log.reader(tp), False
    reader.seek(end - 1)
    async for batch in read_until(reader, tp, end=end, most=1):
        has_mark = batch.headers is not None and is_end(batch.headers[-1])
    await reader.close()
    return has_mark
