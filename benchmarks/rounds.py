"""What the benchmarks share: the storm, fresh processes run in turn with the floor, and the table of the outcome."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import orjson

from loadtest import landscape, plan, storm
from loadtest.plan import Settings
from loadtest.storm import write_storm

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"
CORRELATOR = Path(sys.executable).with_name("correlator")
Line = dict[str, Any]


class Target(msgspec.Struct, frozen=True):
    """A figure of which less is better (CPU as a multiple of the floor's, bytes, seconds): what must hold, and what is aimed at."""

    must: float
    aim: float

    def verdict(self, figure: float) -> str:
        """Where a figure stands."""
        if figure <= self.aim:
            return "aim met"
        return "must met" if figure <= self.must else "MISSED"

    def exit_code(self, figure: float) -> int:
        """What a benchmark ends with: 1 when the figure misses what must hold, not a number included."""
        return 0 if figure <= self.must else 1


class Costs(msgspec.Struct, frozen=True):
    """CPU seconds for a million events, a round each; the two of a round ran one after the other."""

    floor: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio_of_medians(self) -> float:
        """Median of ours over the median of the floor."""
        return median(self.ours) / median(self.floor)

    @property
    def median_of_ratios(self) -> float:
        """Median of the ratios of the rounds: steadier on a machine whose speed drifts."""
        return median(ours / floor for ours, floor in zip(self.ours, self.floor, strict=True))


def bench_storm(settings: Settings) -> Path:
    """The folder of the storm, generated when there is none of these settings by this version of the generator."""
    digest = sha256(msgspec.json.encode(settings))
    for module in (landscape, plan, storm):
        digest.update(Path(str(module.__file__)).read_bytes())
    folder = CACHE / f"storm-{settings.events}-{settings.seed}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_storm(settings, unfinished, tell=lambda line: print(line, file=sys.stderr))
        unfinished.rename(folder)
    return folder


def last_line(command: list[str | Path]) -> Line:
    """Run a program and parse the last line that it prints; its complaints go to standard error. Raises SystemExit when it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise SystemExit(f"exit {done.returncode} of: {' '.join(str(part) for part in command)}")
    found: Line = orjson.loads(lines[-1])
    return found


def floor_line(events: Path) -> Line:
    """One run of the floor in a process of its own."""
    return last_line([sys.executable, "-m", "benchmarks.floor", events])


def run_rounds(rounds: int, events: Path, ours: Callable[[int], tuple[int, float]]) -> Costs:
    """Run the floor over a file and ours in turn; see `floor_rounds`."""

    def floor(_: int) -> tuple[int, float]:
        line = floor_line(events)
        return line["events"], line["cpu_s"]

    return floor_rounds(rounds, floor, ours)


def floor_rounds(rounds: int, floor: Callable[[int], tuple[int, float]], ours: Callable[[int], tuple[int, float]]) -> Costs:
    """Run a floor and ours in turn; both take the number of the round and return their events and CPU seconds."""
    floor_costs, our_costs = list[float](), list[float]()
    for number in range(rounds):
        taken, floor_s = floor(number)
        count, cpu_s = ours(number)
        if count != taken:
            raise SystemExit(f"the floor took {taken} events, we took {count}: the figures would not compare")
        floor_costs.append(floor_s / count * 1e6)
        our_costs.append(cpu_s / count * 1e6)
        print(f"round {number + 1}: floor {floor_costs[-1]:.2f}, ours {our_costs[-1]:.2f} CPU-s per 1 M", file=sys.stderr)
    return Costs(floor=tuple(floor_costs), ours=tuple(our_costs))


def table(name: str, costs: Costs, target: Target) -> str:
    """The outcome as text."""
    rows = [f"{'CPU-s per 1 M':<16}{'floor':>8}{name:>12}{'ratio':>8}"]
    for number, (floor, ours) in enumerate(zip(costs.floor, costs.ours, strict=True), 1):
        rows.append(f"{f'round {number}':<16}{floor:>8.2f}{ours:>12.2f}{ours / floor:>8.2f}")
    rows.append(f"{'median':<16}{median(costs.floor):>8.2f}{median(costs.ours):>12.2f}{costs.ratio_of_medians:>8.2f}")
    ratio = costs.median_of_ratios
    rows.append(f"median of ratios {ratio:.2f}x   must {target.must}x   aim {target.aim}x   {target.verdict(ratio)}")
    return "\n".join(rows)


def options(description: str) -> argparse.Namespace:
    """Read the command line that the benchmarks share."""
    return parser(description).parse_args()


def parser(description: str, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Make the parser of that command line, to be added to: events, seed, rounds."""
    command = argparse.ArgumentParser(description=description)
    command.add_argument("--events", type=int, default=1_000_000)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--rounds", type=int, default=rounds)
    return command
