"""Two workers against one: `python -m benchmarks.workers [--rounds 3]`.

The bench storm over 8 raw partitions and 4 domains of about equal load, judged by one worker process and by two that share it, in turn.
What counts is the CPU of both together as a multiple of one's, start-up left out, and that each does its part of the records.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
import orjson

from benchmarks.brokers import Application, a_broker, an_application
from benchmarks.rounds import CORRELATOR, ROOT, Target, bench_storm, parser
from loadtest.plan import Settings

TARGET = Target(must=1.15, aim=1.05)
FAIR = (0.4, 0.6)
PARTITIONS, DOMAINS = 8, 4


class Work(msgspec.Struct, frozen=True):
    """What the workers of one round did; the shares are the first one's of all records, in taking them in and in judging them."""

    cpu_s: float
    wall_s: float
    events: int
    share: float
    judged_share: float


def work(application: Application, topology: Path, *, workers: int) -> Work:
    """Run so many workers until all is judged: every one of them ends by itself then."""
    command = [CORRELATOR, "run", "--config", application.settings, "--topology", topology, "--listen", "off", "--until-idle", "--json"]
    started = time.perf_counter()
    running = [subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE) for _ in range(workers)]
    try:
        lines = [orjson.loads(_output(process)) for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
    events, judged = [[line[kind] for line in lines] for kind in ("events", "judged")]
    cpu_s, wall_s = sum(line["cpu_s"] for line in lines), time.perf_counter() - started
    return Work(cpu_s, wall_s, sum(events), _first_of(events), _first_of(judged))


def _first_of(counts: Sequence[int]) -> float:
    return counts[0] / max(sum(counts), 1)


def _output(process: subprocess.Popen[bytes]) -> bytes:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a worker ended with code {process.returncode}")
    return output.splitlines()[-1]


def report(ones: Sequence[Work], twos: Sequence[Work]) -> float:
    """Print the rounds; answers the median of the ratios."""
    print(f"{'':<10}{'one, CPU-s':>12}{'two, CPU-s':>12}{'ratio':>8}{'wall':>8}{'share':>8}{'judged':>8}")
    for number, (one, two) in enumerate(zip(ones, twos, strict=True), 1):
        ratios = f"{two.cpu_s / one.cpu_s:>8.2f}{two.wall_s / one.wall_s:>8.2f}{two.share:>8.0%}{two.judged_share:>8.0%}"
        print(f"{f'round {number}':<10}{one.cpu_s:>12.2f}{two.cpu_s:>12.2f}{ratios}")
    return median(two.cpu_s / one.cpu_s for one, two in zip(ones, twos, strict=True))


def main() -> None:
    """Run the rounds and print them; exits 1 when two cost too much more, or share unfairly."""
    chosen = parser(__doc__ or "", rounds=3).parse_args()
    folder = bench_storm(Settings(events=chosen.events, seed=chosen.seed, domains=DOMAINS))
    ones, twos = list[Work](), list[Work]()
    with a_broker() as broker:
        for number in range(chosen.rounds):
            for workers, done in ((1, ones), (2, twos)):
                application = an_application(broker, f"round-{number}-{workers}", partitions=PARTITIONS)
                application.publish(folder / "events.jsonl")
                done.append(work(application, folder / "topology.yaml", workers=workers))
            if ones[-1].events != twos[-1].events:
                raise SystemExit(f"one took {ones[-1].events} events, two took {twos[-1].events}: the figures would not compare")
    ratio = report(ones, twos)
    shares = {"intake": median(two.share for two in twos), "judging": median(two.judged_share for two in twos)}
    print(f"median of ratios {ratio:.2f}x   must {TARGET.must}x   aim {TARGET.aim}x   {TARGET.verdict(ratio)}")
    is_fair = all(FAIR[0] <= share <= FAIR[1] for share in shares.values())
    for name, share in shares.items():
        verdict = "met" if FAIR[0] <= share <= FAIR[1] else "MISSED"
        print(f"share of the first in {name} {share:.0%}   must {FAIR[0]:.0%} to {FAIR[1]:.0%}   {verdict}")
    sys.exit(TARGET.exit_code(ratio) or int(not is_fair))


if __name__ == "__main__":
    main()
