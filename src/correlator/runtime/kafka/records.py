"""Records of a fetch: the broker's bytes as columns, without markers and without what was aborted."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from correlator.runtime.ports import Batch
from correlator.runtime.segments import joined

_offset: Final = attrgetter("offset")
_timestamp: Final = attrgetter("timestamp")
_key: Final = attrgetter("key")
_value: Final = attrgetter("value")
_headers: Final = attrgetter("headers")


def batch_of(fetched: bytes, aborted: Sequence[tuple[int, int]], *, start: int) -> tuple[Batch, int]:
    """Return the committed records at and above `start`, and the offset behind all that was fetched.

    `aborted` are producer and first offset of each aborted transaction among these bytes, as the broker names them. Raises
    CorruptRecordException.
    """
    records, batches, end = MemoryRecords(fetched), list[Batch](), start
    waiting = sorted(aborted, key=lambda one: one[1], reverse=True)
    dropped: set[int] = set()
    while records.has_next():
        batch = records.next_batch()
        if not batch.validate_crc():
            raise CorruptRecordException("wrong checksum")
        while waiting and waiting[-1][1] <= batch.base_offset:
            dropped.add(waiting.pop()[0])
        end = max(end, batch.next_offset)
        if batch.is_control_batch:
            if ControlRecord.parse(next(batch).key) == ABORT_MARKER:
                dropped.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in dropped):
            found = _columns(batch, start)
            if len(found):
                batches.append(found)
    return joined(batches) if batches else Batch(), end


def _columns(batch: Any, start: int) -> Batch:  # noqa: ANN401 - aiokafka has no types
    """Take columns from one record batch. A broker gives whole batches, so the first may begin below the start."""
    records = list(batch)
    if records and records[0].offset < start:
        records = [record for record in records if record.offset >= start]
    headers = list(map(_headers, records))
    return Batch(
        list(map(_offset, records)),
        list(map(_timestamp, records)),
        list(map(_key, records)),
        list(map(_value, records)),
        headers if any(headers) else None,
    )
