"""Monitoring over HTTP: real requests to a real server on a free port of this machine."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.types import ASGIApp, Receive, Scope, Send

from correlator.runtime.http import STARTING, ListenError, Readiness, advice_on, monitoring, serve
from correlator.runtime.telemetry import Telemetry

ANY_PORT = "127.0.0.1:0"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def ask(url: str, path: str, *, method: str = "GET", accept: str = "*/*") -> Answer:
    reader, writer = await connect(url)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body.decode())


@asynccontextmanager
async def served(app: ASGIApp, listen: str = ANY_PORT) -> AsyncIterator[str]:
    """Serve within a task group, as `run` does; yield the URL that was reported."""
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(app, listen, stop=stop, on_listening=address.set_result))
        try:
            yield await address
        finally:
            stop.set()


def an_app(telemetry: Telemetry | None = None, readiness: Readiness | None = None) -> ASGIApp:
    return monitoring((telemetry or Telemetry()).registry, readiness or Readiness())


def a_ready_one() -> Readiness:
    readiness = Readiness()
    readiness.ready(STARTING)
    return readiness


def is_free(url: str) -> bool:
    """Tell whether nobody listens there any more."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) != 0


async def until_closed(url: str) -> None:
    """Return when new connections are refused."""
    with suppress(ConnectionError):
        while True:
            _, writer = await connect(url)
            writer.close()
            await writer.wait_closed()


# ---------------------------------------------------------------- readiness


def test_a_new_readiness_is_not_ready() -> None:
    assert Readiness().reasons == ["starting"]


def test_ready_when_the_last_condition_is_cleared() -> None:
    readiness = a_ready_one()
    readiness.not_ready("state", "restoring state")
    readiness.not_ready("commit", "last commit failed: disk full")
    assert readiness.reasons == ["restoring state", "last commit failed: disk full"]
    readiness.ready("state")
    assert not readiness.is_ready
    readiness.ready("commit")
    assert readiness.is_ready


def test_a_condition_set_again_has_its_newest_reason_alone() -> None:
    readiness = a_ready_one()
    readiness.not_ready("commit", "last commit failed: busy")
    readiness.not_ready("commit", "last commit failed: disk full")
    assert readiness.reasons == ["last commit failed: disk full"]


def test_clearing_what_was_never_set_is_no_error() -> None:
    readiness = a_ready_one()
    readiness.ready("commit")
    assert readiness.is_ready


def test_a_reason_is_one_line_of_bounded_length() -> None:
    readiness = a_ready_one()
    readiness.not_ready("commit", "last commit failed:\n  disk\r\nfull " + "x" * 10_000)
    (reason,) = readiness.reasons
    assert reason.startswith("last commit failed: disk full x")
    assert len(reason) == 500


# ---------------------------------------------------------------- answers


async def test_metrics_are_prometheus_text() -> None:
    telemetry = Telemetry(version="1.2.3")
    async with served(an_app(telemetry)) as url:
        answer = await ask(url, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in parse_text(answer.text)}
    assert families["correlator_build_info"].samples[0].labels == {"version": "1.2.3"}


async def test_metrics_are_openmetrics_where_the_scraper_asks() -> None:
    async with served(an_app()) as url:
        answer = await ask(url, "/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "correlator_items_received" in {family.name for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]


async def test_a_scrape_shows_what_was_counted_since_the_last() -> None:
    telemetry = Telemetry()
    async with served(an_app(telemetry)) as url:
        before = await ask(url, "/metrics")
        telemetry.waiting(7)
        after = await ask(url, "/metrics")
    assert "correlator_items_waiting 0.0\n" in before.text
    assert "correlator_items_waiting 7.0\n" in after.text


async def test_healthy_even_when_not_ready() -> None:
    async with served(an_app()) as url:
        answer = await ask(url, "/-/healthy")
    assert (answer.status, answer.text) == (200, "healthy\n")


async def test_ready_follows_the_conditions_with_a_reason_on_each_line() -> None:
    readiness = a_ready_one()
    async with served(an_app(readiness=readiness)) as url:
        assert (await ask(url, "/-/ready"))[::2] == (200, "ready\n")
        readiness.not_ready("state", "restoring state")
        readiness.not_ready("commit", "last commit failed: disk full")
        unready = await ask(url, "/-/ready")
        readiness.ready("state")
        readiness.ready("commit")
        assert (await ask(url, "/-/ready")).status == 200
    assert (unready.status, unready.text) == (503, "restoring state\nlast commit failed: disk full\n")
    assert unready.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405), ("HEAD", "/-/healthy", 200)])
