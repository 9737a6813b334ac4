"""Idleness: whether all that was published is done, by whichever process, as the log itself tells."""

from collections.abc import Mapping, Sequence
from typing import Final

from correlator.runtime.ports import Log, OffsetOutOfRange, Standing, TopicPartition

_LOOK_MS: Final = 200


class Idleness:
    """Compares positions with ends. What lies between may be no records, such as the markers of Kafka's transactions: it is read."""

    def __init__(self, log: Log, partitions_by_group: Mapping[str, Sequence[TopicPartition]]) -> None:
        """`partitions_by_group` in the order of the work: a group hands its records on to the next."""
        self._log = log
        self._partitions_by_group = partitions_by_group
        self._known_empty: dict[TopicPartition, tuple[int, int]] = {}

    async def is_idle(self) -> bool:
        """Answer whether every group has taken all there is. Raises Transient."""
        for group, partitions in self._partitions_by_group.items():
            standings = await self._log.standings(group, partitions)
            for tp, standing in zip(partitions, standings, strict=True):
                if not await self._is_taken(tp, standing):
                    return False
        return True

    async def _is_taken(self, tp: TopicPartition, standing: Standing) -> bool:
        committed, first, end = standing
        position = max(committed.offset, first) if committed is not None else first
        if position >= end or self._known_empty.get(tp) == (position, end):
            return True
        if not await self._is_empty(tp, position, end):
            return False
        self._known_empty[tp] = (position, end)
        return True

    async def _is_empty(self, tp: TopicPartition, start: int, end: int) -> bool:
        """Answer whether there is no record between two offsets, as far as the log says within a moment."""
        reader = self._log.reader(tp)
        reader.seek(start)
        try:
            while reader.position < end:
                before = reader.position
                batch = await reader.poll(max_records=1, timeout_ms=_LOOK_MS)
                if len(batch) or reader.position == before:
                    return False
        except OffsetOutOfRange:
            return False
        finally:
            await reader.close()
        return True
