"""Chaos on real Kafka: `python -m loadtest.chaos [--kills 30] [--freezes 5] [--brokers 5] [--guests 6] [--rate 5500] [--seed 1]`.

Two workers share 8 raw partitions and 4 domains while a feed publishes a recording by the clock until the last fault is done, and then
the rest of it. Meanwhile, side by side:

- workers are killed with SIGKILL: amid their work, right after their start, during restore, and at places inside a transaction that no
  clock could hit (`loadtest.doomed`); another is started at once;
- workers are stopped with SIGSTOP for 12 to 20 s, longer than their transactions and their membership last, and go on afterwards;
- the broker is killed with SIGKILL and started again on what it has on disk;
- guests join, and leave in good order.

Then the end of the recording is published, the rest is judged, and a process of its own (`loadtest.checker`) says what was lost or
doubled, against the generator's truth and an undisturbed replay of the same records.

The last line is `lost 0, double 0`, and the exit code 0, only when all is well. Faults are planned from the seed; what they meet is not,
since processes are really killed: what is left of a failing run can be kept with --keep DIR (which must not exist yet).
"""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import orjson

from loadtest.broker import Broker
from loadtest.field import EVENTS, PREFIX, Field, Worker
from loadtest.plan import Settings as StormSettings
from loadtest.plan import dice_for
from loadtest.play import ChaosError, judge, parse, played
from loadtest.storm import write_storm

LEAST_RATE: Final = 5_000
"""Events a second that the broker must have confirmed, on average, until the last fault."""
PARTITIONS: Final = 8
DOMAINS: Final = 4
WORKERS: Final = 2
PLACES: Final = ("offsets", "restore")
"""Where at least one kill must hit, if there are as many kills: no clock hits them, and a run that misses them shows nothing."""
MOMENTS: Final = ("offsets", "restore", "load", "load", "begin", "start", "commit", "load")
"""When workers are killed, in turns: short runs see what matters most."""
PAUSE_S: Final = (0.5, 4.0)
FROZEN_S: Final = (12.0, 20.0)
READY_S: Final = 60.0
DOOMED_S: Final = 45.0
EXIT_S: Final = 30.0
QUIET_S: Final = 120.0


