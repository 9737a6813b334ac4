"""`python -m tests.simulation`: run after run until the time is over, then a table of the faults that happened.

A run that breaks a law prints the command that repeats it and the fact, and ends the program with 1.
"""

import argparse
import logging
import sys
import time

from tests.simulation.faults import parse_plan, table
from tests.simulation.runs import Runs, told


def main() -> int:
    """Parse, run, report."""
    options = _options()
    logging.getLogger("correlator").setLevel(logging.CRITICAL)  # each fault is told by whoever met it: thousands of lines
    plan = parse_plan(options.plan) if options.plan is not None else None
    started, runs = time.monotonic(), Runs()
    most = options.runs if options.runs is not None else 1 if plan is not None else sys.maxsize
    for seed in range(options.seed, options.seed + most):
        if time.monotonic() - started >= options.seconds:
            break
        failure = runs.one(seed, plan)
        if failure is not None:
            print(told(failure))
            if not options.keep_going:
                return 1
    print(table(runs.counts))
    print(f"\n{runs.number} runs, {sum(runs.counts.values())} faults, the rarest {runs.rarest} times, {runs.failed} broken laws")
    return 1 if runs.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each run takes the next")
    parser.add_argument("--seconds", type=float, default=120, help="begin no run after so many seconds")
    parser.add_argument("--runs", type=int, help="so many runs at most")
    parser.add_argument("--plan", help="the faults of the run, instead of those of its seed: stage.call.kind in order")
    parser.add_argument("--keep-going", action="store_true", help="go on after a broken law")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
