"""The authority: opens a log for the work, puts rules and topology in force, and notices when somebody else did.

One for each service that reads files: a worker that stands alone, or the supervisor of several, whose workers follow the log.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import Final, TypeVar

from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.frames.frame import FrameError
from correlator.model.version import NewerVersionError
from correlator.runtime.control import ControlReader, Rest, put_in_force
from correlator.runtime.fatal import stopped
from correlator.runtime.http import OPENING, Readiness
from correlator.runtime.ports import Log, PortError, TopicPartition, Transient
from correlator.runtime.positions import refuse_forgotten
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics

T = TypeVar("T")

OPENING_S: Final = (0.1, 0.5, 2.0)
"""Pauses before a log that is away is looked for again; the last one repeats."""
LOOK_EVERY_S: Final = 5.0
_logger: Final = logging.getLogger(__name__)


class Authority:
    """Says what a log goes by, for as many domains as its first topology had."""

    def __init__(self, log: Log, settings: Settings, *, domains: int, telemetry: Telemetry) -> None:
        self._log = log
        self._settings = settings
        self._topics = Topics(settings.prefix)
        self._domains = domains
        self._telemetry = telemetry
        self._own = ""
        self._told = ""
        self._has_looked = False

    async def open(self, control: Control | None) -> None:
        """Open the topics, look whether the log remembers our positions, and put `control` in force if there is one.

        Raises Transient, Refused where topics are otherwise or a position was forgotten, and StoppedError where the log cannot be read.
        """
        raw = {topic.name: topic.partitions for topic in self._settings.topics}
        await self._log.open_topics(self._topics.settings(raw, self._domains, self._settings.log_retention))
        tps = [TopicPartition(self._topics.raw(name), number) for name, partitions in raw.items() for number in range(partitions)]
        try:
            await refuse_forgotten(self._log, self._topics, raw=tps, domains=self._domains)
        except (FrameError, NewerVersionError) as error:
            raise stopped("looking for positions", self._topics.frames, error) from error
        if control is not None:
            await self.put_in_force(control)

    async def put_in_force(self, control: Control) -> bool:
        """Put rules and topology in force for all workers; answer whether they were not yet.

        Raises `PortError`, or `StoppedError` when what is in force cannot be read; then nothing has changed.
        """
        try:
            is_new = await put_in_force(self._log, self._topics, control, domains=self._domains)
        except (FrameError, NewerVersionError) as error:
            raise stopped("putting rules in force", self._topics.control, error) from error
        self._own, self._told = control.digest, ""
        return is_new

    async def watch(self, rest: Rest = asyncio.sleep) -> None:
        """Look for ever whether others put rules in force here."""
        reader = ControlReader(self._log, self._topics)
        try:
            while True:
                await self.look(reader)
                await rest(LOOK_EVERY_S)
        finally:
            await reader.close()

    async def look(self, reader: ControlReader) -> None:
        """Warn, once for each, of rules that came into force and were not put there by this service."""
        try:
            control = await (reader.news() if self._has_looked else reader.in_force())
        except (PortError, FrameError, NewerVersionError):
            return  # whoever works on the log tells of it
        self._has_looked = True
        if control is None or control.digest in (self._own, self._told):
            return
        self._told = control.digest
        self._telemetry.others_rules()
        _logger.warning(
            "another service put its rules and topology (%d services, hosts and others) in force: %s instead of our %s. Unless you meant "
            "that, two applications share the prefix '%s': stop one, and give it a `prefix` of its own",
            len(control.topology.nodes),
            control.digest,
            self._own,
            self._topics.prefix,
        )


async def until_open(step: Callable[[], Awaitable[T]], readiness: Readiness) -> T:
    """Do what needs a log that answers, again and again while it cannot be reached. Raises what `step` raises but for Transient."""
    for pause in chain(OPENING_S, repeat(OPENING_S[-1])):
        try:
            result = await step()
        except Transient as error:
            readiness.not_ready(OPENING, f"opening the log: {error}")
            _logger.warning("the log could not be opened: %s; trying again in %s s", error, pause)
        else:
            readiness.ready(OPENING)
            return result
        await asyncio.sleep(pause)
    raise AssertionError("pauses never end")
