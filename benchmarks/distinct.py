"""The worst case: every event is an alert never seen before: `python -m benchmarks.distinct [--rounds 3] [--embedded]`.

A million alerts in 1,000 faults, each on an island of five services that depend on one another, over ten minutes: nothing repeats and
nothing resolves. One worker process reads them from Kafka and writes alerts, incidents, decisions, checkpoints and positions, exactly
once; CPU of that process alone counts, without start-up. With --embedded it reads the embedded log.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import orjson

from benchmarks.brokers import a_broker, an_application
from benchmarks.rounds import CORRELATOR, Target, last_line, parser

TARGET = Target(must=30.0, aim=18.0)
FAULTS = 1_000
CHAIN = ("web", "api", "engine", "cache", "db")
CONDITIONS = 10
START = 1_767_571_200_000
SPAN_MS = 600_000
FAULT_MS = 30_000


def write_topology(path: Path, *, split_by: tuple[str, ...] = ()) -> None:
    """Write islands: each service depends on the next of its chain. The graph stands once for each value of the labels `split_by`."""
    services = {}
    for fault in range(FAULTS):
        names = [f"isle{fault:04d}-{role}" for role in CHAIN]
        for name, below in zip(names, [*names[1:], None], strict=True):
            services[name] = {"owner": f"team-{fault % 50}", "tier": 1 + fault % 3, "depends_on": [below] if below else []}
    path.write_bytes(orjson.dumps({"split_by": split_by, "services": services}))  # JSON is YAML


def events(count: int) -> Iterator[bytes]:
    """Yield firing events in order of time, a new alert each; those of a fault come within half a minute, amid those of others."""
    each = count // FAULTS
    order = [(_at(fault, number, each=each), fault, number) for fault in range(FAULTS) for number in range(each)]
    order.sort()
    for at, fault, number in order:
        service = f"isle{fault:04d}-{CHAIN[-1 - number % len(CHAIN)]}"
        condition, pod = number // len(CHAIN) % CONDITIONS, number // len(CHAIN) // CONDITIONS
        labels = {
            "alertname": f"Condition{condition:02d}",
            "service": service,
            "severity": "critical" if condition == 0 else "warning",
            "host": f"node-{(fault * 7 + pod) % 500:03d}",
            "cluster": f"eu-{fault % 4}",
            "pod": f"{service}-{pod:03d}",
        }
        annotations = {
            "summary": f"Condition{condition:02d} on {service}",
            "description": f"now {number * 7919 % 100_003}, sample {number}",
        }
        yield orjson.dumps({"at": at, "status": "firing", "labels": labels, "annotations": annotations, "source": f"prom-{fault % 5}"})


def _at(fault: int, number: int, *, each: int) -> int:
    return START + fault * (SPAN_MS - FAULT_MS) // FAULTS + number * FAULT_MS // each


@contextmanager
def on_kafka(recording: Path, topology: Path) -> Iterator[Callable[[int], float]]:
    """Answer what runs one round on Kafka."""
    with a_broker() as broker:

        def ours(number: int) -> float:
            application = an_application(broker, f"round-{number}")
            application.publish(recording)
            return float(application.run_until_idle(topology)["cpu_s"])

        yield ours


@contextmanager
def on_embedded(recording: Path, topology: Path) -> Iterator[Callable[[int], float]]:
    """Answer what runs one round on the embedded log."""

    def ours(_: int) -> float:
        with tempfile.TemporaryDirectory(prefix="correlator-distinct-") as store:
            last_line([CORRELATOR, "publish", "--embedded", store, "--json", recording])
            shown: list[str | Path] = ["--topology", topology, "--rules", "rules", "--listen", "off"]
            return float(last_line([CORRELATOR, "run", "--embedded", store, *shown, "--until-idle", "--json"])["cpu_s"])

    yield ours


def main() -> None:
    """Run the rounds and print their median; exits 1 when the target is missed."""
    command = parser(__doc__ or "", rounds=3)
    command.add_argument("--embedded", action="store_true", help="on the embedded log instead of Kafka")
    command.add_argument("--write", type=Path, metavar="DIR", help="only write the recording and its topology")
    chosen = command.parse_args()
    with tempfile.TemporaryDirectory(prefix="correlator-bench-") as temporary:
        folder = chosen.write or Path(temporary)
        recording, topology = folder / "events.jsonl", folder / "topology.yaml"
        write_topology(topology)
        with recording.open("wb") as file:
            file.writelines(line + b"\n" for line in events(chosen.events))
        if chosen.write:
            return
        costs = []
        with (on_embedded if chosen.embedded else on_kafka)(recording, topology) as ours:
            for number in range(chosen.rounds):
                costs.append(ours(number) / chosen.events * 1e6)
                print(f"round {number + 1}: {costs[-1]:.2f} CPU-s per 1 M", file=sys.stderr)
    figure = median(costs)
    print(f"{chosen.events:,} distinct alerts in {FAULTS:,} faults: {figure:.1f} CPU-s per 1 M, median of {len(costs)}")
    print(f"must {TARGET.must:.0f}   aim {TARGET.aim:.0f}   {TARGET.verdict(figure)}")
    sys.exit(TARGET.exit_code(figure))


if __name__ == "__main__":
    main()