class Chaos(msgspec.Struct, frozen=True):
    """What the command line asks for: numbers of faults, events a second, seconds for the faults, of load, and for all of it.

    Seconds for faults and load are as many as these need where they are 0.
    """

    kills: int = 30
    freezes: int = 5
    brokers: int = 5
    guests: int = 6
    rate: int = 5_500
    within: int = 0
    load: int = 0
    seconds: int = 1_200
    seed: int = 1
    keep: str = ""

    @property
    def faults_s(self) -> int:
        """In what time the faults are planned."""
        return self.within or 20 + max(self.kills * 9, self.freezes * 40, self.brokers * 40, self.guests * 30)

    @property
    def load_s(self) -> int:
        """How long the recording lasts by its own clock: longer than the faults, which take their time on a slow machine."""
        return self.load or 15 + self.faults_s * 8 // 5

    @property
    def storm(self) -> StormSettings:
        """A storm of this length and rate."""
        faults = max(8, self.load_s // 8)
        return StormSettings(
            events=self.load_s * self.rate,
            seed=self.seed,
            hours=self.load_s / 3_600,
            faults=faults,
            services=120,
            repeats=0.985,
            concurrency=20,
            domains=DOMAINS,
        )


class Crew:
    """The workers that should be alive, and what is done to them."""

    def __init__(self, field: Field, dice: Random) -> None:
        self._field = field
        self._dice = dice
        self._workers: list[Worker] = []
        self._moments = cycle(MOMENTS)
        self._ready_after = 2.0
        self.killed: Counter[str] = Counter()

    async def man(self) -> None:
        """Start the workers there should be, and wait until they are ready."""
        self._workers = [await self._field.worker() for _ in range(WORKERS)]
        for worker in self._workers:
            if not await worker.ready(READY_S):
                raise ChaosError(f"{worker.name} was not ready within {READY_S:.0f} s:\n{worker.said}")

    def look(self) -> None:
        """Raise ChaosError when one ended by itself."""
        for worker in self._workers:
            worker.expect_alive()

    async def dismiss(self) -> None:
        """Ask all to leave once they work, and see that they do."""
        await asyncio.gather(*(worker.ready(READY_S) for worker in self._workers))
        await asyncio.gather(*(worker.leave(EXIT_S) for worker in self._workers))
        self._workers = []

    async def _chosen(self) -> Worker:
        """Choose a worker that nothing else is done to, and keep it for us."""
        while not (free := [one for one in self._workers if not one.is_busy]):  # noqa: ASYNC110 - a few wait
            await asyncio.sleep(0.05)
        chosen = self._dice.choice(free)
        chosen.expect_alive()
        chosen.is_busy = True
        return chosen

    async def kill(self) -> str:
        """End one worker at a moment of the kind whose turn it is; answers what was hit."""
        moment = next(self._moments)
        hit = await (self._kill_at_work() if moment == "load" else self._kill_newcomer(moment))
        self.killed[hit] += 1
        return hit

    async def _kill_at_work(self) -> str:
        worker = await self._chosen()
        is_ready = await worker.ready(READY_S / 4)
        await asyncio.sleep(self._dice.uniform(*PAUSE_S))
        await worker.kill()
        self._workers.remove(worker)
        self._workers.append(await self._field.worker())
        return "load" if is_ready else "not ready"

    async def _kill_newcomer(self, moment: str) -> str:
        """Start one more worker, which ends at once, or by itself at the place."""
        doom = "" if moment == "start" else f"{moment}:{1 if moment == 'restore' else self._dice.randint(1, 30)}"
        worker = await self._field.worker(doom=doom)
        if doom:
            code = await worker.ended(DOOMED_S)
            if code == -signal.SIGKILL:
                return moment
            worker.expect_alive()
            moment = f"{moment} missed"
        else:
            await asyncio.sleep(self._dice.uniform(0.0, self._ready_after))
        await worker.kill()
        return moment

    async def freeze(self) -> str:
        """Stop a worker for longer than anybody waits for it, then let it go on."""
        worker = await self._chosen()
        await worker.ready(READY_S / 4)
        worker.signal(signal.SIGSTOP)
        seconds = self._dice.uniform(*FROZEN_S)
        await asyncio.sleep(seconds)
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(2.0)
        worker.expect_alive()
        worker.is_busy = False
        return f"{seconds:.0f} s"

    async def host(self) -> str:
        """Let a guest join, work and leave."""
        guest = await self._field.worker()
        if not await guest.ready(READY_S):
            raise ChaosError(f"{guest.name} joined and was not ready within {READY_S:.0f} s:\n{guest.said}")
        joined = time.monotonic() - guest.started
        await asyncio.sleep(self._dice.uniform(*PAUSE_S))
        await guest.leave(EXIT_S)
        return f"ready after {joined:.1f} s"


async def break_broker(field: Field, dice: Random) -> str:
    """Kill the broker, and start it again after a moment."""
    broker = field.broker
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(dice.uniform(0.0, 2.0))
    started = time.monotonic()
    await asyncio.to_thread(broker.start)
    return f"back after {time.monotonic() - started:.1f} s"


class Schedule:
    """Does faults of several kinds side by side, each kind one after the other and spread over the load."""

    def __init__(self, field: Field, crew: Crew, chaos: Chaos) -> None:
        self._field = field
        self._crew = crew
        self._chaos = chaos
        self._started = time.monotonic()

    async def run(self) -> None:
        """Do all of them."""
        chaos, crew, field = self._chaos, self._crew, self._field
        breaking = dice_for(chaos.seed, "brokers")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._series("kill", chaos.kills, crew.kill))
                group.create_task(self._series("freeze", chaos.freezes, crew.freeze))
                group.create_task(self._series("broker", chaos.brokers, lambda: break_broker(field, breaking)))
                group.create_task(self._series("guest", chaos.guests, crew.host))
        except* ChaosError as errors:
            raise ChaosError("\n".join(map(str, errors.exceptions))) from None

    async def _series(self, kind: str, of: int, fault: Callable[[], Awaitable[str]]) -> None:
        dice = dice_for(self._chaos.seed, f"times of {kind}")
        span = self._chaos.faults_s / max(of, 1)
        for number in range(1, of + 1):
            due = self._started + span * (number - 1 + dice.random() * 0.6)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            what = await fault()
            self._crew.look()
            seconds = time.monotonic() - self._started
            print(f"{seconds:6.1f} s  {kind} {number}/{of} ({what}): {self._field.load.published:,} events confirmed", flush=True)


