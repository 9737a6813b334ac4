"""The control topic: which rules and topology are in force, and how new ones reach every machine at one place of its log."""

import msgspec

from correlator.frames.codec import encode_frame
from correlator.frames.control import Control, control_frame, read_control
from correlator.intake.route import Router
from correlator.runtime.ports import Log, Messages, Refused, TopicPartition
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
    Raises Fenced for the first of two then, and Refused for a topology that would move a service to another domain.
    """
    writer = log.writer(f"{topics.prefix}-control")
    try:
        await writer.start()
        current = await newest_control(log, topics)
        if current is not None:
            if current.digest == control.digest:
                return
            _refuse_moves(current, control)
        await writer.begin()
        value = msgspec.msgpack.encode(control)
        await writer.send(TopicPartition(topics.control, 0), Messages([value], keys=[control.digest.encode()]))
        for partition in range(domains):
            await writer.send(TopicPartition(topics.frames, partition), Messages([encode_frame(control_frame(control))]))
        await writer.commit()
    finally:
        await writer.close()


def _refuse_moves(current: Control, control: Control) -> None:
    """A service's alerts live in its domain's machine: in another domain nobody would know that they fire, nor hear them resolved."""
    before, after = Router(current.topology), Router(control.topology)
    kept = [name for name in control.topology.node_by_name if name in current.topology.node_by_name]
    moved = [name for name in kept if before.domain_of(name) != after.domain_of(name)]
    if moved:
        name = moved[0]
        others = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
        message = (
            f"the topology moves '{name}'{others} from domain '{before.domain_of(name)}' to '{after.domain_of(name)}', and its alerts "
            "cannot follow: leave it where it is, or start anew under another `prefix`"
        )
        raise Refused(message)
