"""The supervisor, with workers that are shell scripts."""

import asyncio
import logging
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.runtime.http import Readiness
from correlator.runtime.supervisor import REASONS_MOST, STOP_PATIENCE_S, Supervisor, shortened

_LINE_MOST = 64 * 1024


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
