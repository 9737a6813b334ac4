"""Workers that come, go, die and freeze on a real broker: what is judged is what one undisturbed worker judges."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.kafka import Access, KafkaLog

from loadtest.broker import Broker
from loadtest.company import PARTITIONS, Load, Service, a_storm, canonical, items, settings_in, topics_of
from tests.cli.program import correlator

pytestmark = pytest.mark.timeout(240)  # several processes and a broker on two cores


async def undisturbed(folder: Path, storm: list[tuple[int, bytes]]) -> tuple[list[str], list[str]]:
    """Judge the same records in one raw partition, by one worker on the embedded log."""
    settings = settings_in(folder, name="alone.yaml", partitions=1)
    run = ("run", "--config", settings, "--embedded", folder / "log", "--listen", "off", "--until-idle")
    assert correlator(*run).returncode == 0
    log = await EmbeddedLog.open(folder / "log")
    await Load(log, topics_of(settings).raw("events"), storm, partitions=1).run()
    await log.close()
    ended = correlator(*run)
    assert ended.returncode == 0, ended.stderr
    log = await EmbeddedLog.open(folder / "log")
    found = await canonical(log, topics_of(settings))
    await log.close()
    return found


@asynccontextmanager
async def two_at_work(settings: Path) -> AsyncIterator[tuple[Service, Service]]:
    with Service(settings) as first, Service(settings) as second:
        await first.until("restored; ready")
        await second.until("restored; ready")
        yield first, second


async def judged(settings: Path) -> None:
    """Let one more worker join until all that was published is judged."""
    idle = await asyncio.to_thread(correlator, "run", "--config", settings, "--listen", "off", "--until-idle")
    assert idle.returncode == 0, idle.stderr


async def is_as_undisturbed(log: KafkaLog, settings: Path, storm: list[tuple[int, bytes]]) -> None:
    assert await items(log, topics_of(settings)) == len(storm)
    found = await canonical(log, topics_of(settings))
    await log.close()
    for ours, theirs in zip(found, await undisturbed(settings.parent, storm), strict=True):
        assert ours
        only = [line for line in ours if line not in theirs], [line for line in theirs if line not in ours]
        assert only == ([], [])
        assert len(ours) == len(theirs)


async def test_workers_that_die_and_join_judge_as_one_undisturbed_worker_does(tmp_path: Path, broker: Broker) -> None:
    settings, storm = settings_in(tmp_path, broker.address), a_storm(2_000, seed=1)
    raw = topics_of(settings).raw("events")
    log = await KafkaLog.open(Access([broker.address]))
    async with two_at_work(settings) as (first, second):
        load = Load(log, raw, storm, rest=0.03)
        publishing = asyncio.create_task(load.run())
        await load.reach(0.2)
        second.process.kill()
        with Service(settings) as third:
            await third.until("restored; ready")
            await publishing
            await judged(settings)
            assert (await first.stopped(), await third.stopped()) == (0, 0)
    await is_as_undisturbed(log, settings, storm)


async def test_two_workers_share_alike_and_one_that_leaves_hands_its_share_over(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    prefix = topics_of(settings).prefix
    everything = f"our share: {prefix}.events 0 1 2 3, {prefix}.frames 0 1\n"
    with Service(settings) as first:
        assert everything in await first.until("our share")
        with Service(settings) as second:
            shares = await first.until("our share", times=2), await second.until("our share")
            for share in shares:
                raw, frames = share.split("our share: ")[1].split(", ")
                assert (len(raw.split()), len(frames.split())) == (1 + PARTITIONS // 2, 2)
            assert await second.stopped() == 0
        assert everything in await first.until("our share", times=3)
        assert await first.stopped() == 0


async def test_a_frozen_worker_that_comes_back_is_fenced_and_goes_on_with_its_new_share(tmp_path: Path, broker: Broker) -> None:
    settings, storm = settings_in(tmp_path, broker.address), a_storm(600, seed=2)
    raw = topics_of(settings).raw("events")
    log = await KafkaLog.open(Access([broker.address]))
    async with two_at_work(settings) as (frozen, other):
        load = Load(log, raw, storm, rest=0.2)
        publishing = asyncio.create_task(load.run())
        await load.reach(0.1)
        shares = sum("our share" in line for line in other.said)
        frozen.process.send_signal(signal.SIGSTOP)
        await other.until("our share", times=shares + 1)
        await load.reach(0.8)
        frozen.process.send_signal(signal.SIGCONT)
        await other.until("our share", times=shares + 2)
        await publishing
        await judged(settings)
        assert (await frozen.stopped(), await other.stopped()) == (0, 0)
    await is_as_undisturbed(log, settings, storm)
