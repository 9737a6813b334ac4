"""Connections that are all closed in the end: aiokafka's own client loses some where a wait is given up, or a request comes too late."""

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason


class Connections(AIOKafkaClient):  # type: ignore[misc] # aiokafka has no types
    """A client of aiokafka's that closes its first connection when it is given up, and keeps none that was made while it was closed."""

    _is_closed = False

    @classmethod
    def take_over(cls, producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Make the client of a producer, which takes none of ours, one of these: it remembers the same."""
        producer.client.__class__ = cls

    async def bootstrap(self) -> None:
        """See aiokafka; a first connection that is given up is closed."""
        try:
            await super().bootstrap()
        except asyncio.CancelledError as error:
            _close_first(error)
            raise

    async def _get_conn(self, node_id: object, *, group: object = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:  # noqa: ANN401
        """See aiokafka; None once we are closed."""
        made = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        if self._is_closed and made is not None:
            made.close(reason=CloseReason.SHUTDOWN)
            return None
        return made

    async def close(self) -> None:
        """See aiokafka; may be called again."""
        self._is_closed = True
        await super().close()


def _close_first(error: BaseException) -> None:
    """Close the connection that `bootstrap` waited on: only a local variable knows it, which the traceback still holds."""
    trace = error.__traceback__
    while trace is not None:
        first = trace.tb_frame.f_locals.get("bootstrap_conn")
        if first is not None:
            first.close(reason=CloseReason.SHUTDOWN)
        trace = trace.tb_next