async def test_other_requests_get_the_usual_answers(method: str, path: str, status: int) -> None:
    async with served(an_app()) as url:
        assert (await ask(url, path, method=method)).status == status


# ---------------------------------------------------------------- starting and stopping


async def test_a_stop_frees_the_port() -> None:
    async with served(an_app()) as url:
        assert not is_free(url)
    assert is_free(url)
    async with served(an_app(), url.removeprefix("http://")) as again:
        assert again == url, "a port may be taken again at once"


async def test_a_stop_set_before_the_start_ends_at_once() -> None:
    stop = asyncio.Event()
    stop.set()
    urls: list[str] = []
    await serve(an_app(), ANY_PORT, stop=stop, on_listening=urls.append)
    assert is_free(urls[0])


async def test_a_cancelled_server_frees_the_port() -> None:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(an_app(), ANY_PORT, on_listening=address.set_result))
        url = await address
        assert (await ask(url, "/-/healthy")).status == 200
        task.cancel()
    assert task.cancelled()
    assert is_free(url)


class WorkerError(Exception):
    pass


async def test_a_failing_neighbour_in_the_task_group_takes_the_server_down_cleanly() -> None:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def fail_when_it_listens() -> None:
        await address
        raise WorkerError

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_when_it_listens())
            group.create_task(serve(an_app(), ANY_PORT, on_listening=address.set_result))

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(WorkerError)
    assert is_free(await address)


async def test_a_stop_does_not_wait_for_an_idle_connection() -> None:
    async with served(an_app()) as url:
        reader, writer = await connect(url)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: here\r\n\r\n")
        await reader.readuntil(b"healthy\n")
    assert await reader.read() == b"", "the server closed it"
    writer.close()
    await writer.wait_closed()


async def test_a_stop_lets_an_answer_under_way_finish() -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(_: Scope, __: Receive, send: Send) -> None:
        asked.set()
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(slow, ANY_PORT, stop=stop, on_listening=address.set_result))
        answer = group.create_task(ask(await address, "/"))
        await asked.wait()
        stop.set()
        await until_closed(await address)
        may_answer.set()
    assert answer.result().text == "done"


async def test_signal_handlers_are_left_alone() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    async with served(an_app()) as url:
        await ask(url, "/-/healthy")
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


async def test_port_0_takes_a_free_one_and_tells_which() -> None:
    async with served(an_app()) as one, served(an_app()) as other:
        assert one != other
        assert not one.endswith(":0")


async def test_ipv6_is_reported_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        async with served(an_app(), "[::1]:0") as url:
            assert url.startswith("http://[::1]:")
            assert (await ask(url, "/-/healthy")).status == 200
    except* ListenError:
        pytest.skip("this machine has no IPv6 address")


# ---------------------------------------------------------------- addresses that cannot be


async def refusal(listen: str) -> str:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(ListenError) as caught:
        await serve(an_app(), listen, stop=stop)
    return str(caught.value)


async def test_a_taken_port_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        assert await refusal(listen) == (
            f"cannot listen on {listen}: another program uses this port; stop it, or choose another port in http.listen or --listen"
            " (port 0 takes any free one)"
        )


async def test_an_address_of_another_machine_says_what_to_do() -> None:
    assert await refusal("192.0.2.1:0") == (
        "cannot listen on 192.0.2.1:0: this machine has no such address; "
        "choose one it has in http.listen or --listen (0.0.0.0 for all of them)"
    )


async def test_an_unknown_host_name_says_what_to_do() -> None:
    assert await refusal("no-such-host.invalid:0") == (
        "cannot listen on no-such-host.invalid:0: its host name is not known here; check the spelling, or write the address in digits"
    )


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "permission denied; choose a port from 1024 in http.listen or --listen"),
        (errno.ENOBUFS, "No buffer space available; choose another address in http.listen or --listen"),
    ],
)
def test_errors_that_a_test_cannot_provoke_have_advice_too(number: int, advice: str) -> None:
    assert advice_on(OSError(number, os.strerror(number))) == advice


@pytest.mark.parametrize("listen", ["", "8080", ":8080", "localhost", "localhost:", "localhost:http", "127.0.0.1:65536", "::1:8080"])
async def test_what_is_no_address_is_refused(listen: str) -> None:
    assert await refusal(listen) == (
        f"'{listen}' is no address and port; write it as 127.0.0.1:8080 or [::1]:8080, with port 0 for any free one"
    )
