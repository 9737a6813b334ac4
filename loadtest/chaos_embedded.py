"""Chaos on the embedded log: `python -m loadtest.chaos_embedded [--kills 50] [--events 600000] [--seconds 720] [--seed 1]`.

A publisher keeps load on, itself killed now and then and continued where the log ends, while `correlator run` is killed with SIGKILL
again and again: right after its start, during restore, under load, and after it took over from one that still lived and had to give
way. Then the end of the recording is published, the rest is judged, and a process of its own (`loadtest.checker`) says what was lost
or doubled, against the generator's truth and an undisturbed replay.

The last line is `lost 0, double 0`, and the exit code 0, only when all is well. Kills are planned from the seed; what they meet is not,
since processes are really killed: the log of a failing run can be kept with --keep DIR (which must not exist yet).

Retention (`chaos.rules.yaml`) outlasts the recording, so that the compacted topics still hold every alert and incident; checkpoints
and commits (`chaos.settings.yaml`) come so often that kills fall between them, and inside them.
"""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from loadtest.outcome import records_in
from loadtest.plan import Settings as StormSettings
from loadtest.plan import dice_for
from loadtest.play import ChaosError, judge, parse, played
from loadtest.storm import write_storm

CORRELATOR: Final = str(Path(sys.executable).with_name("correlator"))
RULES: Final = str(Path(__file__).with_name("chaos.rules.yaml"))
SETTINGS: Final = str(Path(__file__).with_name("chaos.settings.yaml"))
EVENTS_AN_HOUR: Final = 16_000
MOMENTS: Final = ("start", "restore", "restore", "load", "load", "load", "load", "takeover")
LONGEST_LOAD_S: Final = 2.5
PUBLISHERS_KILLED: Final = 0.3
PATIENCE_S: Final = 60.0
USAGE: Final = 2
EVENTS, RAW = "events.jsonl", "events"


class Chaos(msgspec.Struct, frozen=True):
    """What the command line asks for; `events` and `kills` in numbers, `seconds` for all of it."""

    kills: int = 50
    events: int = 600_000
    seconds: int = 720
    seed: int = 1
    keep: str = ""

    @property
    def storm(self) -> StormSettings:
        """A storm of this many events."""
        hours = max(3.0, self.events / EVENTS_AN_HOUR)
        return StormSettings(events=self.events, seed=self.seed, hours=hours, faults=round(hours * 5), services=120)


