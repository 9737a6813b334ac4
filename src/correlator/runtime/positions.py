"""Positions that the log forgot: Kafka drops one that was not committed for `offsets.retention.minutes`, a week as a rule.

Whoever went on without it would judge again what was judged. What it wrote knows better than the group, so the service says so and stops.
"""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from correlator.correlate.machine import Machine
from correlator.frames.codec import decode_frame
from correlator.runtime.ports import Log, Refused, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.topics import CHECKPOINT_KEY, Topics, complete_up_to
from correlator.state.records import MACHINE_KEY

_RECORDS: Final = 50_000


async def refuse_forgotten(log: Log, topics: Topics, *, raw: Sequence[TopicPartition], domains: int) -> None:
    """Raise Refused for a partition without a position, though the log tells that it was worked on.

    Raises Transient, and `FrameError` or `NewerVersionError` where that cannot be read.
    """
    for number in range(domains):
        tp = TopicPartition(topics.frames, number)
        if await log.committed(topics.correlate_group, tp) is None and await _was_judged(log, topics, number):
            start, _ = await _checkpoint(log, topics, number)
            await _refuse(log, topics.correlate_group, tp, where=f"the state is complete up to offset {start}: go on there or behind it")
    unplaced = [tp for tp in raw if await log.committed(topics.intake_group, tp) is None]
    heard = await _heard(log, topics) if unplaced else set()
    for tp in unplaced:
        if f"{tp.topic}-{tp.partition}" in heard:
            await _refuse(log, topics.intake_group, tp, where="go on with the first record that was not judged, or with those to come")


async def _was_judged(log: Log, topics: Topics, number: int) -> bool:
    """Answer whether a machine wrote anything: what wrote nothing may begin again."""
    for topic in (topics.checkpoints, topics.decisions, topics.incidents, topics.alerts):
        async with aclosing(read_all(log, TopicPartition(topic, number), most=1)) as batches:
            async for _ in batches:
                return True
    return False


async def _heard(log: Log, topics: Topics) -> set[str]:
    """Name the raw partitions of which the first domain has heard: each tells all domains that it is there."""
    start, machine = await _checkpoint(log, topics, 0)
    heard, tp = set(machine.sources.watermarks), TopicPartition(topics.frames, 0)
    async with aclosing(read_all(log, tp, most=_RECORDS, start=start)) as batches:
        async for batch in batches:
            heard.update([decode_frame(value or b"").source for value in batch.values])
    return heard


async def _checkpoint(log: Log, topics: Topics, number: int) -> tuple[int, Machine]:
    """Answer up to where a domain's state is complete, and its machine without alerts and incidents."""
    rows = dict[bytes, bytes]()
    async for batch in read_all(log, TopicPartition(topics.checkpoints, number), most=_RECORDS):
        for key, value in zip(batch.keys, batch.values, strict=True):
            if key in (CHECKPOINT_KEY, MACHINE_KEY) and value is not None:
                rows[key] = value
    marker, machine = rows.pop(CHECKPOINT_KEY, None), Machine()
    machine.restore(rows)
    return complete_up_to(marker), machine


async def _refuse(log: Log, group: str, tp: TopicPartition, *, where: str) -> None:
    if await log.committed(group, tp) is not None:
        return  # another worker wrote position and state between our two questions
    raise Refused(
        f"the brokers forgot where {group} stood in {tp.topic}-{tp.partition}, which was idle for longer than their "
        f"offsets.retention.minutes, or made anew; {where} (kafka-consumer-groups --bootstrap-server HOST:PORT --group {group} "
        f"--topic {tp.topic}:{tp.partition} --reset-offsets --to-offset N --execute), and raise that setting"
    )
