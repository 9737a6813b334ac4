"""The supervisor over processes that are no workers: which it starts again, what it takes for ready, and how it ends."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.runtime import supervisor as module
from correlator.runtime.http import Readiness
from correlator.runtime.supervisor import REASONS_MOST, STOP_PATIENCE_S, Supervisor, shortened, tell_supervisor

_LINE_MOST = 64 * 1024
READY: Final = """
import select, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    print("[]", flush=True)
    select.select([], [], [], 0.05)
"""
"""A worker that is ready, and ends well when it is told to."""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(os.sched_yield)


@asynccontextmanager
async def supervised(folder: Path, *options: str) -> AsyncIterator[tuple[Supervisor, Readiness]]:
    """Supervise one process that says that it is ready."""
    readiness = Readiness()
    supervisor = Supervisor((sys.executable, "-c", READY, *options), 1, folder=folder, readiness=readiness)
    running = asyncio.create_task(supervisor.run())
    try:
        await until(lambda: readiness.is_ready)
        yield supervisor, readiness
    finally:
        supervisor.stop.set()
        await running


async def test_a_worker_that_somebody_else_told_to_stop_is_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (supervisor, readiness):
        first = supervisor.pids[0]
        os.kill(first, signal.SIGTERM)
        await until(lambda: supervisor.pids.get(0, first) != first)
        await until(lambda: readiness.is_ready)


async def test_a_worker_that_has_judged_all_there_is_is_not_started_again(tmp_path: Path) -> None:
    async with supervised(tmp_path, "--until-idle") as (supervisor, readiness):
        os.kill(supervisor.pids[0], signal.SIGTERM)
        await until(lambda: "stopping" in readiness.reasons)
        assert not supervisor.pids


async def test_a_worker_that_says_nothing_any_more_is_not_ready_until_it_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.5)
    async with supervised(tmp_path) as (supervisor, readiness):
        frozen = supervisor.pids[0]
        os.kill(frozen, signal.SIGSTOP)
        await until(lambda: not readiness.is_ready)
        assert readiness.reasons == [f"worker 0: it has said nothing for 0.5 s, process {frozen} is frozen or gets no time"]
        os.kill(frozen, signal.SIGCONT)
        await until(lambda: readiness.is_ready)
        assert supervisor.pids[0] == frozen


async def test_a_worker_says_again_how_it_is(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEATED_EVERY_S", 0.0)
    monkeypatch.setattr(module, "TOLD_EVERY_S", 0.0)
    ends, never = os.pipe()
    with open(ends, encoding="ascii") as stdin:  # noqa: ASYNC230, PTH123 - a pipe of ours
        monkeypatch.setattr(sys, "stdin", stdin)
        telling = asyncio.create_task(tell_supervisor(Readiness(), asyncio.Event()))
        said = ""
        while said.count('["starting"]') < 2:
            await asyncio.to_thread(os.sched_yield)
            said += capfd.readouterr().out
        telling.cancel()
        asyncio.get_running_loop().remove_reader(ends)
    os.close(never)


async def test_a_worker_in_its_back_off_keeps_nobody_waiting_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ("/bin/sh", "-c", "[ $0 = 0 ] && exit 1; exec cat")
    supervisor = Supervisor(command, 2, folder=tmp_path, readiness=Readiness())
    paused = asyncio.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "started again in 2.0 s" in record.getMessage():
                paused.set()

    listener = Listener()
    logging.getLogger("correlator.runtime.supervisor").addHandler(listener)
    running = asyncio.create_task(supervisor.run())
    await paused.wait()
    began = time.monotonic()
    supervisor.stop.set()
    await running
    logging.getLogger("correlator.runtime.supervisor").removeHandler(listener)
    assert time.monotonic() - began < STOP_PATIENCE_S / 4
    assert not any("is killed" in message for message in caplog.messages)


@given(st.lists(st.text(max_size=500), max_size=60))
def test_a_worker_tells_its_reasons_in_a_line_that_can_be_read(reasons: list[str]) -> None:
    readiness = Readiness()
    for number, reason in enumerate(reasons):
        readiness.not_ready(str(number), reason)
    told = shortened(readiness.reasons)
    left_out = len(readiness.reasons) - REASONS_MOST
    assert told[:REASONS_MOST] == readiness.reasons[:REASONS_MOST]
    assert told[REASONS_MOST:] == ([f"and {left_out} more"] if left_out > 0 else [])


def test_the_longest_line_of_reasons_is_within_what_asyncio_reads() -> None:
    readiness = Readiness()
    for number in range(1_000):
        readiness.not_ready(str(number), "\x00" * 1_000)
    assert len(msgspec.json.encode(shortened(readiness.reasons))) < _LINE_MOST
