"""HTTP beside `run`: metrics, health and readiness, served inside the worker's own event loop."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

DEFAULT_LISTEN: Final = "127.0.0.1:8080"

STARTING: Final = "starting"
"""The condition that every `Readiness` begins with; the worker clears it when it has set its own."""
OPENING: Final = "open"
"""The condition while the log cannot be reached."""

_CONNECTIONS_MOST: Final = 256
_BACKLOG: Final = 128
_DRAIN_S: Final = 3  # how long a stop waits for answers under way
_REASON_MOST: Final = 500
_PORT_MOST: Final = 65535


class ListenError(Exception):
    """The address cannot be listened on; the text says why and what to do."""


# Readiness


class Readiness:
    """Named conditions that keep the service from being ready, each with its reason; ready when there are none.

    It begins unready (`STARTING`): a probe that comes before the worker has said anything must not be told yes.
    """

    def __init__(self, on_change: Callable[[bool], None] = lambda _: None) -> None:
        """`on_change` is told whether the service is ready whenever a condition was set or cleared."""
        self._reason_by_condition = {STARTING: STARTING}
        self._on_change = on_change

    def not_ready(self, condition: str, reason: str) -> None:
        """Set a condition, or replace its reason: one line for a person (`restoring state`, `last commit failed: disk full`)."""
        self._reason_by_condition[condition] = " ".join(reason.split())[:_REASON_MOST]
        self._on_change(self.is_ready)

    def ready(self, condition: str) -> None:
        """Clear a condition; one that is not set is no error."""
        self._reason_by_condition.pop(condition, None)
        self._on_change(self.is_ready)

    @property
    def is_ready(self) -> bool:
        """Whether no condition is set."""
        return not self._reason_by_condition

    @property
    def reasons(self) -> list[str]:
        """The reasons, in the order in which their conditions were set."""
        return list(self._reason_by_condition.values())


# The application


def monitoring(registry: CollectorRegistry, readiness: Readiness) -> Starlette:
    """Make the application that answers `/metrics`, `/-/healthy` and `/-/ready`."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        if readiness.is_ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse("".join(f"{reason}\n" for reason in readiness.reasons), status_code=503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/-/healthy", healthy), Route("/-/ready", ready)])


# Serving


async def serve(
    app: ASGIApp,
    listen: str = DEFAULT_LISTEN,
    *,
    stop: asyncio.Event | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve until `stop` is set or the task is cancelled; either way answers under way are finished and the port is free at the return.

    Made for `group.create_task(serve(...))`: it installs no signal handlers and exits no process. `on_listening` is told the address as a
    URL, with the port that was taken where `listen` says port 0, as soon as connections are accepted. Raises `ListenError`.
    """
    with await _listener(listen) as listener:
        if on_listening is not None:
            on_listening(_url(listener))
        server = _Server(_config(app))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task((stop or asyncio.Event()).wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            server.should_exit = True
            await running


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to `run`."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
    """Everything spelled out that uvicorn would otherwise choose by what happens to be installed."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS_MOST,
        timeout_graceful_shutdown=_DRAIN_S,
    )


async def _listener(listen: str) -> socket.socket:
    """Open the listening socket ourselves: uvicorn would exit the process where it cannot."""
    host, port = _address(listen)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(f"cannot listen on {listen}: {advice_on(error)}") from error


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    is_host = bool(host) and (":" not in host or (host.startswith("[") and host.endswith("]")))
    if not (is_host and port.isascii() and port.isdigit() and int(port) <= _PORT_MOST):
        raise ListenError(f"'{listen}' is no address and port; write it as 127.0.0.1:8080 or [::1]:8080, with port 0 for any free one")
    return host.strip("[]"), int(port)


def advice_on(error: OSError) -> str:
    """Say in a few words why an address cannot be listened on, and what to do."""
    if isinstance(error, socket.gaierror):
        return "its host name is not known here; check the spelling, or write the address in digits"
    if error.errno == errno.EADDRINUSE:
        return "another program uses this port; stop it, or choose another port in http.listen or --listen (port 0 takes any free one)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; choose one it has in http.listen or --listen (0.0.0.0 for all of them)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied; choose a port from 1024 in http.listen or --listen"
    return f"{error.strerror}; choose another address in http.listen or --listen"


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
