"""What only the log in memory can do: crash and lose replies at a named call, and trim without a disk."""

import pytest

from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Messages, OffsetOutOfRange, Position, TopicPartition, TopicSettings

EVENTS = TopicPartition("events", 0)
STATE = TopicPartition("state", 0)


class CrashError(RuntimeError):
    """The simulated process died."""


async def a_log() -> MemoryLog:
    log = MemoryLog()
    await log.open_topics([TopicSettings("events"), TopicSettings("state", compacted=True)])
    return log


async def one_transaction(log: MemoryLog) -> None:
    writer = log.writer("w")
    await writer.start()
    await writer.begin()
    await writer.send(EVENTS, Messages([b"x"]))
    await writer.send_offsets("group", {EVENTS: Position(1)})
    await writer.commit()


async def test_the_hook_is_told_of_every_call_before_and_after() -> None:
    log = await a_log()
    calls: list[str] = []
    log.on_call = calls.append
    await one_transaction(log)
    await log.reader(EVENTS).poll(max_records=1, timeout_ms=0)
    names = ["start", "begin", "send", "send_offsets", "commit", "poll"]
    assert calls == [f"{name}:{when}" for name in names for when in ("before", "after")]


@pytest.mark.parametrize("name", ["start", "begin", "send", "send_offsets", "commit"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_any_call_leaves_the_transaction_whole_or_absent(name: str, when: str) -> None:
    log = await a_log()

    def crash(call: str) -> None:
        if call == f"{name}:{when}":
            raise CrashError(call)

    log.on_call = crash
    with pytest.raises(CrashError):
        await one_transaction(log)
    log.on_call = lambda _call: None
    took_place = (name, when) == ("commit", "after")  # only the reply was lost
    assert await log.bounds(EVENTS) == (0, 1 if took_place else 0)
    assert await log.committed("group", EVENTS) == (Position(1) if took_place else None)


async def test_trimming_drops_records_and_old_tombstones_alone() -> None:
    log = await a_log()
    writer = log.writer(None)
    await writer.begin()
    await writer.send(EVENTS, Messages([b"0", b"1", b"2"]))
    await writer.send(STATE, Messages([b"kept", None, None], keys=[b"a", b"b", b"c"]))
    await writer.commit()
    await log.trim(EVENTS, 2)
    await log.trim(STATE, 2)
    assert await log.bounds(EVENTS) == (2, 3)
    with pytest.raises(OffsetOutOfRange):
        await log.reader(EVENTS).poll(max_records=1, timeout_ms=0)
    batch = await log.reader(STATE).poll(max_records=9, timeout_ms=0)
    assert dict(zip(batch.keys, batch.values, strict=True)) == {b"a": b"kept", b"c": None}
