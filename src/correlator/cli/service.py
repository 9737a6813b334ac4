"""What the commands around the service share: settings, and the log they speak to."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from correlator.cli.errors import FailedError
from correlator.config.settings import Settings, TopicSettings, load_settings
from correlator.runtime.authority import OPENING_S
from correlator.runtime.database import FILE_NAME, lies_still
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Log, Transient

_logger: Final = logging.getLogger(__name__)

config_option = click.option("--config", metavar="FILE", help="Settings (YAML); see docs/settings.md.")
embedded_option = click.option(
    "--embedded",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the log, in place of Kafka; `run` and `publish` make it.",
)


def settings_of(config: str | None) -> Settings:
    """Load settings; without a file the events topic takes recordings, each item with its own time, and no broker is waited for."""
    settings = load_settings(config)
    if config is not None:
        return settings
    own = (TopicSettings(name="events", arrival="item"),)
    return settings.model_copy(update={"topics": own, "kafka": settings.kafka.model_copy(update={"patience": 0})})


@asynccontextmanager
async def opened_log(
    settings: Settings,
    embedded: Path | None,
    *,
    must_exist: bool = False,
    instance: str | None = None,
    patience_s: float = 0.0,
    on_wait: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Log]:
    """Open the log that the options name: a folder's, made when missing unless it must exist, or Kafka's. Raises `PortError`.

    A log that must exist is opened to be read, so its disk may be read-only.

    It waits so long for brokers that are away, and tells `on_wait` why. With an `instance`, the name that groups know us by, it waits for
    ever: whoever started us found them once.
    """
    if embedded is not None:
        log = await _in_folder(embedded, must_exist=must_exist)
    else:
        log = await _on_kafka_patiently(settings, instance, patience_s=patience_s if instance is None else math.inf, on_wait=on_wait)
    try:
        yield log
    finally:
        await log.close()


async def _in_folder(embedded: Path, *, must_exist: bool) -> Log:
    if must_exist and not (embedded / FILE_NAME).exists():
        message = f"{embedded}: there is no log here; `correlator publish --embedded {embedded} FILE` makes one"
        raise FailedError(message)
    if lies_still(embedded):
        if must_exist:
            return EmbeddedLog.open_still(embedded)
        message = f"{embedded}: its disk is read-only: mount it for writing, or name a folder on another one"
        raise FailedError(message)
    return await EmbeddedLog.open(embedded)


async def _on_kafka(settings: Settings, instance: str | None) -> Log:
    from correlator.runtime.kafka import KafkaLog, access_of

    try:
        return await KafkaLog.open(access_of(settings.kafka), replication=settings.kafka.replication, instance=instance)
    except Transient as error:
        message = (
            f"{error}; start one or set `kafka.bootstrap` in the settings (--config FILE), and `kafka.tls` and `kafka.sasl` where it wants "
            "TLS or a login, and only there; or do without Kafka: --embedded DIR"
        )
        raise FailedError(message) from error


async def _on_kafka_patiently(settings: Settings, instance: str | None, *, patience_s: float, on_wait: Callable[[str], None]) -> Log:
    deadline = time.monotonic() + patience_s
    for pause in chain(OPENING_S, repeat(OPENING_S[-1])):
        try:
            return await _on_kafka(settings, instance)
        except FailedError as error:
            if time.monotonic() + pause > deadline:
                raise
            on_wait(str(error.__cause__))
            _logger.warning("%s; trying again in %s s", error if pause is OPENING_S[0] else error.__cause__, pause)
        await asyncio.sleep(pause)
    raise AssertionError("pauses never end")


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Let something run while the body does; behind that it is cancelled and waited for."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def json_line(values: dict[str, object]) -> str:
    """Write values as one JSON line."""
    return msgspec.json.encode(values).decode()
