"""Memory does not grow with the input; long, so only at night (HYPOTHESIS_PROFILE=night)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.program import CORRELATOR

START = 1_767_571_200_000
SERIES = 2_000
SMALL_BYTES, LARGE_BYTES = 5_000_000, 200_000_000
GROWTH_KIB_MOST = 60 * 1024

pytestmark = [
    pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "night", reason="only at night"),
    pytest.mark.timeout(900),
]


def feed(pipe: int, total: int) -> None:
    """Write events of some thousand alerts that fire and resolve again and again, about so many bytes."""
    written = number = 0
    while written < total:
        lines = []
        for _ in range(SERIES):
            status = "resolved" if number // SERIES % 40 == 39 else "firing"
            labels = f'{{"alertname":"A{number % 7}","service":"s{number % 50}","host":"node-{number % SERIES}","severity":"warning"}}'
            said = f'"at":{START + number * 15},"status":"{status}","id":"{number}"'
            lines.append(f'{{{said},"labels":{labels},"annotations":{{"text":"{number:0200d}"}}}}\n')
            number += 1
        written += os.write(pipe, "".join(lines).encode())


def peak_kib(arguments: list[str], total: int, folder: Path) -> int:
    """Run a command on so many bytes of standard input; answer its largest resident size in KiB."""
    reading, writing = os.pipe()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([CORRELATOR, *arguments], stdin=reading, stdout=output, stderr=subprocess.PIPE, cwd=folder)
    os.close(reading)
    with os.fdopen(writing, "wb"):
        feed(writing, total)
    assert process.stderr is not None, "started with a pipe"
    errors = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, errors.decode()
    return usage.ru_maxrss


@pytest.mark.parametrize("arguments", [["parse", "-"], ["publish", "--embedded", "log", "-"], ["replay", "-", "--out", "out"]], ids=str)
def test_forty_times_the_input_needs_no_more_memory(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    small = peak_kib(arguments, SMALL_BYTES, tmp_path / "small")
    large = peak_kib(arguments, LARGE_BYTES, tmp_path / "large")
    assert large - small < GROWTH_KIB_MOST
