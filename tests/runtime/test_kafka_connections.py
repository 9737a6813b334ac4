"""Connections that nobody waits for any more: each is closed. A stub of a broker says which are open."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import uvloop
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka.client import Client
from correlator.runtime.kafka.writer import KafkaWriter
from correlator.runtime.ports import Transient

from tests.runtime.stub_broker import StubBroker


def access(broker: StubBroker) -> Access:
    return Access([f"127.0.0.1:{broker.port}"])


async def test_an_opening_that_is_given_up_leaves_no_connection() -> None:
    async with StubBroker(answers=1) as broker:
        opening = asyncio.create_task(KafkaLog.open(access(broker)))
        await broker.until(lambda: broker.asked == 2)
        opening.cancel()
        await asyncio.wait((opening,))
        await broker.until(lambda: not broker.callers)


async def test_a_writer_that_waits_in_vain_for_its_start_leaves_no_connection() -> None:
    async with StubBroker() as broker:
        log = await KafkaLog.open(access(broker), patience_ms=100)
        await log.close()
        await broker.until(lambda: not broker.callers)
        writer = KafkaWriter(log, "somebody")  # who asks for a coordinator, of whom this broker has never heard
        with pytest.raises(Transient):
            await writer.start()
        await writer.close()
        await broker.until(lambda: not broker.callers)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_who_is_closed_does_not_connect_again() -> None:
    async with StubBroker() as broker:
        client = Client(access(broker))
        await client.open()
        await broker.until(lambda: not broker.callers)
        asking = asyncio.create_task(client.ask(MetadataRequest([])))
        await broker.until(lambda: broker.callers > 0)
        await client.close()
        with suppress(KafkaError):
            await asking
        with pytest.raises(KafkaError):
            await client.ask(MetadataRequest([]))
        await broker.until(lambda: not broker.callers)


@pytest.mark.parametrize("step", ["ask", "learn"])
def test_a_connection_that_broke_a_moment_ago_is_not_written_to(step: str) -> None:
    """A broker was killed: uvloop knows it before aiokafka does, and has an error of its own for whoever writes meanwhile."""

    async def ask_over_a_broken_one() -> None:
        async with StubBroker() as broker:
            client = Client(access(broker))
            await client.open()
            await client.ask(MetadataRequest([]))
            steps = {"ask": lambda: client.ask(MetadataRequest([])), "learn": client._client.fetch_all_metadata}  # noqa: SLF001
            trying = as_it_breaks(client, steps[step])
            broker.reset()
            with suppress(KafkaError):  # as of any connection that broke
                await (await trying)
            await client.learn_brokers()
            assert (await client.ask(MetadataRequest([]))).brokers
            await client.close()
            await broker.until(lambda: not broker.callers)

    uvloop.run(asyncio.wait_for(ask_over_a_broken_one(), 10))


def as_it_breaks(client: Client, step: Callable[[], Awaitable[object]]) -> "asyncio.Future[asyncio.Task[object]]":
    """Begin a step in the moment when the loop says that the client's only connection is lost, and answer its task."""
    [connection] = client._client._conns.values()  # noqa: SLF001 - what a moment holds is nowhere else to be seen
    tell, begun = connection._protocol.connection_lost, asyncio.get_running_loop().create_future()  # noqa: SLF001

    async def trying() -> object:
        return await step()

    def lose(error: Exception | None) -> None:
        tell(error)
        begun.set_result(asyncio.create_task(trying()))

    connection._protocol.connection_lost = lose  # noqa: SLF001
    return begun
