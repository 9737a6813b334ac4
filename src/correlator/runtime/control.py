"""The control topic: which rules and topology are in force, and how new ones reach every machine at one place of its log."""

import msgspec

from correlator.frames.codec import encode_frame
from correlator.frames.control import Control, control_frame, read_control
from correlator.runtime.ports import Log, Messages, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.topics import Topics

_RECORDS = 1_000


async def newest_control(log: Log, topics: Topics) -> Control | None:
    """Answer the control record in force, None when there never was one."""
    newest = None
    async for batch in read_all(log, TopicPartition(topics.control, 0), most=_RECORDS):
        newest = batch.values[-1] or newest
    return read_control(newest) if newest is not None else None


async def put_in_force(log: Log, topics: Topics, control: Control, *, domains: int) -> None:
    """Accept rules and topology: the record itself and a frame for every domain, in one transaction. Nothing when they are in force.

    The writer starts before we look: of two processes that begin together, the second sees what the first did, or fences it.
    Raises Fenced for the first of two then.
    """
    writer = log.writer(f"{topics.prefix}-control")
    try:
        await writer.start()
        current = await newest_control(log, topics)
        if current is not None and current.digest == control.digest:
            return
        await writer.begin()
        value = msgspec.msgpack.encode(control)
        await writer.send(TopicPartition(topics.control, 0), Messages([value], keys=[control.digest.encode()]))
        for partition in range(domains):
            await writer.send(TopicPartition(topics.frames, partition), Messages([encode_frame(control_frame(control))]))
        await writer.commit()
    finally:
        await writer.close()
