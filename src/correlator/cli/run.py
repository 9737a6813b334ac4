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
from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.runtime.collector import settle_collector
from correlator.runtime.http import ListenError, Readiness, monitoring, serve
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
) -> None:
    """Read events, correlate them, and write incidents, until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if embedded is not None and workers > 1:
        message = "--workers is for Kafka; an embedded log has one worker"
        raise FailedError(message)
    with explained():
        settings = settings_of(config)
        control = load_control(rules or _existing(settings.rules, "rules"), topology or _existing(settings.topology, "topologies"))
        _tell_rules(control)
        telemetry = Telemetry()
        settle_collector()
        cpu = time.process_time()
        runner = _Run(settings, control, telemetry)
        uvloop.run(runner.run(embedded, listen=listen if listen is not None else settings.http.listen, until_idle=until_idle))
        cpu = time.process_time() - cpu
    if as_json:
        value = telemetry.registry.get_sample_value("correlator_items_received_total")
        click.echo(json_line({"events": int(value or 0), "cpu_s": round(cpu, 4)}))


def _tell_rules(control: Control) -> None:
    """Say what the service goes by, since a run in the wrong folder finds nothing there."""
    nodes, rules = len(control.topology.nodes), len(control.rules.alerts)
    _logger.info("topology: %d services, hosts and others, %d edges; rules: %d for alerts", nodes, len(control.topology.edges), rules)
    if not nodes:
        _logger.warning("no topology was found: alerts are grouped by their labels alone, and no incident has an owner")


def _existing(paths: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Leave out a default folder that is not there: a laptop may have neither rules nor topologies. Any other missing path is a mistake."""
    return tuple([path for path in paths if Path(path).name != default or Path(path).exists()])


class _Run:
    """One service from open to close."""

    def __init__(self, settings: Settings, control: Control, telemetry: Telemetry) -> None:
        self._settings = settings
        self._control = control
        self._telemetry = telemetry
        self._readiness = Readiness()

    async def run(self, embedded: Path | None, *, listen: str, until_idle: bool) -> None:
        async with opened_log(self._settings, embedded) as log:
            worker = Worker(log, self._settings, self._control, telemetry=self._telemetry, readiness=self._readiness)
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, worker.stop.set)
            if listen == "off":
                await worker.run(until_idle=until_idle)
            else:
                await self._serving(worker, listen, until_idle=until_idle)

    async def _serving(self, worker: Worker, listen: str, *, until_idle: bool) -> None:
        """Listen first: a service that cannot be reached must not take the log over from one that can."""
        listening, stop = asyncio.Event(), asyncio.Event()
        app = monitoring(self._telemetry.registry, self._readiness)
        server = asyncio.create_task(serve(app, listen, stop=stop, on_listening=partial(_tell_listening, listening)))
        waiting = asyncio.create_task(listening.wait())
        await asyncio.wait((server, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if not server.done():
                await worker.run(until_idle=until_idle)
        finally:
            stop.set()
            await self._closed(server)

    async def _closed(self, server: asyncio.Task[None]) -> None:
        try:
            await server
        except ListenError as error:
            raise FailedError(str(error)) from error


def _tell_listening(listening: asyncio.Event, url: str) -> None:
    _logger.info("listening on %s", url)
    listening.set()
