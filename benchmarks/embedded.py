"""`correlator publish` and `run` on the embedded store, together, beside the floor: `python -m benchmarks.embedded [--rounds 5]`."""

import sys
import tempfile
from pathlib import Path

from benchmarks.rounds import CORRELATOR, Target, bench_storm, last_line, options, run_rounds, table
from loadtest.plan import Settings

TARGET = Target(must=4.0, aim=2.0)


def publish_and_run(folder: Path) -> tuple[int, float]:
    """Publish the storm into a new store, run with its topology until idle.

    Answers events read, and the CPU seconds of both programs without start-up.
    """
    own: list[str | Path] = ["--topology", folder / "topology.yaml", "--rules", "rules", "--listen", "off"]
    with tempfile.TemporaryDirectory(prefix="correlator-embedded-") as store:
        published = last_line([CORRELATOR, "publish", "--embedded", store, "--json", folder / "events.jsonl"])
        ran = last_line([CORRELATOR, "run", "--embedded", store, *own, "--until-idle", "--json"])
    return ran["events"], published["cpu_s"] + ran["cpu_s"]


def main() -> None:
    """Run the rounds and print the table; exits 1 when the target is missed."""
    chosen = options(__doc__ or "")
    folder = bench_storm(Settings(events=chosen.events, seed=chosen.seed))
    events = folder / "events.jsonl"
    costs = run_rounds(chosen.rounds, events, lambda _: publish_and_run(folder))
    print(table("embedded", costs, TARGET))
    sys.exit(TARGET.exit_code(costs.median_of_ratios))


if __name__ == "__main__":
    main()
