"""Pauses while workers come and go on Kafka: `python -m loadtest.joining [--static]` prints the longest time without output.

A publisher keeps a little load on 8 raw partitions of 4 domains; workers join, leave, are killed and restarted one after the other.
Output is what is committed: the longest time for which the position of a partition stood still, of raw and of frames partitions.
`--static` starts them with a `group.instance.id`, as the supervisor does: who is killed and started again finds its share at once.
`--silent` leaves without a LeaveGroup, as Kafka's own static members do.
"""

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import orjson

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.ports import Messages, TopicPartition
from correlator.runtime.topics import Topics

from loadtest.broker import running

PREFIX: Final = "joining"
PARTITIONS: Final = 8
DOMAINS: Final = 4
LOAD_EVERY_S: Final = 0.1
LOOK_EVERY_S: Final = 0.02
CALM_S: Final = 6.0
AFTER_KILL_S: Final = 12.0
TOPICS: Final = Topics(PREFIX)
RAW: Final = [TopicPartition(TOPICS.raw("events"), number) for number in range(PARTITIONS)]
FRAMES: Final = [TopicPartition(TOPICS.frames, number) for number in range(DOMAINS)]
_PROGRAM: Final = """
import sys
from correlator.cli import main
from correlator.runtime.kafka import KafkaLog
if sys.argv.pop(2) == "silent":
    from correlator.runtime.kafka.membership import KafkaMembership
    async def _leave(self): await self._client.close()
    KafkaMembership._leave = _leave
_opened = KafkaLog.open
KafkaLog.open = lambda access, **options: _opened(access, **(options | {"instance": sys.argv[1] or None}))
main(sys.argv[2:])
"""


class Gap(NamedTuple):
    """The longest stand-still of a partition, in seconds, within a phase."""

    tp: TopicPartition
    seconds: float


class Watch:
    """Notes when positions move."""

    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._offsets: dict[TopicPartition, int] = {}
        self._moved: dict[TopicPartition, float] = {}
        self._longest: dict[TopicPartition, float] = {}

    async def run(self) -> None:
        """Look again and again."""
        while True:
            for group, partitions in ((f"{PREFIX}-intake", RAW), (f"{PREFIX}-correlate", FRAMES)):
                for tp in partitions:
                    committed = await self._log.committed(group, tp)
                    if committed is not None and committed.offset != self._offsets.get(tp):
                        self._offsets[tp] = committed.offset
                        self._note(tp)
                        self._moved[tp] = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)

    def _note(self, tp: TopicPartition) -> None:
        still = time.monotonic() - self._moved.get(tp, time.monotonic())
        self._longest[tp] = max(self._longest.get(tp, 0.0), still)

    def gaps(self) -> list[Gap]:
        """Answer the longest stand-still of each partition since the last call, those under way too; the longest first."""
        for tp in self._moved:
            self._note(tp)
        found = sorted([Gap(tp, seconds) for tp, seconds in self._longest.items()], key=lambda gap: -gap.seconds)
        self._longest.clear()
        return found