class Log:
    """The folder under test, the recording that goes into it, and the commands that meet there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storm = folder / "storm"
        self.log = folder / "log"
        self.results = folder / "replay"
        self.topology = ("--topology", str(self.storm / "topology.yaml"))
        self._started: list[Process] = []

    async def start(self, *arguments: str) -> Process:
        """Start `correlator`, with pipes."""
        process = await asyncio.create_subprocess_exec(CORRELATOR, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=1 << 20)
        self._started = [*(one for one in self._started if one.returncode is None), process]
        return process

    async def service(self, *options: str) -> Process:
        """Start the service."""
        return await self.start("run", *self._here, "--listen", "off", *self.topology, *options)

    async def publisher(self, *options: str) -> Process:
        """Start a publisher of its standard input."""
        return await self.start("publish", *self._here, *options, "-")

    async def replay(self) -> None:
        """Replay the recording undisturbed, without any log."""
        replaying = ("replay", str(self.storm / EVENTS), "--rules", RULES, *self.topology, "--out", str(self.results))
        await finished(await self.start(*replaying), "replay")

    @property
    def _here(self) -> tuple[str, ...]:
        return "--embedded", str(self.log), "--config", SETTINGS

    async def kill_all(self) -> None:
        """Leave no process behind."""
        living = [process for process in self._started if process.returncode is None]
        for process in living:
            process.kill()
        await asyncio.gather(*(process.wait() for process in living))


async def finished(process: Process, what: str, given: bytes = b"") -> None:
    """Wait for a process that nobody kills; raises ChaosError unless it ends well."""
    output, errors = await process.communicate(given)
    if process.returncode:
        raise ChaosError(f"{what} ended with code {process.returncode}:\n{(output + errors).decode()[-2_000:]}")


# ---------------------------------------------------------------------------------------------------- load


class Publisher:
    """Publishes the recording piece by piece; what is in the log says where to go on."""

    def __init__(self, log: Log, lines: list[bytes], dice: Random, *, steps: int) -> None:
        self._log = log
        self._lines = lines
        self._dice = dice
        self._steps = steps
        self._allowed = 0
        self._more = asyncio.Event()
        self.kills = self.pieces = self.position = 0
        self.allow(0)

    def allow(self, step: int) -> None:
        """Let this share of the recording be published, so that there is load until the last fault."""
        self._step = step
        self._allowed = max(self._allowed, len(self._lines) * (step + 1) // (self._steps + 1))
        self._more.set()

    def allow_more(self) -> None:
        """Let the next share be published already."""
        self.allow(self._step + 1)

    async def run(self) -> None:
        """Publish until all but the end mark is in the log."""
        while self.position < len(self._lines):
            self._more.clear()
            if self.position >= self._allowed:
                await self._more.wait()
                continue
            last = min(self._allowed, self.position + self._dice.randint(500, 16_000))
            await self._publish(self._lines[self.position : last], is_killed=self._dice.random() < PUBLISHERS_KILLED)

    async def _publish(self, lines: list[bytes], *, is_killed: bool) -> None:
        process = await self._log.publisher("--more")
        work = asyncio.create_task(finished(process, "publish", b"\n".join(lines) + b"\n"))
        self.pieces += 1
        if is_killed and not await _is_done(work, self._dice.uniform(0.2, 1.0)):
            self.kills += 1
            process.kill()
        try:
            await work
        except ChaosError:
            if process.returncode != -signal.SIGKILL:
                raise
        except (BrokenPipeError, ConnectionResetError):  # killed while it was read to
            await process.wait()
        before, self.position = self.position, records_in(self._log.log, RAW)
        if not before <= self.position <= before + len(lines):
            raise ChaosError(f"the raw topic has {self.position} records after a piece of {len(lines)} behind {before}")


async def _is_done(work: "asyncio.Task[None]", seconds: float) -> bool:
    """Wait for a while; tell whether the work ended."""
    done, _ = await asyncio.wait((work,), timeout=seconds)
    return bool(done)


# ---------------------------------------------------------------------------------------------------- faults


class Killer:
    """Starts the service and kills it, again and again."""

    def __init__(self, log: Log, dice: Random, publisher: Publisher) -> None:
        self._log = log
        self._dice = dice
        self._publisher = publisher
        self._moments: list[str] = []
        self._restored_after = 1.0
        self.restores = 0

    async def kill(self, number: int, of: int) -> None:
        """One life of the service, ended at a random moment of the kind whose turn it is."""
        if not self._moments:
            self._moments = self._dice.sample(MOMENTS, len(MOMENTS))
        moment, started = self._moments.pop(), time.monotonic()
        process = await (self._takeover() if moment == "takeover" else self._life(moment))
        if process.returncode is not None:
            raise ChaosError(f"the service ended by itself with code {process.returncode}")
        process.kill()
        await process.communicate()
        lived, published, judged = time.monotonic() - started, self._publisher.position, records_in(self._log.log, "frames")
        print(f"kill {number}/{of} ({moment}) after {lived:.2f} s: {published:,} records published, {judged:,} frames", flush=True)

    async def _life(self, moment: str) -> Process:
        """Answer a service that lives, at the moment to kill it."""
        started, process = time.monotonic(), await self._log.service()
        if moment == "load":
            await restored(process)
            self._restored_after = time.monotonic() - started
            self.restores += 1
            await within(self._dice.uniform(0.0, LONGEST_LOAD_S), process)
        else:
            share = (0.0, 0.5) if moment == "start" else (0.5, 1.0)
            await within(self._restored_after * self._dice.uniform(*share), process)
        return process

    async def _takeover(self) -> Process:
        """Start a second service beside the first: the first must give way by itself as soon as it would write."""
        first, second = await self._life("load"), await self._log.service()
        await restored(second)
        self._publisher.allow_more()
        if not await within(PATIENCE_S, first):
            raise ChaosError("a service went on although a newer one had taken over")
        _, errors = await first.communicate()
        if first.returncode != USAGE or b"taken over" not in errors:
            raise ChaosError(f"a service that was taken over ended with code {first.returncode}:\n{errors.decode()[-2_000:]}")
        return second


async def within(seconds: float, process: Process) -> bool:
    """Wait for the end of a process, for a while; tell whether it ended."""
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def restored(process: Process) -> None:
    """Wait until the service says that it restored its state; raises ChaosError when it ends first."""
    assert process.stderr is not None, "started with pipes"
    said = b""
    while line := await process.stderr.readline():
        said += line
        if b"restored" in line:
            return
    raise ChaosError(f"the service ended before it restored:\n{said.decode()[-2_000:]}")


async def faults(log: Log, chaos: Chaos, lines: list[bytes]) -> None:
    """All kills under load, then the end of the recording."""
    publisher = Publisher(log, lines, dice_for(chaos.seed, "publisher"), steps=chaos.kills)
    killer = Killer(log, dice_for(chaos.seed, "kills"), publisher)
    publishing = asyncio.create_task(publisher.run())
    try:
        for number in range(1, chaos.kills + 1):
            await killer.kill(number, chaos.kills)
            publisher.allow(number)
            if publishing.done():
                publishing.result()
        await publishing
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    print(f"{chaos.kills} kills of the service, {publisher.kills} of {publisher.pieces} publishers, {killer.restores} restores seen")
    await finished(await log.publisher(), "publish")
    await finished(await log.service("--until-idle"), "run --until-idle")


# ---------------------------------------------------------------------------------------------------- the whole


async def play(log: Log, chaos: Chaos) -> None:
    """Make the recording, replay it undisturbed, and run it through the chaos."""
    write_storm(chaos.storm, log.storm)
    await log.replay()
    await faults(log, chaos, (log.storm / EVENTS).read_bytes().splitlines())


def main() -> None:
    """Play the chaos in a folder that is removed afterwards, unless --keep names one."""
    started, chaos = time.monotonic(), parse(Chaos, sys.argv[1:], program="loadtest.chaos_embedded", description=__doc__)
    with TemporaryDirectory(prefix="chaos-") as temporary:
        log = Log(Path(chaos.keep or temporary))
        is_played = asyncio.run(played(play(log, chaos), seconds=chaos.seconds, end_all=log.kill_all))
        print(f"{time.monotonic() - started:.0f} s", flush=True)
        code = judge(str(log.log), storm=log.storm, replay=log.results) if is_played else 1
    sys.exit(code)


if __name__ == "__main__":
    main()
