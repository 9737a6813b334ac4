"""The gate on branch coverage: `python -m tests.architecture.branches REPORT` reads coverage's JSON and exits 1 below the floor.

Branches alone are counted, package by package: lines would hide them, and a large package would hide a small one.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

FLOOR: Final = 95.0
"""Per cent of the branches of each package."""
PACKAGES: Final = ("model", "state", "frames", "intake", "correlate")


def shortfalls(report: dict[str, Any]) -> list[str]:
    """Answer a line for each package of the core that falls short, or that the report knows no branch of."""
    there, taken = Counter[str](), Counter[str]()
    for path, measured in report["files"].items():
        parts = Path(path).parts
        package = parts[parts.index("correlator") + 1]
        there[package] += measured["summary"]["num_branches"]
        taken[package] += measured["summary"]["covered_branches"]
    lines = []
    for package in PACKAGES:
        share = 100 * taken[package] / there[package] if there[package] else 0.0
        if share < FLOOR:
            lines.append(
                f"{package}: {taken[package]} of {there[package]} branches covered, {share:.1f} %: at least {FLOOR:.0f} % are asked"
            )
    return lines


def summary(report: dict[str, Any]) -> str:
    """Write the total on one line."""
    totals = report["totals"]
    return f"{totals['covered_branches']} of {totals['num_branches']} branches covered, {totals['percent_branches_covered']:.1f} %"


def main() -> None:
    """Judge the report that the command line names."""
    report = msgspec.json.decode(Path(sys.argv[1]).read_bytes())
    lines = shortfalls(report)
    print("\n".join([*lines, summary(report)]))
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
