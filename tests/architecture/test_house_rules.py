"""The guards over this repository: what they find is a failure, with file and line."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.architecture import guards

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "correlator"
CORE = ("model", "state", "frames", "intake", "correlate")
CALENDAR = SOURCE / "model" / "calendar.py"
SUPERVISED_CATCH = SOURCE / "runtime" / "worker.py"


def _python(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def _core() -> list[Path]:
    return _python(*(SOURCE / package for package in CORE))


def _findings(check: guards.Check, paths: Iterable[Path]) -> list[str]:
    """Run a check over files and prefix each finding with its file."""
    return [f"{path.relative_to(ROOT)}:{finding}" for path in paths for finding in check(path.read_text(encoding="utf-8"))]


def _tracked() -> list[Path]:
    """List the text files that are, or are about to be, in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.split("\0") if name]
    return sorted(path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000])


def test_every_core_package_is_looked_at() -> None:
    assert [package for package in CORE if not _python(SOURCE / package)] == []


def test_the_core_knows_no_clock_and_no_chance() -> None:
    assert _findings(guards.clocks, [path for path in _core() if path != CALENDAR]) == []


def test_the_calendar_never_asks_for_today() -> None:
    assert _findings(lambda source: guards.clocks(source, is_calendar=True), [CALENDAR] if CALENDAR.exists() else []) == []


def test_the_core_does_not_touch_the_world() -> None:
    assert _findings(guards.world, _core()) == []


def test_the_core_never_iterates_a_set() -> None:
    assert _findings(guards.set_iterations, _core()) == []


def test_no_function_or_module_needs_scrolling() -> None:
    assert _findings(guards.lengths, _python(SOURCE)) == []


def test_only_the_worker_catches_everything() -> None:
    paths = _python(SOURCE, ROOT / "benchmarks", ROOT / "loadtest", ROOT / "tests")
    assert _findings(guards.blanket_catches, [path for path in paths if path != SUPERVISED_CATCH]) == []


def test_the_worker_catches_everything_in_one_place_at_most() -> None:
    found = _findings(guards.blanket_catches, [SUPERVISED_CATCH] if SUPERVISED_CATCH.exists() else [])
    assert len(found) <= 1, found


def test_no_test_sleeps() -> None:
    assert _findings(guards.sleeps, _python(ROOT / "tests")) == []


def test_no_file_names_a_machine() -> None:
    assert _findings(guards.machine_paths, _tracked()) == []


@pytest.fixture
def lint_imports() -> str:
    """The import linter that stands beside the running Python."""
    return str(Path(sys.executable).with_name("lint-imports"))


def test_the_import_contracts_hold(lint_imports: str) -> None:
    result = subprocess.run([lint_imports, "--no-logo", "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
