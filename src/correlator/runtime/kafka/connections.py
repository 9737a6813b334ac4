"""Connections that are all closed in the end, and written to only while they live.

aiokafka's own client loses some where a wait is given up, or a request comes too late. And it hears of a broken connection a moment after
the loop: uvloop raises a RuntimeError for whoever writes meanwhile, which aiokafka's tasks do not expect and would end by, for good.
"""

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason

from correlator.runtime.kafka.errors import lost_connection


class Connections(AIOKafkaClient):  # type: ignore[misc] # aiokafka has no types
    """A client of aiokafka's that closes its first connection when it is given up, keeps none made while it was closed, and none broken."""

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
        """See aiokafka; None once we are closed, and where the connection broke a moment ago."""
        try:
            made = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        except RuntimeError as error:  # aiokafka answers None for Kafka's, which are some too
            lost_connection(error)
            self.force_metadata_update()
            return None
        if made is None:
            return None
        if self._is_closed:
            made.close(reason=CloseReason.SHUTDOWN)
            return None
        if made._writer is not None and made._writer.transport.is_closing():  # noqa: SLF001
            made.close(reason=CloseReason.CONNECTION_BROKEN)
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