class Joining:
    """Workers over one broker, and what their coming and going costs."""

    def __init__(self, folder: Path, address: str, *, is_static: bool, is_silent: bool) -> None:
        self._is_silent = is_silent
        self._folder = folder
        self._address = address
        self._is_static = is_static
        self._workers: dict[str, Process] = {}

    async def run(self) -> None:
        """Go through all phases."""
        self._write_settings()
        await self._start("a")
        log = await KafkaLog.open(Access([self._address]))
        async with _beside(_load(log)), _watching(log) as watch:
            await asyncio.sleep(CALM_S)
            watch.gaps()
            await self._phase(watch, "calm, one worker")
            await self._start("b")
            await self._phase(watch, "one joins")
            await self._stop("b")
            await self._phase(watch, "one leaves", seconds=AFTER_KILL_S)
            await self._start("b")
            await self._phase(watch, "it is back")
            await self._kill("b")
            await self._phase(watch, "one is killed (-9)", seconds=AFTER_KILL_S)
            await self._start("b")
            await self._phase(watch, "it is back")
            await self._kill("b")
            await self._start("b")
            await self._phase(watch, "killed, started at once", seconds=AFTER_KILL_S)
            for name in "ab":
                await self._stop(name)
                await self._start(name)
            await self._phase(watch, "rolling restart of both")
        await log.close()

    async def _phase(self, watch: Watch, name: str, *, seconds: float = CALM_S) -> None:
        await asyncio.sleep(seconds)
        gaps = watch.gaps()
        still = sum(gap.seconds > 1 for gap in gaps)
        middle = gaps[len(gaps) // 2].seconds
        worst = {stage[0].topic: max(gap.seconds for gap in gaps if gap.tp in stage) for stage in (RAW, FRAMES)}
        longest = ", ".join(f"{topic.removeprefix(PREFIX + '.')} {seconds:.2f} s" for topic, seconds in worst.items())
        print(f"{name:26} longest {longest}; median {middle:.2f} s; {still} of {len(gaps)} partitions still for more than 1 s", flush=True)

    async def _start(self, name: str) -> None:
        instance = name if self._is_static else ""
        config = str(self._folder / "settings.yaml")
        command = (
            sys.executable,
            "-c",
            _PROGRAM,
            instance,
            "silent" if self._is_silent else "",
            "run",
            "--config",
            config,
            "--listen",
            "off",
        )
        process = await asyncio.create_subprocess_exec(*command, stderr=PIPE)
        self._workers[name] = process
        assert process.stderr is not None
        while line := await process.stderr.readline():
            if b"restored; ready" in line:
                self._reading = asyncio.create_task(process.stderr.read())
                return
        message = f"worker {name} ended with code {await process.wait()}"
        raise RuntimeError(message)

    async def _stop(self, name: str) -> None:
        self._workers[name].terminate()
        await self._workers.pop(name).wait()

    async def _kill(self, name: str) -> None:
        self._workers[name].kill()
        await self._workers.pop(name).wait()

    async def end(self) -> None:
        """Leave no process behind."""
        for name in list(self._workers):
            await self._kill(name)

    def _write_settings(self) -> None:
        services = "".join(f"  s{number}: {{domain: d{number}}}\n" for number in range(DOMAINS - 1))
        (self._folder / "topology.yaml").write_text(f"services:\n{services}")
        (self._folder / "settings.yaml").write_text(
            f"prefix: {PREFIX}\nkafka: {{bootstrap: ['{self._address}']}}\ntopology: [topology.yaml]\nrules: []\n"
            f"topics: [{{name: events, partitions: {PARTITIONS}}}]\n"
        )


async def _load(log: KafkaLog) -> None:
    """Publish an event to every partition again and again, each about another alert."""
    writer = log.writer(None)
    await writer.start()
    try:
        for number in count():
            await writer.begin()
            for tp in RAW:
                labels = {"alertname": f"A{number}", "service": f"s{(number + tp.partition) % DOMAINS}"}
                await writer.send(tp, Messages([orjson.dumps({"status": "firing", "labels": labels})]))
            await writer.commit()
            await asyncio.sleep(LOAD_EVERY_S)
    finally:
        await writer.close()


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    running_beside = asyncio.create_task(work)
    try:
        yield
    finally:
        running_beside.cancel()
        await asyncio.gather(running_beside, return_exceptions=True)


@asynccontextmanager
async def _watching(log: KafkaLog) -> AsyncIterator[Watch]:
    watch = Watch(log)
    async with _beside(watch.run()):
        yield watch


async def _measure(*, is_static: bool, is_silent: bool) -> None:
    with TemporaryDirectory() as folder, running() as broker:
        joining = Joining(Path(folder), broker.address, is_static=is_static, is_silent=is_silent)
        try:
            await joining.run()
        finally:
            await joining.end()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="loadtest.joining", description=__doc__)
    parser.add_argument("--static", action="store_true", help="static members")
    parser.add_argument("--silent", action="store_true", help="leave without a word")
    chosen = parser.parse_args()
    asyncio.run(_measure(is_static=chosen.static, is_silent=chosen.silent))


if __name__ == "__main__":
    main()
