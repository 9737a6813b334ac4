"""The gate on branch coverage falls when it should."""

from typing import Any

import pytest

from tests.architecture.branches import PACKAGES, shortfalls


def a_report(**covered: int) -> dict[str, Any]:
    """Make a report of 100 branches a package, all taken but in those named."""
    packages = dict.fromkeys(PACKAGES, 100) | covered
    return {"files": {f"src/correlator/{name}/one.py": a_file(taken) for name, taken in packages.items()}}


def a_file(taken: int) -> dict[str, Any]:
    return {"summary": {"num_branches": 100, "covered_branches": taken}}


def test_at_exactly_the_floor_the_gate_is_open() -> None:
    assert shortfalls(a_report(state=95)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_below_the_floor_each_package_is_named(package: str) -> None:
    assert shortfalls(a_report(**{package: 94})) == [f"{package}: 94 of 100 branches covered, 94.0 %: at least 95 % are asked"]


def test_a_package_that_was_not_measured_falls_short() -> None:
    report = a_report()
    del report["files"]["src/correlator/frames/one.py"]
    assert [line.split(":")[0] for line in shortfalls(report)] == ["frames"]


def test_a_folder_within_a_package_counts_with_it() -> None:
    report = a_report()
    report["files"]["src/correlator/intake/formats/one.py"] = a_file(0)
    assert [line.split(":")[0] for line in shortfalls(report)] == ["intake"]
