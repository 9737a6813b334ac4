"""`run --workers N`: the supervisor with its HTTP, and the way of all `run`s to serve beside their work."""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from starlette.types import ASGIApp

from correlator.cli.errors import FailedError
from correlator.cli.reload import Files, reloading
from correlator.cli.service import alongside, opened_log
from correlator.config.settings import Settings, settings_text
from correlator.frames.control import Control
from correlator.intake.route import Router
from correlator.model.instant import SECOND
from correlator.runtime.authority import Authority, until_open
from correlator.runtime.counting import FOLDER, Done, count_as, done, registry_of
from correlator.runtime.http import OPENING, ListenError, Readiness, monitoring, serve
from correlator.runtime.supervisor import Supervisor, WorkersStoppedError
from correlator.runtime.telemetry import Telemetry

_logger: Final = logging.getLogger(__name__)


def supervised(settings: Settings, files: Files, control: Control, *, workers: int, listen: str, until_idle: bool) -> Done:
    """Put `control` in force, and run workers until told to stop; answer what they came to together."""
    with TemporaryDirectory(prefix="correlator-workers-") as name:
        folder, handed = Path(name), Path(name, "settings.yaml")
        handed.write_text(settings_text(settings), encoding="utf-8")  # files may be half edited when a worker is started again
        command = [sys.executable, "-m", "correlator", "run", "--config", str(handed), *(["--until-idle"] if until_idle else [])]
        os.environ[FOLDER] = name
        count_as(workers)
        office = _Office(settings, files, Telemetry())
        supervisor = Supervisor((*command, "--of", uuid4().hex, "--worker"), workers, folder=folder, readiness=office.readiness)
        registry = registry_of(folder, supervisor.pids)
        work = partial(office.run, supervisor, control)
        try:
            asyncio.run(work() if listen == "off" else beside_http(listen, monitoring(registry, office.readiness), work))
        except WorkersStoppedError as error:
            raise FailedError(str(error)) from error
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done(registry, used.ru_utime + used.ru_stime)


class _Office:
    """What a supervisor does for its workers: it alone reads files, and puts rules and topology in force."""

    def __init__(self, settings: Settings, files: Files, telemetry: Telemetry) -> None:
        self._settings = settings
        self._files = files
        self._telemetry = telemetry
        self.readiness = Readiness(telemetry.ready)

    async def run(self, supervisor: Supervisor, control: Control) -> None:
        """Supervise once the log is open; brokers that cannot be reached, or do not let us in, are told once and not by each worker."""
        patience_s, tell = self._settings.kafka.patience / SECOND, partial(self.readiness.not_ready, OPENING)
        async with opened_log(self._settings, None, patience_s=patience_s, on_wait=tell) as log:
            domains = len(Router(control.topology).domains)
            authority = Authority(log, self._settings, domains=domains, telemetry=self._telemetry)
            await until_open(partial(authority.open, control), self.readiness)
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, supervisor.stop.set)
            async with alongside(authority.watch()), reloading(self._files, authority.put_in_force, self._telemetry):
                await supervisor.run()


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
