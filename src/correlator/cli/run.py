"""`correlator run` is the service: intake and correlation until it is told to stop."""

import asyncio
import logging
import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

import click
import uvloop

from correlator.cli.errors import FailedError, explained
from correlator.cli.replay import load_control
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.cli.workers import beside_http, supervised
from correlator.config.files import STDIN
from correlator.config.problem import ConfigError
from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.model.instant import SECOND
from correlator.runtime.allocation import settle_memory
from correlator.runtime.counting import count_as
from correlator.runtime.fatal import StoppedError
from correlator.runtime.http import OPENING, Readiness, monitoring
from correlator.runtime.metrics import Reload
from correlator.runtime.ports import PortError
from correlator.runtime.supervisor import tell_supervisor
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.worker import Worker

_logger: Final = logging.getLogger(__name__)


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
    if config == STDIN and workers > 1:
        message = "--workers: each worker reads the settings itself; write them to a file"
        raise FailedError(message)
    with explained():
        settings = settings_of(config)
        files = _Files(config, rules, topology)
        control = files.read(settings)
        listen = listen if listen is not None else settings.http.listen
        if workers > 1:
            options = _options(config, rules, topology) + (["--until-idle"] if until_idle else [])
            events, cpu = supervised(settings, options, workers, listen=listen)
        else:
            events, cpu = _worked(
                _Run(settings, files, worker=worker, instance=None if worker is None else f"{of}-{worker}"),
                embedded,
                control,
                listen=listen,
                until_idle=until_idle,
            )
    if as_json:
        click.echo(json_line({"events": events, "cpu_s": round(cpu, 4)}))


def _options(config: str | None, rules: tuple[str, ...], topology: tuple[str, ...]) -> list[str]:
    """Answer the options that each worker is started with."""
    options = [] if config is None else ["--config", config]
    for name, paths in (("--rules", rules), ("--topology", topology)):
        options += [word for path in paths for word in (name, path)]
    return options


def _worked(runner: "_Run", embedded: Path | None, control: Control, *, listen: str, until_idle: bool) -> tuple[int, float]:
    """Be the service, or one of its workers; answer how many items were received, and the seconds of CPU."""
    settle_memory()
    cpu = time.process_time()
    uvloop.run(runner.run(embedded, control, listen=listen, until_idle=until_idle))
    return runner.events, time.process_time() - cpu


class _Files:
    """Where rules and topology are read from, at the start and again on SIGHUP."""

    def __init__(self, config: str | None, rules: tuple[str, ...], topology: tuple[str, ...]) -> None:
        self._config = config
        self._rules = rules
        self._topology = topology

    def read(self, settings: Settings) -> Control:
        """Read what these settings name, or the options in their place. Raises `ConfigError`."""
        control = load_control(self._rules or settings.rules, self._topology or settings.topology)
        _tell_rules(control)
        return control

    def read_again(self, settings: Settings) -> Control:
        """Read as before, where the settings name other files now those. Raises `ConfigError`."""
        again = settings_of(self._config) if self._config != STDIN else settings
        if again.model_copy(update={"rules": settings.rules, "topology": settings.topology}) != settings:
            _logger.warning("%s: of settings only rules and topology are taken anew; the others need a restart", self._config)
        return self.read(again)


def _tell_rules(control: Control) -> None:
    """Say what the service goes by, since a run in the wrong folder finds nothing there."""
    nodes, rules = len(control.topology.nodes), len(control.rules.alerts)
    _logger.info("topology: %d services, hosts and others, %d edges; rules: %d for alerts", nodes, len(control.topology.edges), rules)
    if not nodes:
        _logger.warning("no topology was found: alerts are grouped by their labels alone, and no incident has an owner")


class _Run:
    """One service from open to close; with a number it is one worker of a supervisor."""

    def __init__(self, settings: Settings, files: _Files, *, worker: int | None, instance: str | None) -> None:
        self._settings = settings
        self._files = files
        self._worker = worker
        self._instance = instance
        if worker is not None:
            count_as(worker)
        self._telemetry = Telemetry()
        self._readiness = Readiness(self._telemetry.ready)

    @property
    def events(self) -> int:
        """How many items were received."""
        return int(self._telemetry.registry.get_sample_value("correlator_items_received_total") or 0)

    async def run(self, embedded: Path | None, control: Control, *, listen: str, until_idle: bool) -> None:
        """Listen first: a service that cannot be reached must not take the log over from one that can."""
        work = partial(self._work, embedded, control, until_idle=until_idle)
        if listen == "off":
            await work()
        else:
            await beside_http(listen, monitoring(self._telemetry.registry, self._readiness), work)

    async def _work(self, embedded: Path | None, control: Control, *, until_idle: bool) -> None:
        patience_s, tell = self._settings.kafka.patience / SECOND, partial(self._readiness.not_ready, OPENING)
        async with opened_log(self._settings, embedded, instance=self._instance, patience_s=patience_s, on_wait=tell) as log:
            worker, hangup = Worker(log, self._settings, control, telemetry=self._telemetry, readiness=self._readiness), asyncio.Event()
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, worker.stop.set)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
            reloading = asyncio.create_task(self._reload_on(hangup, worker))
            reloading.add_done_callback(_tell_fault)
            try:
                if self._worker is not None:
                    await self._beside(worker, until_idle=until_idle)
                else:
                    await worker.run(until_idle=until_idle)
            finally:
                reloading.cancel()
                await asyncio.gather(reloading, return_exceptions=True)

    async def _beside(self, worker: Worker, *, until_idle: bool) -> None:
        """Work as one of several: the supervisor answers HTTP for all."""
        telling = asyncio.create_task(tell_supervisor(self._readiness, worker.stop))
        try:
            await worker.run(until_idle=until_idle)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _reload_on(self, hangup: asyncio.Event, worker: Worker) -> None:
        """Put the files in force as they are at each SIGHUP. What is wrong is told, and changes nothing."""
        await worker.opened.wait()
        while await hangup.wait():
            hangup.clear()
            try:
                control = await asyncio.to_thread(self._files.read_again, self._settings)
                is_new = await worker.put_in_force(control)
            except (ConfigError, PortError, StoppedError) as error:
                self._telemetry.on_reload(Reload.REFUSED)
                _logger.error("reload refused, what was in force stays: %s", error)  # noqa: TRY400 - a mistake of a person needs no trace
                continue
            self._telemetry.on_reload(Reload.ACCEPTED if is_new else Reload.UNCHANGED)
            _logger.info("reloaded: %s %s", control.digest, "is in force now" if is_new else "was in force already")


def _tell_fault(reloading: asyncio.Task[None]) -> None:
    """Say at once that nobody listens to SIGHUP any more; the service itself goes on."""
    error = None if reloading.cancelled() else reloading.exception()
    if error is not None:
        _logger.error("a fault of the program: SIGHUP changes nothing from now on, start the service again", exc_info=error)
