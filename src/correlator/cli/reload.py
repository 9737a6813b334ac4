"""Rules and topology from files: at the start of `run`, and again at each SIGHUP."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from correlator.cli.replay import load_control
from correlator.cli.service import alongside, settings_of
from correlator.config.files import STDIN
from correlator.config.problem import ConfigError
from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.runtime.fatal import StoppedError
from correlator.runtime.metrics import Reload
from correlator.runtime.ports import PortError, Refused
from correlator.runtime.telemetry import Telemetry

PutInForce = Callable[[Control], Awaitable[bool]]
"""Puts rules and topology in force, and answers whether they were not yet."""
_logger: Final = logging.getLogger(__name__)


class Files:
    """Where rules and topology are read from."""

    def __init__(self, config: str | None, settings: Settings, *, rules: tuple[str, ...], topology: tuple[str, ...]) -> None:
        self._config = config
        self._settings = settings
        self._rules = rules
        self._topology = topology
        self._has_topology = False

    def read(self) -> Control:
        """Read what the settings name, or the options in their place. Raises `ConfigError`."""
        control = self._read(self._settings)
        self._has_topology = bool(control.topology.nodes)
        return control

    def read_again(self) -> Control:
        """Read as before, where the settings name other files now those. Raises `ConfigError`, and Refused where no topology is left."""
        before = self._settings
        again = settings_of(self._config) if self._config != STDIN else before
        if again.model_copy(update={"rules": before.rules, "topology": before.topology}) != before:
            _logger.warning("%s: of settings only rules and topology are taken anew; the others need a restart", self._config)
        control = self._read(again)
        if self._has_topology and not control.topology.nodes:
            raise Refused(
                "the topology is empty now, as when a mount failed: put its files back, or start the service again to go on without one"
            )
        self._has_topology = bool(control.topology.nodes)
        return control

    def _read(self, settings: Settings) -> Control:
        control = load_control(self._rules or settings.rules, self._topology or settings.topology)
        _tell_rules(control)
        return control


@asynccontextmanager
async def reloading(
    files: Files, put_in_force: PutInForce, telemetry: Telemetry, *, opened: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Put the files in force as they are at each SIGHUP, once the log is `opened` if it is not yet."""
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    async with alongside(_reload_on(hangup, files, put_in_force, telemetry=telemetry, opened=opened)) as task:
        task.add_done_callback(_tell_fault)
        yield


async def _reload_on(
    hangup: asyncio.Event, files: Files, put_in_force: PutInForce, *, telemetry: Telemetry, opened: asyncio.Event | None
) -> None:
    """What is wrong is told, and changes nothing."""
    if opened is not None:
        await opened.wait()
    while await hangup.wait():
        hangup.clear()
        try:
            control = await asyncio.to_thread(files.read_again)
            is_new = await put_in_force(control)
        except (ConfigError, PortError, StoppedError) as error:
            telemetry.on_reload(Reload.REFUSED)
            _logger.error("reload refused, what was in force stays: %s", error)  # noqa: TRY400 - a mistake of a person needs no trace
            continue
        telemetry.on_reload(Reload.ACCEPTED if is_new else Reload.UNCHANGED)
        _logger.info("reloaded: %s %s", control.digest, "is in force now" if is_new else "was in force already")


def _tell_fault(reloading: asyncio.Task[None]) -> None:
    """Say at once that nobody listens to SIGHUP any more; the service itself goes on."""
    error = None if reloading.cancelled() else reloading.exception()
    if error is not None:
        _logger.error("a fault of the program: SIGHUP changes nothing from now on, start the service again", exc_info=error)


def refuse_hangup() -> None:
    """Tell whoever sends SIGHUP to a worker of a supervisor that it reads no files."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(
        signal.SIGHUP, _logger.warning, "SIGHUP is for the supervisor, which reads rules and topology; nothing was done"
    )


def _tell_rules(control: Control) -> None:
    """Say what the service goes by, since a run in the wrong folder finds nothing there."""
    nodes, rules = len(control.topology.nodes), len(control.rules.alerts)
    _logger.info("topology: %d services, hosts and others, %d edges; rules: %d for alerts", nodes, len(control.topology.edges), rules)
    if not nodes:
        _logger.warning("no topology was found: alerts are grouped by their labels alone, and no incident has an owner")
