"""A broker whose only disk is full: it stops itself; the service waits, says so, and goes on when there is room and a broker again."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.ports import Messages, TopicPartition, TopicSettings, Transient

from loadtest.broker import Broker, BrokerError
from tests.runtime.test_hazards import Application, BreakingLog, events

pytestmark = pytest.mark.timeout(240)  # a broker of its own, which starts twice
SMALL, LARGE = "48m", "400m"
JUNK = TopicPartition("junk", 0)


@contextmanager
def a_small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of a few megabytes; skips where we may not."""
    folder.mkdir()
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)):
        pytest.skip("a disk of its own needs root, and the right to mount")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


def _mount(*options: str) -> int:
    return subprocess.run(["/bin/mount", *options], check=False, capture_output=True).returncode


async def fill(log: KafkaLog) -> None:
    """Publish until the broker takes no more."""
    await log.open_topics([TopicSettings(JUNK.topic)])
    writer = log.writer(None)
    await writer.start()
    try:
        while True:
            await writer.begin()
            await writer.send(JUNK, Messages([os.urandom(900_000)]))
            await writer.commit()
    except Transient:
        await writer.close()


async def test_a_full_disk_of_the_broker_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    disk = tmp_path / "storage"
    with a_small_disk(disk):
        broker = Broker(tmp_path, is_brief=True)
        try:
            broker.prepare()
            await asyncio.to_thread(broker.start)
        except BrokerError as error:
            pytest.skip(f"no Kafka broker: {error}")
        try:
            log = await BreakingLog.open(Access([broker.address]), patience_ms=3_000)
            assert isinstance(log, BreakingLog)
            await _survives(Application(log, "full"), broker, lambda: _mount("-o", f"remount,size={LARGE}", str(disk)))
            await log.close()
        finally:
            broker.stop()


async def _survives(app: Application, broker: Broker, make_room: Callable[[], int]) -> None:
    worker = app.worker()
    running = asyncio.create_task(worker.run())
    await worker.opened.wait()
    await app.publish(events(3))
    await app.until_items(3)
    await fill(app.log)
    assert not broker.is_alive, "a broker whose only disk is full stops itself"
    while app.readiness.is_ready:
        assert not running.done()
        await asyncio.wait((running,), timeout=0.1)
    assert "no broker answers" in " ".join(app.readiness.reasons)
    assert make_room() == 0
    broker.kill()
    await asyncio.to_thread(broker.start)
    await app.publish(events(3, first=3))
    await app.until_items(6)
    while app.readiness.reasons:
        await app.items()
    worker.stop.set()
    await running
    assert await app.items() == 6
