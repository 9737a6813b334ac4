"""A broker that is none: it says who it is, a few times to each connection, and is silent then, or hangs up."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v1

_API_VERSIONS: Final = 18
_METADATA: Final = 3
_EVER: Final = 1_000


class StubBroker:
    """Counts who is connected and what was asked."""

    def __init__(self, *, answers: int = _EVER) -> None:
        """`answers` is how many requests of a connection it answers."""
        self._answers = answers
        self._changed = asyncio.Condition()
        self._callers = set[asyncio.StreamWriter]()
        self.asked = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang_up()
        self._server.close()
        await self.until(lambda: not self._callers)

    @property
    def callers(self) -> int:
        """How many are connected."""
        return len(self._callers)

    def hang_up(self) -> None:
        """End all connections."""
        for caller in self._callers:
            caller.close()

    def reset(self) -> None:
        """Break all connections, as the system does for a process that was killed."""
        for caller in self._callers:
            caller.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with self._changed:
            await self._changed.wait_for(is_so)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers.add(writer)
        await self._tell(0)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for number in range(_EVER):
                size = int.from_bytes(await reader.readexactly(4))
                request = await reader.readexactly(size)
                if number < self._answers:
                    answer = request[4:8] + self._answer(int.from_bytes(request[:2]))
                    writer.write(len(answer).to_bytes(4) + answer)
                await self._tell(1)
        self._callers.remove(writer)
        writer.close()
        await self._tell(0)

    async def _tell(self, asked: int) -> None:
        async with self._changed:
            self.asked += asked
            self._changed.notify_all()

    def _answer(self, kind: int) -> bytes:
        answer = (
            ApiVersionResponse_v0(0, [(_METADATA, 1, 1), (_API_VERSIONS, 0, 0)])
            if kind == _API_VERSIONS
            else MetadataResponse_v1([(1, "127.0.0.1", self.port, None)], 1, [])
        )
        written: bytes = answer.encode()
        return written
