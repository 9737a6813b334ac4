"""A small company of two domains for tests of several workers: its storm, its services, and what a log says about it in the end."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from threading import Thread
from typing import IO, Any, Final, Self

import msgspec

from correlator.frames.codec import decode_frame
from correlator.model.instant import SECOND, Duration
from correlator.runtime.ports import Log, Messages, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.topics import END_HEADER, Topics

T0: Final = 1_767_571_200_000
"""2026-01-05T00:00:00Z."""
PARTITIONS: Final = 4
DOMAINS: Final = 2
TOPOLOGY: Final = """
services:
  web: {depends_on: [cart], owner: shop}
  cart: {depends_on: [db]}
  db: {}
  mail: {domain: office, depends_on: [smtp]}
  smtp: {domain: office, owner: office}
"""
SERVICES: Final = ("web", "cart", "db", "mail", "smtp", "elsewhere")
LONGEST_S: Final = 50
_AT_ONCE: Final = 10
_LOOK_S: Final = 0.02
Document = dict[str, Any]


def settings_in(
    folder: Path, address: str = "127.0.0.1:1", *, name: str = "settings.yaml", partitions: int = PARTITIONS, prefix: str = ""
) -> Path:
    """Write settings of the company, and its topology beside them."""
    (folder / "topology.yaml").write_text(TOPOLOGY)
    path = folder / name
    path.write_text(
        f"prefix: {prefix or folder.name.replace('_', '-')}\n"
        f"kafka: {{bootstrap: ['{address}']}}\n"
        "topology: [topology.yaml]\n"
        f"topics: [{{name: events, partitions: {partitions}, arrival: item}}]\n"
        "checkpoint: {rows: 50, every: 1s}\n"
    )
    return path


def topics_of(settings: Path) -> Topics:
    """Answer the names under the prefix of these settings."""
    return Topics(settings.read_text().split("\n")[0].removeprefix("prefix: "))


def a_storm(events: int, *, seed: int, step: Duration = SECOND // 10) -> list[tuple[int, bytes]]:
    """Make events in order, each with the raw partition of its service."""
    dice = Random(seed)
    told = []
    for number in range(events):
        service = dice.choice(SERVICES)
        said = T0 + number * step
        status = "resolved" if dice.random() < 0.1 else "firing"
        labels = {"alertname": f"A{dice.randrange(6)}", "service": service, "severity": "critical"}
        event = {"at": said, "status": status, "labels": labels, "receivedAt": said}
        told.append((SERVICES.index(service) % PARTITIONS, msgspec.json.encode(event)))
    return told


class Load:
    """Events appended ten at a time, resting in between, with the end of the recording behind them."""

    def __init__(
        self, log: Log, topic: str, storm: Sequence[tuple[int, bytes]], *, rest: float = 0.0, partitions: int = PARTITIONS
    ) -> None:
        self._partitions = partitions
        self._log = log
        self._topic = topic
        self._storm = storm
        self._rest = rest
        self._sent = 0
        self._more = asyncio.Condition()

    async def run(self) -> None:
        """Append all."""
        writer = self._log.writer(None)
        await writer.start()
        for first in range(0, len(self._storm), _AT_ONCE):
            await writer.begin()
            for partition, event in self._storm[first : first + _AT_ONCE]:
                await writer.send(TopicPartition(self._topic, partition % self._partitions), Messages([event]))
            await writer.commit()
            async with self._more:
                self._sent = first + _AT_ONCE
                self._more.notify_all()
            await asyncio.sleep(self._rest)
        await writer.begin()
        for partition in range(self._partitions):
            await writer.send(TopicPartition(self._topic, partition), Messages([b""], headers=[END_HEADER]))
        await writer.commit()
        await writer.close()

    async def reach(self, share: float) -> None:
        """Wait until this share of the events is in the log."""
        async with self._more:
            await self._more.wait_for(lambda: self._sent >= share * len(self._storm))


async def documents(log: Log, topic: str, partitions: int) -> list[Document]:
    """Answer what a compacted topic says in the end."""
    found: dict[bytes | None, bytes | None] = {}
    for partition in range(partitions):
        async for batch in read_all(log, TopicPartition(topic, partition), most=1_000):
            found |= dict(zip(batch.keys, batch.values, strict=True))
    return [msgspec.json.decode(body) for body in found.values() if body is not None]


async def items(log: Log, topics: Topics) -> int:
    """Count the items on the internal log."""
    found = 0
    for partition in range(DOMAINS):
        async for batch in read_all(log, TopicPartition(topics.frames, partition), most=1_000):
            found += sum(decode_frame(value or b"").items for value in batch.values)
    return found


async def canonical(log: Log, topics: Topics) -> tuple[list[str], list[str]]:
    """Answer alerts, and incidents without id, revision and why, as `tests.laws.canonical` has it; both sorted.

    An alert's document is written at its turns: its count and its last sight are those of the batch.
    """
    alerts = await documents(log, topics.alerts, DOMAINS)
    kept = ("labels", "state", "startsAt", "endsAt")
    incidents = [one for one in await documents(log, topics.incidents, DOMAINS) if one["state"] != "withdrawn"]
    return sorted([str([alert[key] for key in kept]) for alert in alerts]), sorted(map(_incident, incidents))


def _incident(document: Document) -> str:
    members = sorted(str((member["labels"], member["startsAt"], member.get("endsAt"))) for member in document["members"])
    causes = [(cause["entity"], cause["kind"], cause["confidence"]) for cause in document["root_causes"]]
    rest = ("category", "priority", "owner", "state", "opened", "updated")
    return str((members, causes, [document[key] for key in rest]))


class Service:
    """A `correlator run` of its own process; what it says is read all the time."""

    def __init__(self, settings: Path, *options: object) -> None:
        command = [
            str(Path(sys.executable).with_name("correlator")),
            "run",
            "--config",
            str(settings),
            "--listen",
            "off",
            *map(str, options),
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.said: list[str] = []
        assert self.process.stderr is not None, "started with a pipe"
        self._reading = Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with self.process:
            self._reading.join()

    def _read(self, pipe: IO[str]) -> None:
        self.said.extend(iter(pipe.readline, ""))

    async def until(self, words: str, *, times: int = 1) -> str:
        """Wait until it said these words so often, and answer the last such line; fails when it ends without."""
        async with asyncio.timeout(LONGEST_S):
            while len(found := list(self._with(words))) < times:
                assert self._reading.is_alive(), f"ended without saying '{words}': {''.join(self.said)}"
                await asyncio.sleep(_LOOK_S)
        return found[times - 1]

    def _with(self, words: str) -> Iterator[str]:
        return (line for line in self.said if words in line)

    async def ended(self) -> int:
        """Wait for its end and answer the exit code."""
        code = await asyncio.to_thread(self.process.wait, LONGEST_S)
        self._reading.join()
        return code

    async def stopped(self) -> int:
        """Stop it as a service manager does; answer the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()
