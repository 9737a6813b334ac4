"""The program as a process of its own, run to its end or kept running while a test talks to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO

CORRELATOR = str(Path(sys.executable).with_name("correlator"))
LONGEST_S = 50


class Ended(subprocess.CompletedProcess[str]):
    """How a process ended: `returncode`, `stdout` and `stderr`."""


def correlator(*arguments: object, given: str = "", file_blocks: int | None = None, cwd: Path | None = None) -> Ended:
    """Run the program to its end; `file_blocks` is the largest file that it may write, in blocks of 512 bytes."""
    command = [CORRELATOR, *map(str, arguments)]
    if file_blocks is not None:
        command = ["/bin/sh", "-c", f'ulimit -f {file_blocks}; exec "$@"', "sh", *command]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, input=given, cwd=cwd, timeout=LONGEST_S)
    return Ended(ended.args, ended.returncode, ended.stdout, ended.stderr)


_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], check=False, stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
"""A small process in between: a child of ours would begin with the peak of the test run, since it is forked from it."""


def peak_kib(*arguments: object, given: Path | None = None, cwd: Path | None = None) -> int:
    """Run the program to its end, with a file as standard input; answer its largest resident size in KiB."""
    command = [sys.executable, "-c", _MEASURED, CORRELATOR, *map(str, arguments)]
    with Path(given or os.devnull).open("rb") as events:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, stdin=events, cwd=cwd)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return int(ended.stdout)


class Running:
    """A service that runs; its standard error is read all the time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stderr is not None, "started with a pipe"
        self._lines = _Lines(process.stderr)

    def until(self, words: str) -> str:
        """Wait until a line with these words was said, and answer it; fails when the process ends without."""
        for line in self._lines:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"ended without saying '{words}': {''.join(self.said)}")

    def ends(self) -> int:
        """Wait for the end, and answer the exit code; what was said is in `said`."""
        self.said.extend(self._lines)
        return self.process.wait(timeout=LONGEST_S)

    def stopped(self) -> tuple[int, float]:
        """Stop it as a service manager does; answer the exit code and how many seconds it took."""
        started = monotonic()
        self.process.terminate()
        return self.ends(), monotonic() - started


class _Lines:
    """Lines of a pipe, one after the other; the end of the process ends them."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe

    def __iter__(self) -> Iterator[str]:
        while line := self._pipe.readline():
            yield line


@contextmanager
def running(log: Path, *options: object, longest_s: float = LONGEST_S) -> Iterator[Running]:
    """Run the service on a log, so long at most; whatever happens, it is gone afterwards."""
    command = [CORRELATOR, "run", "--embedded", str(log), *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        killer = Thread(target=_kill_late, args=(process, longest_s), daemon=True)
        killer.start()
        try:
            yield Running(process)
        finally:
            process.kill()


def _kill_late(process: subprocess.Popen[str], longest_s: float) -> None:
    """End a service that hangs, so that a test which waits for its words fails instead of hanging too."""
    try:
        process.wait(timeout=longest_s)
    except subprocess.TimeoutExpired:
        process.kill()
