"""Publish: recorded events onto a raw topic, batch by batch, with an end mark so that time moves on behind the last."""

from collections.abc import Iterator

from correlator.runtime.files import Records
from correlator.runtime.ports import Log, Messages, TopicPartition
from correlator.runtime.topics import END_HEADER


async def publish(log: Log, topic: str, batches: Iterator[Records], *, marks_end: bool) -> int:
    """Append all records in order, whole batches to the partitions in turn; answers how many there were.

    Each batch is in the log before the next is read, so an interruption leaves a prefix.
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
    finally:
        await writer.close()
    return records
