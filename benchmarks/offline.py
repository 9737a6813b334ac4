"""`correlator replay` beside the floor, on the same million events: `python -m benchmarks.offline [--rounds 5]`."""

import sys
import tempfile
from pathlib import Path

from benchmarks.rounds import CORRELATOR, ROOT, Target, bench_storm, last_line, options, run_rounds, table
from loadtest.plan import Settings

TARGET = Target(must=2.5, aim=1.3)


def replay(folder: Path) -> tuple[int, float]:
    """One replay in a process of its own: events and CPU seconds without start-up."""
    with tempfile.TemporaryDirectory(prefix="correlator-replay-") as out:
        parts: list[str | Path] = ["--topology", folder / "topology.yaml", "--rules", ROOT / "rules", "--out", out, "--json"]
        line = last_line([CORRELATOR, "replay", folder / "events.jsonl", *parts])
    return line["events"], line["cpu_s"]


def main() -> None:
    """Run the rounds and print the table; exits 1 when the target is missed."""
    chosen = options(__doc__ or "")
    folder = bench_storm(Settings(events=chosen.events, seed=chosen.seed))
    costs = run_rounds(chosen.rounds, folder / "events.jsonl", lambda _: replay(folder))
    print(table("replay", costs, TARGET))
    sys.exit(TARGET.exit_code(costs.median_of_ratios))


if __name__ == "__main__":
    main()
