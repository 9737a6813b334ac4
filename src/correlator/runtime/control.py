"""The control topic: which rules and topology are in force, and how new ones reach every machine at one place of its log.

One writer for all processes; why it is so is told in docs/decisions/0006-control-fan-out.md.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Final

import msgspec

from correlator.frames.codec import encode_frame
from correlator.frames.control import Control, control_frame, read_control
from correlator.frames.frame import FrameError
from correlator.intake.route import Router
from correlator.model.alert import AlertState
from correlator.model.incident import AlertDocument
from correlator.model.version import NewerVersionError
from correlator.runtime.fatal import stopped
from correlator.runtime.ports import Batch, Fenced, Log, Messages, Refused, TopicPartition, Transient
from correlator.runtime.restore import read_all, read_until
from correlator.runtime.topics import Topics

PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before rules are put in force again, after a rival came between or the log was busy; then it is given up."""
_RECORDS: Final = 1_000
_ALERT: Final = msgspec.json.Decoder(AlertDocument)
_logger: Final = logging.getLogger(__name__)

Rest = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""


class ControlReader:
    """Follows the control topic; has one user. Raises `FrameError` or `NewerVersionError` for a record that cannot be read."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._tp = TopicPartition(topics.control, 0)
        self._reader = log.reader(self._tp)

    async def in_force(self) -> Control:
        """Read to the end as it is now, and answer the newest record. Raises Refused when there is none, and Transient."""
        first, end = await self._log.bounds(self._tp)
        self._reader.seek(first)
        newest = None
        async for batch in read_until(self._reader, self._tp, end=end, most=_RECORDS):
            newest = _newest(batch) or newest
        if newest is None:
            raise Refused(f"{self._tp.topic} holds no rules: start `correlator run` again, which puts them in force")
        return newest

    async def news(self) -> Control | None:
        """Answer the newest of the records that came since the last look, None when none did. Does not wait for any."""
        return _newest(await self._reader.poll(max_records=_RECORDS, timeout_ms=0))

    async def close(self) -> None:
        """Let go of the reader."""
        await self._reader.close()


def _newest(batch: Batch) -> Control | None:
    value = next((value for value in reversed(batch.values) if value is not None), None)
    return _read(value) if value is not None else None


@lru_cache(maxsize=1)
def _read(value: bytes) -> Control:
    """Read a record once for all that follow: a topology may have 200,000 services, and a process many partitions."""
    return read_control(value)


async def newest_control(log: Log, topics: Topics) -> Control | None:
    """Answer the control record in force, None when there never was one."""
    newest = None
    async for batch in read_all(log, TopicPartition(topics.control, 0), most=_RECORDS):
        newest = _newest(batch) or newest
    return newest


async def control_in_force(log: Log, topics: Topics) -> Control:
    """Answer what is in force. Raises Refused where nothing is, StoppedError where it cannot be read, and Transient."""
    reader = ControlReader(log, topics)
    try:
        return await reader.in_force()
    except (FrameError, NewerVersionError) as error:
        raise stopped("reading the rules in force", topics.control, error) from error
    finally:
        await reader.close()


async def put_in_force(log: Log, topics: Topics, control: Control, *, domains: int, rest: Rest = asyncio.sleep) -> bool:
    """Accept rules and topology: the record itself and a frame for every domain, in one transaction; answer whether that was needed.

    Of two processes that do so together the first is fenced, looks again and tries again: the newest commit wins. Raises Refused for a
    topology that would move alerts to another domain, and what stopped the last attempt; nothing was written then.
    """
    for pause in PAUSES_S:
        try:
            return await _put(log, topics, control, domains=domains)
        except (Fenced, Transient) as error:
            level = logging.INFO if isinstance(error, Fenced) else logging.WARNING  # two that start together meet here: no harm is done
            _logger.log(level, "rules were not put in force: %s; trying again in %s s", error, pause)
        await rest(pause)
    return await _put(log, topics, control, domains=domains)


async def _put(log: Log, topics: Topics, control: Control, *, domains: int) -> bool:
    """Try once. The writer starts before we look: of two, the second sees what the first did, or fences it."""
    writer = log.writer(topics.control_writer)
    try:
        await writer.start()
        current = await newest_control(log, topics)
        if current is not None:
            if current.digest == control.digest:
                return False
            refuse_moves(current, control)
            await _refuse_split_alerts(log, topics, control)
        await writer.begin()
        value = msgspec.msgpack.encode(control)
        await writer.send(TopicPartition(topics.control, 0), Messages([value], keys=[control.digest.encode()]))
        for partition in range(domains):
            await writer.send(TopicPartition(topics.frames, partition), Messages([encode_frame(control_frame(control))]))
        await writer.commit()
        return True
    finally:
        await writer.close()


def refuse_moves(current: Control, control: Control) -> None:
    """A service's alerts live in its domain's machine: in another domain nobody would know that they fire, nor hear them resolved."""
    before, after = Router(current.topology), Router(control.topology)
    kept = [name for name in control.topology.node_by_name if name in current.topology.node_by_name]
    moved = [name for name in kept if before.domain_of(name) != after.domain_of(name)]
    if moved:
        name = moved[0]
        others = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
        message = (
            f"the topology moves '{name}'{others} from domain '{before.domain_of(name)}' to '{after.domain_of(name)}', and its alerts "
            "cannot follow: leave it where it is, or start anew under another `prefix`"
        )
        raise Refused(message)
    if before.domains != after.domains:
        message = (
            f"the topology names the domains {', '.join(after.domains)}, and this log was made for {', '.join(before.domains)}: "
            "keep them, or start anew under another `prefix`"
        )
        raise Refused(message)


async def _refuse_split_alerts(log: Log, topics: Topics, control: Control) -> None:
    """A service that the topology did not know had its alerts in the default domain: one that fires would be heard elsewhere now."""
    router = Router(control.topology)
    for partition, domain in enumerate(router.domains if len(router.domains) > 1 else ()):
        async for document in _firing(log, TopicPartition(topics.alerts, partition)):
            entity = control.topology.entity_of(document.labels)
            if router.partition_of(entity) != partition:
                message = (
                    f"the topology moves '{entity or document.labels.get('service', '')}' from domain '{domain}' to "
                    f"'{router.domains[router.partition_of(entity)]}' while its alert {document.labels['alertname']} fires: "
                    "wait until it is resolved"
                )
                raise Refused(message)


async def _firing(log: Log, tp: TopicPartition) -> AsyncIterator[AlertDocument]:
    """Yield the alerts of a domain that are not over, as last written."""
    bodies: dict[bytes | None, bytes | None] = {}
    async for batch in read_all(log, tp, most=_RECORDS):
        bodies.update(zip(batch.keys, batch.values, strict=True))
    for body in bodies.values():
        document = _ALERT.decode(body) if body is not None else None
        if document is not None and document.state != AlertState.RESOLVED:
            yield document
