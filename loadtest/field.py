"""The field of a chaos run on Kafka: a broker, workers of one application, and the load on them."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Final

import msgspec

from loadtest.broker import Broker
from loadtest.doomed import VARIABLE
from loadtest.leash import Leash
from loadtest.play import ChaosError

CORRELATOR: Final = str(Path(sys.executable).with_name("correlator"))
RULES: Final = Path(__file__).with_name("chaos.rules.yaml")
PREFIX: Final = "chaos"
RAW: Final = "events"
EVENTS: Final = "events.jsonl"
_LOOK_S: Final = 0.02
_READY: Final = "restored; ready"
_TOLD_MOST: Final = 3_000


class Worker:
    """One worker process; what it says goes to a file."""

    def __init__(self, name: str, log: Path, process: Process) -> None:
        self.name = name
        self.started = time.monotonic()
        self.is_busy = False
        self._log = log
        self._process = process
        self._ending = asyncio.create_task(process.wait())

    @property
    def said(self) -> str:
        """What it said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        """Send it a signal. Raises ChaosError when it ended by itself."""
        self.expect_alive()
        self._process.send_signal(number)

    def expect_alive(self) -> None:
        """Raise ChaosError when it ended by itself."""
        if self._ending.done():
            raise ChaosError(f"{self.name} ended by itself with code {self._ending.result()}:\n{self.said[-_TOLD_MOST:]}")

    async def ready(self, patience_s: float) -> bool:
        """Wait until it says that its share is restored; False when it does not within the time. Raises ChaosError when it ends."""
        deadline = time.monotonic() + patience_s
        while _READY not in self.said:
            self.expect_alive()
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def ended(self, patience_s: float) -> int | None:
        """Wait for its end; answers the exit code, None when it lives on."""
        done, _ = await asyncio.wait((self._ending,), timeout=patience_s)
        return self._ending.result() if done else None

    async def leave(self, patience_s: float) -> None:
        """Ask it to leave, and see that it does so in good order. Raises ChaosError."""
        self.signal(signal.SIGTERM)
        code = await self.ended(patience_s)
        if code != 0:
            raise ChaosError(f"{self.name} was asked to leave and ended with {code}:\n{self.said[-_TOLD_MOST:]}")

    async def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        await self._ending


class Load(msgspec.Struct):
    """The last line that the feed printed."""

    published: int = 0
    failed: int = 0
    seconds: float = 0.0


class Field:
    """Everything of one run, in one folder."""

    def __init__(self, folder: Path, broker: Broker, *, partitions: int) -> None:
        self.folder = folder
        self.broker = broker
        self.storm = folder / "storm"
        self.results = folder / "replay"
        self.settings = folder / "settings.yaml"
        self.calm = folder / "calm.yaml"
        self.load = Load()
        self._partitions = partitions
        self._number = 0
        self._feed: Process | None = None
        self._leashes: dict[Process, Leash] = {}

    def write_settings(self) -> None:
        """Write the settings of all workers: checkpoints and commits so often that kills fall between them, and inside them.

        Whoever works alone in the end has settings without that, for it may be much that is left.
        """
        common = {
            "prefix": PREFIX,
            "kafka": {"bootstrap": [self.broker.address]},
            "rules": [str(RULES)],
            "topology": [str(self.storm / "topology.yaml")],
            "topics": [{"name": RAW, "arrival": "item", "partitions": self._partitions}],
        }
        often = {"checkpoint": {"rows": 2_000, "every": "1s"}, "batch": {"records": 250}}
        for path, content in ((self.settings, common | often), (self.calm, common)):
            path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))  # JSON is YAML

    async def _started(self, *command: str, log: Path | None = None, environment: dict[str, str] | None = None) -> Process:
        with (log or Path(os.devnull)).open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=said, env={**os.environ, **(environment or {})}, limit=1 << 20
            )
        self._leashes[process] = Leash(process.pid)
        self._let_go()
        return process

    def _let_go(self) -> None:
        """Let go of those that have ended."""
        for process in [one for one in self._leashes if one.returncode is not None]:
            self._leashes.pop(process).end()

    async def worker(self, *, doom: str = "") -> Worker:
        """Start one more worker; `doom` names the place where it kills itself (see `loadtest.doomed`)."""
        self._number += 1
        name = f"worker-{self._number}"
        log = self.folder / f"{name}.log"
        program = (sys.executable, "-m", "loadtest.doomed") if doom else (CORRELATOR,)
        command = (*program, "run", "--config", str(self.settings), "--listen", "off")
        return Worker(name, log, await self._started(*command, log=log, environment={VARIABLE: doom}))

    async def finish(self, what: str, *command: str) -> None:
        """Run a command to its end. Raises ChaosError unless it ends well."""
        log = self.folder / f"{what}.log"
        process = await self._started(*command, log=log)
        output, _ = await process.communicate()
        if process.returncode:
            raise ChaosError(f"{what} ended with code {process.returncode}:\n{output.decode()}{log.read_text()[-_TOLD_MOST:]}")

    async def correlator(self, *arguments: str) -> None:
        """Run a command of `correlator` to its end."""
        await self.finish(arguments[0], CORRELATOR, *arguments, "--config", str(self.calm))

    async def replay(self) -> None:
        """Replay the recording undisturbed, without any log."""
        shown = ("--rules", str(RULES), "--topology", str(self.storm / "topology.yaml"), "--out", str(self.results))
        await self.finish("replay", CORRELATOR, "replay", str(self.storm / EVENTS), *shown)

    async def feed(self, rate: float) -> None:
        """Publish the recording at this rate, and follow how far it is. Raises ChaosError when something was not confirmed."""
        log = self.folder / "feed.log"
        command = (sys.executable, "-m", "loadtest.feed", self.broker.address, f"{PREFIX}.{RAW}", str(self.storm / EVENTS))
        self._feed = process = await self._started(*command, "--rate", str(rate), log=log)
        assert process.stdout is not None, "started with a pipe"
        while line := await process.stdout.readline():
            self.load = msgspec.json.decode(line, type=Load)
        if await process.wait():
            raise ChaosError(f"the feed ended with code {process.returncode} after {self.load}:\n{log.read_text()[-_TOLD_MOST:]}")

    def feed_the_rest(self) -> None:
        """Let the feed publish what is left as fast as it can."""
        assert self._feed is not None, "the feed was started"
        if self._feed.returncode is None:
            self._feed.send_signal(signal.SIGUSR1)

    async def end_all(self) -> None:
        """Leave no process behind."""
        living = [process for process in self._leashes if process.returncode is None]
        for process in living:
            process.kill()
        await asyncio.gather(*(process.wait() for process in living))
        self._let_go()
