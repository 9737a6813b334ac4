"""A client: requests to brokers, one at a time or side by side, with errors of the port."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, for_code

from correlator.runtime.kafka.access import REQUEST_PATIENCE_MS, RETRY_MS, Access
from correlator.runtime.kafka.connections import Connections
from correlator.runtime.kafka.errors import lost_connection, port_error, told
from correlator.runtime.ports import PortError, Refused

T = TypeVar("T")

FIRST_CONTACT_S: Final = 5.0
"""How long the brokers may take to answer at all: a person waits for this."""
_LONGEST_PAUSE_S: Final = 0.25


class Client:
    """One connection for each broker that is asked something. Opened once, closed once."""

    def __init__(self, access: Access) -> None:
        """Connect to nothing yet; needs a running loop."""
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of errors that it also raises, and would log passwords on debug
        self._access = access
        self._client = Connections(**access.options())

    async def open(self) -> None:
        """Find the brokers. Raises Transient when none answers within seconds, Refused when they do not want us."""
        nobody = f"no Kafka broker answers at {self._access}"
        try:
            async with asyncio.timeout(FIRST_CONTACT_S):
                await self._client.bootstrap()
        except TimeoutError as error:
            await self._client.close()
            raise port_error(error, nobody) from error
        except KafkaError as error:
            await self._client.close()
            await self._tell_why_not(nobody)
            raise port_error(error, nobody) from error
        except RuntimeError as error:  # Kafka's errors are some too, and stand above
            await self._client.close()
            raise port_error(lost_connection(error), nobody) from error

    async def _tell_why_not(self, nobody: str) -> None:
        """Try once more by hand: aiokafka tells why a broker did not let us in to its log only.

        Raises Refused where any broker says so: it may be that others are just away. Else Transient, for the first one's reason.
        """
        asked = await asyncio.gather(*[self._knock(address, nobody) for address in self._access.bootstrap])
        errors = [error for error in asked if error is not None]
        for error in [error for error in errors if isinstance(error, Refused)] or errors:
            raise error

    async def _knock(self, address: str, nobody: str) -> PortError | None:
        host, _, port = address.rpartition(":")
        options = self._access.options()
        del options["bootstrap_servers"], options["retry_backoff_ms"]
        try:
            with told(nobody):
                async with asyncio.timeout(FIRST_CONTACT_S):
                    connection = await create_conn(host.strip("[]"), int(port), **options)
        except PortError as error:
            return error
        connection.close()
        return None

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    @property
    def brokers(self) -> int:
        """How many brokers there are."""
        return len(self._client.cluster.brokers())

    async def ask(self, request: object, node: int | None = None) -> Any:  # noqa: ANN401 - answers are aiokafka's, which has no types
        """Send a request to one broker (any one when None) and return its answer. Raises aiokafka's errors."""
        return await self._client.send(self._client.get_random_node() if node is None else node, request)

    async def coordinator(self, kind: int, key: str) -> int:
        """Return the broker that coordinates a group or a transactional id. Raises aiokafka's errors."""
        node: int = await self._client.coordinator_lookup(kind, key)
        return node

    async def learn_brokers(self) -> None:
        """Ask again who the brokers are: one that moved is not found where it was."""
        await self._client.force_metadata_update()

    async def patiently(self, doing: str, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step, again and again while Kafka says that it will pass, and turn its errors into the port's."""
        deadline = time.monotonic() + REQUEST_PATIENCE_MS / 1000
        pause = RETRY_MS / 1000
        while True:
            try:
                return await step()
            except (KafkaError, TimeoutError, OSError) as error:
                if not getattr(error, "retriable", False) or time.monotonic() > deadline:
                    raise port_error(error, doing) from error
                if getattr(error, "invalid_metadata", False):
                    await self.learn_brokers()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def check(code: int, message: str = "") -> None:
    """Raise aiokafka's error of a code in an answer; 0 is none."""
    if code:
        raise for_code(code)(message)


def refuse_unknown(topic: str, partition: int) -> Refused:
    """Make the error for a partition that is not there."""
    return Refused(
        f"there is no partition {topic}-{partition}: topics are created when the service starts; if it was deleted since, docs/operate.md "
        "says what is lost with it ('Brokers that go, freeze or come back empty')"
    )
