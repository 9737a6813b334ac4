"""`correlator run` is the service: intake and correlation until it is told to stop."""

import asyncio
import logging
import signal
import time
from functools import partial
from pathlib import Path

import click
import uvloop
from prometheus_client import CollectorRegistry

from correlator.cli.errors import FailedError, explained
from correlator.cli.reload import Files, refuse_hangup, reloading
from correlator.cli.service import alongside, config_option, embedded_option, json_line, opened_log, settings_of
from correlator.cli.workers import beside_http, supervised
from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.model.instant import SECOND
from correlator.runtime.allocation import settle_memory
from correlator.runtime.authority import until_open
from correlator.runtime.control import control_in_force
from correlator.runtime.counting import Done, count_as, done
from correlator.runtime.http import OPENING, Readiness, monitoring
from correlator.runtime.supervisor import tell_supervisor
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.worker import Worker


@click.command()
@config_option
@embedded_option
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Worker processes (Kafka only).")
@click.option("--topology", multiple=True, metavar="PATH", help="Topology instead of the settings' own.")
@click.option("--rules", multiple=True, metavar="PATH", help="Rules instead of the settings' own.")
@click.option("--listen", metavar="HOST:PORT", help="Address of /metrics and health instead of the settings' own; 'off' for none.")
@click.option("--until-idle", is_flag=True, help="Stop when all that was published is judged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line at the end.")
@click.option("--of", hidden=True, help="The name of the supervisor that started this worker.")
@click.option("--worker", type=click.IntRange(min=0), hidden=True, help="Be this worker of a supervisor.")
def run(
    *,
    config: str | None,
    embedded: Path | None,
    workers: int,
    topology: tuple[str, ...],
    rules: tuple[str, ...],
    listen: str | None,
    until_idle: bool,
    as_json: bool,
    of: str | None,
    worker: int | None,
) -> None:
    """Read events, correlate them, and write incidents, until SIGTERM or Ctrl-C.

    Puts its rules and topology in force when others are; SIGHUP does so again with the files as they are then.
    """
    who = "" if worker is None else f"worker {worker} "
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {who}%(message)s")
    if embedded is not None and workers > 1:
        message = "--workers is for Kafka; an embedded log has one worker"
        raise FailedError(message)
    with explained():
        settings = settings_of(config)
        listen = listen if listen is not None else settings.http.listen
        if worker is not None:
            came_to = _worked(
                _Run(settings, None, worker=worker, instance=f"{of}-{worker}"), None, None, listen="off", until_idle=until_idle
            )
        else:
            files = Files(config, settings, rules=rules, topology=topology)
            control = files.read()
            if workers > 1:
                came_to = supervised(settings, files, control, workers=workers, listen=listen, until_idle=until_idle)
            else:
                came_to = _worked(_Run(settings, files), embedded, control, listen=listen, until_idle=until_idle)
    if as_json:
        click.echo(json_line({**came_to._asdict(), "cpu_s": round(came_to.cpu_s, 4)}))


def _worked(runner: "_Run", embedded: Path | None, control: Control | None, *, listen: str, until_idle: bool) -> Done:
    """Be the service, or one of its workers; answer what it came to."""
    settle_memory()
    cpu = time.process_time()
    uvloop.run(runner.run(embedded, control, listen=listen, until_idle=until_idle))
    return done(runner.registry, time.process_time() - cpu)


class _Run:
    """One service from open to close, which reads `files`; without them it is the worker of a supervisor, and follows the log."""

    def __init__(self, settings: Settings, files: Files | None, *, worker: int | None = None, instance: str | None = None) -> None:
        self._settings = settings
        self._files = files
        self._instance = instance
        if worker is not None:
            count_as(worker)
        self._telemetry = Telemetry()
        self._readiness = Readiness(self._telemetry.ready)

    @property
    def registry(self) -> CollectorRegistry:
        """What it counted."""
        return self._telemetry.registry

    async def run(self, embedded: Path | None, control: Control | None, *, listen: str, until_idle: bool) -> None:
        """Listen first: a service that cannot be reached must not take the log over from one that can."""
        work = partial(self._work, embedded, control, until_idle=until_idle)
        if listen == "off":
            await work()
        else:
            await beside_http(listen, monitoring(self._telemetry.registry, self._readiness), work)

    async def _work(self, embedded: Path | None, control: Control | None, *, until_idle: bool) -> None:
        patience_s, tell = self._settings.kafka.patience / SECOND, partial(self._readiness.not_ready, OPENING)
        async with opened_log(self._settings, embedded, instance=self._instance, patience_s=patience_s, on_wait=tell) as log:
            is_follower = control is None
            if control is None:
                control = await until_open(partial(control_in_force, log, Topics(self._settings.prefix)), self._readiness)
            worker = Worker(log, self._settings, control, telemetry=self._telemetry, readiness=self._readiness, is_follower=is_follower)
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, worker.stop.set)
            if self._files is None:
                await self._beside(worker, until_idle=until_idle)
                return
            async with reloading(self._files, worker.put_in_force, self._telemetry, opened=worker.opened):
                await worker.run(until_idle=until_idle)

    async def _beside(self, worker: Worker, *, until_idle: bool) -> None:
        """Work as one of several: the supervisor answers HTTP for all, and puts rules in force."""
        refuse_hangup()
        async with alongside(tell_supervisor(self._readiness, worker.stop)):
            await worker.run(until_idle=until_idle)
