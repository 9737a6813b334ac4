"""`run --workers N`: the supervisor with its HTTP, and the way of all `run`s to serve beside their work."""

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from starlette.types import ASGIApp

from correlator.cli.errors import FailedError
from correlator.cli.service import opened_log
from correlator.config.settings import Settings
from correlator.model.instant import SECOND
from correlator.runtime.counting import registry_of
from correlator.runtime.http import OPENING, ListenError, Readiness, monitoring, serve
from correlator.runtime.supervisor import Supervisor, WorkersStoppedError

_logger: Final = logging.getLogger(__name__)


def supervised(settings: Settings, options: Sequence[str], workers: int, *, listen: str) -> tuple[int, float]:
    """Run workers with these options until told to stop; answer how many items they received, and the seconds of CPU of all."""
    with TemporaryDirectory(prefix="correlator-counts-") as folder:
        try:
            return asyncio.run(_supervised(settings, options, workers, folder=Path(folder), listen=listen))
        except WorkersStoppedError as error:
            raise FailedError(str(error)) from error


async def _supervised(settings: Settings, options: Sequence[str], workers: int, *, folder: Path, listen: str) -> tuple[int, float]:
    readiness = Readiness()
    command = (sys.executable, "-m", "correlator", "run", *options, "--listen", "off", "--of", uuid4().hex, "--worker")
    supervisor = Supervisor(command, workers, folder=folder, readiness=readiness)
    registry = registry_of(folder, supervisor.pids)

    async def work() -> None:
        async with opened_log(settings, None, patience_s=settings.kafka.patience / SECOND, on_wait=partial(readiness.not_ready, OPENING)):
            readiness.ready(OPENING)  # brokers that cannot be reached, or do not let us in, are told once and not by each worker
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, supervisor.stop.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload)
        await supervisor.run()

    if listen == "off":
        await work()
    else:
        await beside_http(listen, monitoring(registry, readiness), work)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int(registry.get_sample_value("correlator_items_received_total") or 0), used.ru_utime + used.ru_stime


async def beside_http(listen: str, app: ASGIApp, work: Callable[[], Awaitable[None]]) -> None:
    """Serve an application (`monitoring`) while `work` is done, listening first. Raises FailedError where the address cannot be had."""
    listening, stop = asyncio.Event(), asyncio.Event()
    server = asyncio.create_task(serve(app, listen, stop=stop, on_listening=partial(_tell_listening, listening)))
    waiting = asyncio.create_task(listening.wait())
    await asyncio.wait((server, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not server.done():
            await work()
    finally:
        stop.set()
        await _closed(server)


async def _closed(server: asyncio.Task[None]) -> None:
    try:
        await server
    except ListenError as error:
        raise FailedError(str(error)) from error


def _tell_listening(listening: asyncio.Event, url: str) -> None:
    _logger.info("listening on %s", url)
    listening.set()