def missed_places(killed: Mapping[str, int], kills: int) -> list[str]:
    """Name the places that none of so many kills hit, and should have."""
    return [place for place in PLACES[:kills] if not killed[place]]


def stamp(events: Path) -> None:
    """Write into each event when it was received: as late as the latest `at` so far, which is what a replay takes it for."""
    latest, stamped = 0, events.with_suffix(".stamped")
    with events.open("rb") as lines, stamped.open("wb") as out:
        for line in lines:
            event = orjson.loads(line)
            latest = max(latest, event["at"])
            event["receivedAt"] = latest
            out.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
    stamped.rename(events)


async def play(field: Field, chaos: Chaos) -> None:
    """Replay the recording undisturbed, and run it through the chaos to its end."""
    await field.replay()
    crew = Crew(field, dice_for(chaos.seed, "crew"))
    await crew.man()
    feeding = asyncio.create_task(field.feed(chaos.rate))
    try:
        await Schedule(field, crew, chaos).run()
        if feeding.done():
            feeding.result()
            raise ChaosError("the load ended before the last fault: ask for a longer one (--load SECONDS)")
        rate = field.load.published / max(field.load.seconds, 1.0)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(crew.killed.items()))
        print(f"killed: {kinds}; {rate:,.0f} events a second until the last fault", flush=True)
        if missed := missed_places(crew.killed, chaos.kills):
            raise ChaosError(f"no kill hit {' or '.join(missed)}: the places have moved (loadtest/doomed.py), or ask for more --kills")
        if rate < LEAST_RATE <= chaos.rate:
            raise ChaosError(f"the load was below {LEAST_RATE:,} events a second")
        field.feed_the_rest()
        await feeding
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    crew.look()
    await crew.dismiss()
    await field.correlator("publish", "/dev/null")
    await field.correlator("run", "--listen", "off", "--until-idle")


def run(chaos: Chaos, folder: Path) -> int:
    """Play and judge in a folder; answers the exit code."""
    started, broker = time.monotonic(), Broker(folder / "broker")
    field = Field(folder, broker, partitions=PARTITIONS)
    write_storm(chaos.storm, field.storm)
    stamp(field.storm / EVENTS)
    field.write_settings()
    broker.start()
    try:
        is_played = asyncio.run(played(play(field, chaos), seconds=chaos.seconds, end_all=field.end_all))
        print(f"{time.monotonic() - started:.0f} s", flush=True)
        return judge(f"{broker.address}/{PREFIX}", storm=field.storm, replay=field.results) if is_played else 1
    finally:
        broker.stop()


def main() -> None:
    """Play the chaos in a folder that is removed afterwards, unless --keep names one."""
    chaos = parse(Chaos, sys.argv[1:], program="loadtest.chaos", description=__doc__)
    with TemporaryDirectory(prefix="chaos-") as temporary:
        code = run(chaos, Path(chaos.keep or temporary))
    sys.exit(code)


if __name__ == "__main__":
    main()
