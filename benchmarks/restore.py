"""Restore: a machine with a million alerts comes back from an embedded log to which its rows were written ten times over.

The rows are written by the service's own task: frames that refresh every alert, in an order of chance, reach it through the log, and it
writes its checkpoints as it always does. A process of its own then restores, as after a `kill -9`.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import msgspec

from correlator.config.settings import CheckpointSettings
from correlator.correlate.machine import Machine
from correlator.frames.codec import encode_frame
from correlator.frames.control import Control
from correlator.frames.frame import Frame, FrameKind
from correlator.intake.pipeline import Intake
from correlator.model.rule import Grouping, RuleSet
from correlator.model.topology import Topology
from correlator.runtime.collector import settle_collector
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Log, Messages, TopicPartition
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, Topics
from correlator.state.records import Row

from benchmarks.memory import ALERTS, INCIDENTS, START, active_alerts, correlate
from benchmarks.rounds import Target, last_line

TARGET = Target(must=15.0, aim=8.0)
TOPICS = Topics("bench")
FRAMES, CHECKPOINTS = TopicPartition(TOPICS.frames, 0), TopicPartition(TOPICS.checkpoints, 0)
SOURCE = "restore"
CONTROL = Control(RuleSet(grouping=Grouping(group_by=("alertname", "cluster"))), Topology())
FRAME_ROWS, FRAMES_A_STEP = 16_000, 4
"""One transaction of the task refreshes 64,000 alerts: above the 50,000 changed rows that make a checkpoint due."""
REFRESHED_FROM = START + 200_000
REFRESHED_FOR_MS = 400_000
"""All refreshes lie within this time, less than an expiry after the alerts began: none may end."""


def main() -> None:
    """Write the rows, restore them, print how long it took; exits 1 when that is too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=ALERTS)
    parser.add_argument("--updates", type=int, default=10 * ALERTS, help="row updates written before the restore")
    parser.add_argument("--only-restore", type=Path, metavar="DIR", help="restore from this log and print a JSON line")
    options = parser.parse_args()
    settle_collector()
    if options.only_restore is not None:
        print(msgspec.json.encode(asyncio.run(_restored(options.only_restore))).decode())
        return
    with tempfile.TemporaryDirectory(prefix="correlator-bench-") as folder:
        written = asyncio.run(_written(Path(folder), options.alerts, updates=options.updates))
        print(f"{written:,} row updates of {options.alerts:,} alerts written", flush=True)
        line = last_line([sys.executable, "-m", "benchmarks.restore", "--only-restore", folder])
    if line["alerts"] != options.alerts:
        raise SystemExit(f"{line['alerts']} alerts came back, not {options.alerts}")
    verdict = f"must {TARGET.must:.0f} s, aim {TARGET.aim:.0f} s   {TARGET.verdict(line['seconds'])}"
    print(f"{line['alerts']:,} alerts restored in {line['seconds']:.1f} s ({line['cpu_s']:.1f} CPU-s): {verdict}")
    sys.exit(TARGET.exit_code(line["seconds"]))


async def _written(folder: Path, alerts: int, *, updates: int) -> int:
    """Fill a log: all rows once, then at least so many updates of them by the task; answers how many rows were updated."""
    log = await EmbeddedLog.open(folder)
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    rows, fingerprints = _started(alerts, max(1, alerts * INCIDENTS // ALERTS))
    await _send(log, CHECKPOINTS, Messages([*[value for _, value in rows], b"0"], keys=[*[key for key, _ in rows], CHECKPOINT_KEY]))
    del rows
    task = _task(log, asyncio.Event(), CheckpointSettings(rows=min(CheckpointSettings().rows, alerts)))
    running = asyncio.create_task(task.run())
    first = (await log.bounds(CHECKPOINTS))[1]
    refreshed = 0
    while (written := (await log.bounds(CHECKPOINTS))[1] - first) < updates:
        at = REFRESHED_FROM + REFRESHED_FOR_MS * written // updates
        await _send(log, FRAMES, Messages(_refreshes(fingerprints, refreshed, at=at)))
        refreshed += FRAME_ROWS * FRAMES_A_STEP
        await _until_taken(log, task, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await task.close()
    await log.close()
    return written


def _started(alerts: int, incidents: int) -> tuple[list[Row], list[bytes]]:
    """Answer the rows of a machine in which these alerts fire, and their fingerprints."""
    machine = Machine(CONTROL, guesses=False)
    correlate(Intake(SOURCE, CONTROL), machine, active_alerts(alerts, incidents))
    return machine.rows(), list(machine.lifecycle.alerts)


def _refreshes(fingerprints: list[bytes], start: int, *, at: int) -> list[bytes]:
    """Write the frames of the next step: each alert once, then each once more in another order."""
    frames = []
    for first in range(start, start + FRAME_ROWS * FRAMES_A_STEP, FRAME_ROWS):
        place = first % len(fingerprints)
        if place < FRAME_ROWS:
            random.Random(first).shuffle(fingerprints)
        chosen = fingerprints[place : place + FRAME_ROWS]
        rows, ones = len(chosen), [1] * len(chosen)
        frame = Frame(FrameKind.ROWS, SOURCE, at, CONTROL.digest, chosen, [0] * rows, ones, [at] * rows, [at] * rows)
        frames.append(encode_frame(frame))
    return frames


async def _send(log: Log, tp: TopicPartition, messages: Messages) -> None:
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(tp, messages)
    await writer.commit()
    await writer.close()


async def _until_taken(log: Log, task: CorrelateTask, running: asyncio.Task[None]) -> None:
    end = (await log.bounds(FRAMES))[1]
    while task.position < end:
        if running.done():
            running.result()
        await asyncio.sleep(0.001)


def _task(log: Log, restored: asyncio.Event, checkpoint: CheckpointSettings) -> CorrelateTask:
    return CorrelateTask(log, TOPICS, 0, domain="default", checkpoint=checkpoint, telemetry=Telemetry(), on_restored=restored.set)


async def _restored(folder: Path) -> dict[str, float]:
    """Restore, and answer how many alerts came back, in how many seconds and CPU seconds."""
    log = await EmbeddedLog.open(folder)
    restored = asyncio.Event()
    task = _task(log, restored, CheckpointSettings())
    started, cpu = perf_counter(), process_time()
    running = asyncio.create_task(task.run())
    await asyncio.wait((running, waiting := asyncio.create_task(restored.wait())), return_when=asyncio.FIRST_COMPLETED)
    figures = {"alerts": task.alerts, "seconds": perf_counter() - started, "cpu_s": process_time() - cpu}
    waiting.cancel()
    running.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    await task.close()
    await log.close()
    return figures


if __name__ == "__main__":
    main()
