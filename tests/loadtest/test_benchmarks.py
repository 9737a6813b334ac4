"""The benchmarks bite: a figure that misses what must hold ends them with exit code 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rounds import Target

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("figure", "word", "code"),
    [(1.0, "aim met", 0), (1.5, "must met", 0), (2.0, "must met", 0), (2.01, "MISSED", 1), (float("nan"), "MISSED", 1)],
)
def test_a_missed_must_fails(figure: float, word: str, code: int) -> None:
    target = Target(must=2.0, aim=1.0)
    assert (target.verdict(figure), target.exit_code(figure)) == (word, code)


def test_make_bench_runs_all_and_fails_at_the_end(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nshift\necho "$@"\n[ "$1" != benchmarks.offline ]\n', encoding="utf-8")
    python.chmod(0o755)
    command = ["make", "--no-print-directory", "bench", f"PYTHON={python}", f"STAMP={python}", "-o", str(python)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    names = ("offline", "embedded", "memory", "restore", "restore --kafka", "kafka", "distinct", "workers", "latency")
    assert ended.stdout.splitlines() == [f"benchmarks.{name}" for name in names]
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (2, "missed: offline")


def test_the_restore_benchmark_writes_by_the_service_and_restores_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "benchmarks.restore", "--alerts", "20000", "--updates", "60000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert ended.returncode == 0, ended.stderr
    updated, restored = ended.stdout.splitlines()
    assert int(updated.split()[0].replace(",", "")) >= 60_000
    assert restored.startswith("20,000 alerts restored in ")
