"""The supervisor of `run --workers N`: starts processes, starts them again, and knows how they are.

It works on nothing itself: what a worker leaves undone, another takes over, and it starts with what the log says. A worker tells on its
standard output what keeps it from being ready, a line whenever that changes and every other second; its standard input is a pipe that
nobody writes to, whose end tells it that the supervisor is gone.
"""

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from correlator.runtime.counting import FOLDER, forget_gauges
from correlator.runtime.http import STARTING, Readiness
from correlator.runtime.worker import BACK_OFF_S

STOP_PATIENCE_S: Final = 8.0
"""A worker that takes longer to stop is killed: that does no harm."""
TOLD_EVERY_S: Final = 0.1
REASONS_MOST: Final = 20
"""A worker tells so many reasons at most: asyncio reads no line beyond 64 KiB."""
REPEATED_EVERY_S: Final = 2.0
SILENT_S: Final = 10.0
"""A worker that has said nothing for so long does not work: it is frozen, or gets no time."""
GIVES_UP: Final = 2
"""The exit code of a worker that has said what a person must do."""
_logger: Final = logging.getLogger(__name__)
_REASONS: Final = msgspec.json.Decoder(list[str])


class WorkersStoppedError(Exception):
    """A worker ended for a reason that another attempt would meet again; it has said which."""


class Supervisor:
    """Keeps `count` workers running, each started by `command` with its number behind it; `folder` is for what they count."""

    def __init__(self, command: Sequence[str], count: int, *, folder: Path, readiness: Readiness) -> None:
        self._command = command
        self._has_end = "--until-idle" in command
        self._count = count
        self._folder = folder
        self._readiness = readiness
        self._running: dict[int, Process] = {}
        self.pids: dict[int, int] = {}
        """The process of each worker that runs."""
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Keep the workers running until `stop` is set, or all have ended with `--until-idle`. Raises WorkersStoppedError."""
        for worker in range(self._count):
            self._readiness.not_ready(_condition(worker), f"worker {worker}: {STARTING}")
        self._readiness.ready(STARTING)
        keeping = [asyncio.create_task(self._keep(worker)) for worker in range(self._count)]
        stopping = asyncio.create_task(self.stop.wait())
        kept = asyncio.gather(*keeping)
        try:
            await asyncio.wait((kept, stopping), return_when=asyncio.FIRST_COMPLETED)
            self._readiness.not_ready("stop", "stopping")
            if self.stop.is_set():
                _logger.info("told to stop; the workers are stopped too")
            if kept.done():
                kept.result()
        finally:
            stopping.cancel()
            self.stop.set()
            await self._end_all(keeping)
            await asyncio.gather(kept, stopping, return_exceptions=True)

    async def _keep(self, worker: int) -> None:
        """Start a worker again and again, until all is judged if that is the end, or it must not be started again."""
        failures = 0
        while not self.stop.is_set():
            began = time.monotonic()
            code = await self._live(worker)
            if self.stop.is_set() or (code == 0 and self._has_end):
                return
            if code == GIVES_UP:
                raise WorkersStoppedError(f"worker {worker} stopped and said why, and all were stopped")
            failures = failures + 1 if time.monotonic() - began < BACK_OFF_S[-1] else 1
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
            _logger.warning("worker %d ended %s; it is started again in %s s", worker, _told(code), pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.stop.wait()

    async def _live(self, worker: int) -> int:
        """Start a worker, listen to it and wait for its end; answer the exit code."""
        environment = {**os.environ, FOLDER: str(self._folder)}
        process = await asyncio.create_subprocess_exec(*self._command, str(worker), stdin=PIPE, stdout=PIPE, env=environment)
        self._running[worker], self.pids[worker] = process, process.pid
        _logger.info("worker %d is process %d", worker, process.pid)
        try:
            await self._listen(worker, process)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            del self._running[worker], self.pids[worker]
            forget_gauges(self._folder, worker)
            self._readiness.not_ready(_condition(worker), f"worker {worker}: {STARTING}")

    async def _listen(self, worker: int, process: Process) -> None:
        assert process.stdout is not None, "started with a pipe"
        line = await process.stdout.readline()
        while line:
            reasons = _REASONS.decode(line)
            if reasons:
                self._readiness.not_ready(_condition(worker), f"worker {worker}: {'; '.join(reasons)}")
            else:
                self._readiness.ready(_condition(worker))
            line = await self._next_line(worker, process.stdout)

    async def _next_line(self, worker: int, said: asyncio.StreamReader) -> bytes:
        """Wait for a worker's next line, and do not take its last word for true for ever."""
        reading = asyncio.ensure_future(said.readline())
        try:
            await asyncio.wait((reading,), timeout=SILENT_S)
            if not reading.done():
                told = f"worker {worker}: it has said nothing for {SILENT_S:g} s, process {self.pids[worker]} is frozen or gets no time"
                self._readiness.not_ready(_condition(worker), told)
                _logger.warning("%s; kill it, and it is started again", told)
            return await reading
        finally:
            reading.cancel()

    async def _end_all(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        """Ask all to stop, and end those that do not; nothing is started again."""
        for process in self._running.values():
            process.terminate()
        _, late = await asyncio.wait(keeping, timeout=STOP_PATIENCE_S if self._running else 0)
        for process in self._running.values():
            _logger.warning("a worker did not stop within %s s and is killed", STOP_PATIENCE_S)
            process.kill()
        for task in late:
            task.cancel()


async def tell_supervisor(readiness: Readiness, stop: asyncio.Event) -> None:
    """Tell the supervisor what keeps this worker from being ready, as it changes; stop when the supervisor is gone."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _on_input, stop)
    told: list[str] | None = None
    until = 0.0
    while True:
        reasons = shortened(readiness.reasons)
        if reasons != told or time.monotonic() >= until:
            told, until = reasons, time.monotonic() + REPEATED_EVERY_S
            sys.stdout.write(msgspec.json.encode(reasons).decode() + "\n")
            sys.stdout.flush()
        await asyncio.sleep(TOLD_EVERY_S)


def shortened(reasons: Sequence[str]) -> list[str]:
    """Leave reasons out where there are too many for a line, and say how many."""
    left_out = len(reasons) - REASONS_MOST
    return [*reasons[:REASONS_MOST], *([f"and {left_out} more"] if left_out > 0 else [])]


def _on_input(stop: asyncio.Event) -> None:
    """Nobody writes to us: this is the end of the supervisor."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    if not stop.is_set():
        _logger.warning("the supervisor is gone; stopping")
    stop.set()


def _condition(worker: int) -> str:
    return f"worker {worker}"


def _told(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with code {code}"
