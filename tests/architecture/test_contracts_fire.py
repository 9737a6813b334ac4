"""Every import contract of pyproject.toml is broken once, in a skeleton of the packages, to see it fire."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("model", "state", "frames", "intake", "correlate", "config", "explain", "runtime", "cli")


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Lay out the packages, empty, beside this project's own contracts; two stages among them."""
    for package in ("", *PACKAGES):
        folder = tmp_path / "correlator" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    for module in (
        "correlate/machine.py",
        "correlate/group.py",
        "correlate/diagnose.py",
        "correlate/incidents.py",
        "intake/pipeline.py",
        "intake/collapse.py",
        "model/calendar.py",
    ):
        (tmp_path / "correlator" / module).touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def _lint(folder: Path) -> str:
    """Run the import linter over a skeleton and return its report, one `NAME KEPT|BROKEN` a contract."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("model/alert.py", "import correlator.state", "Imports go one way"),
        ("frames/codec.py", "import correlator.state", "Imports go one way"),
        ("intake/route.py", "import correlator.correlate", "Imports go one way"),
        ("correlate/group.py", "import correlator.config", "Imports go one way"),
        ("runtime/worker.py", "import correlator.cli", "Imports go one way"),
        ("explain/tree.py", "import correlator.runtime", "Imports go one way"),
        ("state/expiring.py", "from time import monotonic", "The core does no I/O and knows no clock"),
        ("frames/codec.py", "import io", "The core does no I/O and knows no clock"),
        ("intake/route.py", "import logging", "The core does no I/O and knows no clock"),
        ("correlate/group.py", "import datetime", "Dates and zones live in the calendar alone"),
        ("correlate/group.py", "import correlator.correlate.incidents", "No stage imports another"),
        ("correlate/group.py", "import correlator.correlate.machine", "No stage imports another"),
        ("intake/route.py", "import correlator.intake.collapse", "No stage imports another"),
        ("intake/route.py", "import correlator.intake.pipeline", "No stage imports another"),
    ],
)
def test_a_wrong_import_breaks_its_contract(skeleton: Path, *, module: str, line: str, contract: str) -> None:
    (skeleton / "correlator" / module).write_text(line + "\n", encoding="utf-8")
    assert f"{contract} BROKEN" in _lint(skeleton)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("model/calendar.py", "import datetime, zoneinfo"),
        ("correlate/machine.py", "import correlator.correlate.group, correlator.correlate.diagnose"),
        ("runtime/worker.py", "import time, asyncio, correlator.intake, correlator.correlate, correlator.config"),
    ],
)
def test_a_right_import_keeps_all_contracts(skeleton: Path, *, module: str, line: str) -> None:
    (skeleton / "correlator" / module).write_text(line + "\n", encoding="utf-8")
    report = _lint(skeleton)
    assert " KEPT" in report
    assert "BROKEN" not in report
