"""`correlator run` is the service: intake and correlation until it is told to stop."""

import asyncio
import logging
import signal
import time
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
        telemetry = Telemetry()
        settle_collector()
        cpu = time.process_time()
        runner = _Run(settings, control, telemetry)
        uvloop.run(runner.run(embedded, listen=listen if listen is not None else settings.http.listen, until_idle=until_idle))
        cpu = time.process_time() - cpu
    if as_json:
        value = telemetry.registry.get_sample_value("correlator_items_received_total")
        click.echo(json_line({"events": int(value or 0), "cpu_s": round(cpu, 4)}))


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
        async with opened_log(embedded) as log:
            worker = Worker(log, self._settings, self._control, telemetry=self._telemetry, readiness=self._readiness)
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, worker.stop.set)
            if listen == "off":
                await worker.run(until_idle=until_idle)
            else:
                await self._serving(worker, listen, until_idle=until_idle)

    async def _serving(self, worker: Worker, listen: str, *, until_idle: bool) -> None:
        server = asyncio.create_task(
            serve(
                monitoring(self._telemetry.registry, self._readiness), listen, on_listening=lambda url: _logger.info("listening on %s", url)
            )
        )
        working = asyncio.create_task(worker.run(until_idle=until_idle))
        done, _ = await asyncio.wait((server, working), return_when=asyncio.FIRST_COMPLETED)
        worker.stop.set()
        try:
            if server in done:
                server.result()
            await working
        except ListenError as error:
            await working
            raise FailedError(str(error)) from error
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)
