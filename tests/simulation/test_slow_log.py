"""A log that is slow: what was not read yet is never taken for what is not there."""

import pytest

from correlator.runtime.memory import MemoryLog, MemoryReader
from correlator.runtime.ports import Batch, Messages, TopicPartition, TopicSettings, Transient
from correlator.runtime.restore import EMPTY_POLLS_MOST, read_all, read_until

STATE = TopicPartition("state", 0)


class SlowReader(MemoryReader):
    """Gives nothing at its first polls."""

    slowness = 0

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        if self.slowness:
            self.slowness -= 1
            return Batch()
        return await super().poll(max_records=max_records, timeout_ms=timeout_ms)


async def a_log() -> MemoryLog:
    log = MemoryLog()
    await log.open_topics([TopicSettings("state")])
    writer = log.writer("w")
    await writer.start()
    await writer.begin()
    await writer.send(STATE, Messages([b"0", b"1", b"2"]))
    await writer.commit()
    return log


async def read(slowness: int) -> list[bytes | None]:
    reader = SlowReader(await a_log(), STATE)
    reader.slowness = slowness
    return [value async for batch in read_until(reader, STATE, end=3, most=2) for value in batch.values]


async def test_an_empty_poll_does_not_end_a_restore() -> None:
    assert await read(EMPTY_POLLS_MOST - 1) == [b"0", b"1", b"2"]


async def test_a_log_that_gives_nothing_any_more_is_given_up() -> None:
    with pytest.raises(Transient, match="state-0 gives no records at 0, though it ends at 3"):
        await read(EMPTY_POLLS_MOST)


async def test_all_is_read_in_batches_to_the_end() -> None:
    assert [len(batch) async for batch in read_all(await a_log(), STATE, most=2)] == [2, 1]
