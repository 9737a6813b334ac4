"""The chaos run on a real broker, short: what `make chaos` does for many minutes."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtest.chaos import missed_places

ROOT = Path(__file__).parents[2]
_TOLD_MOST = 2_000
FAULTS = ("--kills", "4", "--freezes", "1", "--brokers", "1", "--guests", "1", "--within", "25")
"""Of the kills one lies between positions and the end of their transaction, and one amid a restore."""


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("broker")  # says why where no broker can be had; the run has one of its own
def test_kills_a_freeze_and_a_broken_broker_lose_and_double_nothing(tmp_path: Path) -> None:
    load = ("--rate", "1000", "--load", "75", "--seconds", "240", "--keep", str(tmp_path / "chaos"))
    command = [sys.executable, "-m", "loadtest.chaos", *FAULTS, *load]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    said = ended.stdout.splitlines()
    assert (ended.returncode, said[-1]) == (0, "lost 0, double 0"), (ended.stdout + ended.stderr)[-_TOLD_MOST:]
    killed = next(line for line in said if line.startswith("killed: "))
    assert "1 offsets, 1 restore" in killed, killed


@pytest.mark.parametrize(
    ("killed", "kills", "missed"),
    [
        ({"offsets": 1, "restore": 1, "load": 2}, 4, []),
        ({"offsets": 1, "restore missed": 1, "load": 2}, 4, ["restore"]),
        ({"load": 4}, 4, ["offsets", "restore"]),
        ({"offsets": 1}, 1, []),
        ({}, 0, []),
    ],
)
def test_a_run_whose_kills_missed_a_place_is_known(killed: dict[str, int], kills: int, missed: list[str]) -> None:
    assert missed_places(Counter(killed), kills) == missed
