"""The membership of a log that one process has for itself: all partitions are its share, from the start to the end."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

from correlator.runtime.ports import Share, TopicPartition


class Alone:
    """See `Membership`."""

    def __init__(self, stages: Sequence[Sequence[TopicPartition]]) -> None:
        self._all = frozenset(chain.from_iterable(stages))

    @property
    def is_shared(self) -> bool:
        """See `Membership.is_shared`."""
        return False

    async def run(self, on_share: Callable[[Share], None]) -> None:
        """See `Membership.run`."""
        on_share(self._all)
        await asyncio.Event().wait()
