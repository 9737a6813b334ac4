"""Restore: a machine with a million alerts comes back from an embedded log to which its rows were written ten times over."""

import argparse
import asyncio
import random
import tempfile
from pathlib import Path
from time import perf_counter, process_time

from correlator.config.settings import CheckpointSettings
from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.intake.pipeline import Intake
from correlator.model.rule import Grouping, RuleSet
from correlator.model.topology import Topology
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Log, Messages, TopicPartition
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, Topics
from correlator.state.records import Row

from benchmarks.memory import ALERTS, INCIDENTS, active_alerts, correlate

MUST_S, AIM_S = 15.0, 8.0
CHECKPOINT_ROWS = 50_000
TOPICS = Topics("bench")


def main() -> None:
    """Write the rows, restore them, print how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=ALERTS)
    parser.add_argument("--updates", type=int, default=10 * ALERTS, help="row updates written before the restore")
    options = parser.parse_args()
    incidents = max(1, options.alerts * INCIDENTS // ALERTS)
    with tempfile.TemporaryDirectory(prefix="correlator-bench-") as folder:
        asyncio.run(_measure(Path(folder), options.alerts, incidents, updates=options.updates))


async def _measure(folder: Path, alerts: int, incidents: int, *, updates: int) -> None:
    log = await EmbeddedLog.open(folder)
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    rows = _rows(alerts, incidents)
    print(f"{len(rows):,} rows of {alerts:,} alerts; writing {updates:,} updates", flush=True)
    await _write(log, rows, updates)
    await log.close()
    log = await EmbeddedLog.open(folder)
    seconds, cpu, restored = await _restored(log)
    await log.close()
    assert restored == alerts, f"{restored} alerts came back, not {alerts}"
    print(f"{restored:,} alerts restored in {seconds:.1f} s ({cpu:.1f} CPU-s): must {MUST_S:.0f} s, aim {AIM_S:.0f} s")


def _rows(alerts: int, incidents: int) -> list[Row]:
    control = Control(RuleSet(grouping=Grouping(group_by=("alertname", "cluster"))), Topology())
    machine = Machine(control, guesses=False)
    correlate(Intake("restore", control), machine, active_alerts(alerts, incidents))
    return machine.rows()


async def _write(log: Log, rows: list[Row], updates: int) -> None:
    """Write all rows once, then rows at random, in checkpoints of 50,000."""
    chance = random.Random(1)
    writer = log.writer("bench")
    await writer.start()
    for first in range(0, max(updates, len(rows)), CHECKPOINT_ROWS):
        chosen = rows[first : first + CHECKPOINT_ROWS] or chance.choices(rows, k=CHECKPOINT_ROWS)
        checkpoint = {**dict(chosen), CHECKPOINT_KEY: b"0"}
        await writer.begin()
        await writer.send(TopicPartition(TOPICS.checkpoints, 0), Messages(list(checkpoint.values()), keys=list(checkpoint)))
        await writer.commit()
    await writer.close()


async def _restored(log: Log) -> tuple[float, float, int]:
    restored = asyncio.Event()
    task = CorrelateTask(log, TOPICS, 0, domain="default", checkpoint=CheckpointSettings(), telemetry=Telemetry(), on_restored=restored.set)
    started, cpu = perf_counter(), process_time()
    running = asyncio.create_task(task.run())
    await restored.wait()
    seconds, cpu = perf_counter() - started, process_time() - cpu
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await task.close()
    return seconds, cpu, task.alerts


if __name__ == "__main__":
    main()
