"""The chaos run on a real broker, short: what `make chaos` does for twenty minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "night", reason="minutes long, only at night")
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("broker")  # says why where no broker can be had; the run has one of its own
def test_kills_a_freeze_and_a_broken_broker_lose_and_double_nothing(tmp_path: Path) -> None:
    options = ("--kills", "3", "--freezes", "1", "--brokers", "1", "--guests", "1", "--rate", "2000", "--load", "90")
    command = [sys.executable, "-m", "loadtest.chaos", *options, "--seconds", "250", "--keep", str(tmp_path / "chaos")]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "lost 0, double 0"), ended.stdout + ended.stderr
