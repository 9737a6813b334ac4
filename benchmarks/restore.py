"""Restore: a machine with a million alerts comes back from a log to which its rows were written ten times over.

Frames refresh every alert, in an order of chance, and checkpoints are written as the service writes them. A process of its own then
restores, as after a `kill -9`. On the embedded log the service's own task does it all, frame by frame. `--kafka`: on a broker a machine
takes the frames itself, and a writer of the task's name writes what the task would, with nothing between two checkpoints; topics are made
by the service's settings, and compaction gets what time it has while that goes on.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from time import perf_counter, process_time

import msgspec

from correlator.config.settings import CheckpointSettings
from correlator.correlate.machine import Machine
from correlator.frames.codec import decode_frame, encode_frame
from correlator.frames.control import Control
from correlator.frames.frame import Frame, FrameKind
from correlator.intake.pipeline import Intake
from correlator.model.rule import Grouping, RuleSet
from correlator.model.topology import Topology
from correlator.runtime.allocation import settle_memory
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka.reader import KafkaReader
from correlator.runtime.ports import Batch, Log, Messages, Position, TopicPartition, Writer
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, Topics
from correlator.state.records import Row

from benchmarks.brokers import a_broker
from benchmarks.memory import ALERTS, INCIDENTS, START, active_alerts, correlate
from benchmarks.rounds import Target, last_line

TARGET, TARGET_ON_KAFKA = Target(must=15.0, aim=8.0), Target(must=20.0, aim=10.0)
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
    parser.add_argument("--kafka", action="store_true", help="on a broker instead of the embedded log")
    parser.add_argument("--only-restore", metavar="PLACE", help="restore from this log, a folder or HOST:PORT, and print a JSON line")
    options = parser.parse_args()
    settle_memory()
    if options.only_restore is not None:
        print(msgspec.json.encode(asyncio.run(_restored(options.only_restore, on_kafka=options.kafka))).decode())
        return
    target, kind = (TARGET_ON_KAFKA, ["--kafka"]) if options.kafka else (TARGET, [])
    with a_broker() if options.kafka else nullcontext() as broker, tempfile.TemporaryDirectory(prefix="correlator-bench-") as folder:
        place = folder if broker is None else broker.address
        fill = _written if broker is None else _written_ahead
        written, seconds = asyncio.run(fill(place, options.alerts, updates=options.updates))
        print(f"{written:,} row updates of {options.alerts:,} alerts written in {seconds:.0f} s", flush=True)
        line = last_line([sys.executable, "-m", "benchmarks.restore", *kind, "--only-restore", place])
    if line["alerts"] != options.alerts:
        raise SystemExit(f"{line['alerts']} alerts came back, not {options.alerts}")
    verdict = f"must {target.must:.0f} s, aim {target.aim:.0f} s   {target.verdict(line['seconds'])}"
    read = f", {line['rows']:,.0f} rows read" if line["rows"] else ""
    print(f"{line['alerts']:,} alerts restored in {line['seconds']:.1f} s ({line['cpu_s']:.1f} CPU-s{read}): {verdict}")
    sys.exit(target.exit_code(line["seconds"]))


class _CountedReader(KafkaReader):
    """Counts the rows of checkpoints: of a compacted topic nobody else knows how many there are, old ones among them."""

    rows = 0

    async def poll(self, *, max_records: int, timeout_ms: int) -> Batch:
        batch = await super().poll(max_records=max_records, timeout_ms=timeout_ms)
        if self._tp == CHECKPOINTS:
            _CountedReader.rows += len(batch)
        return batch


class _CountedLog(KafkaLog):
    def reader(self, tp: TopicPartition) -> KafkaReader:
        return _CountedReader(self, tp)


@asynccontextmanager
async def _opened(place: str, *, on_kafka: bool) -> AsyncIterator[Log]:
    log = await _CountedLog.open(Access([place])) if on_kafka else await EmbeddedLog.open(Path(place))
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    yield log
    await log.close()


async def _written(place: str, alerts: int, *, updates: int) -> tuple[int, float]:
    """Fill an embedded log: all rows once, then at least so many updates of them by the task; answers how many, and the seconds."""
    started = perf_counter()
    async with _opened(place, on_kafka=False) as log:
        rows, fingerprints = _started(alerts)[1:]
        await _send(log, CHECKPOINTS, _checkpoint(rows, 0))
        del rows
        task = _task(log, asyncio.Event(), CheckpointSettings(rows=min(CheckpointSettings().rows, alerts)))
        running = asyncio.create_task(task.run())
        first = (await log.bounds(CHECKPOINTS))[1]
        refreshed = 0
        while (written := (await log.bounds(CHECKPOINTS))[1] - first) < updates:
            await _send(log, FRAMES, Messages(_refreshes(fingerprints, refreshed, at=_at(written, updates))))
            refreshed += FRAME_ROWS * FRAMES_A_STEP
            await _until_taken(log, task, running)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await task.close()
    return written, perf_counter() - started


async def _written_ahead(place: str, alerts: int, *, updates: int) -> tuple[int, float]:
    """Fill a log on Kafka with the same rows in the same transactions: the machine has the frames from us, and none are left over."""
    began = perf_counter()
    async with _opened(place, on_kafka=True) as log:
        machine, rows, fingerprints = _started(alerts)
        writer = log.writer(TOPICS.correlate_writer(0))
        await writer.start()
        await _commit(writer, rows)
        written = refreshed = 0
        while written < updates:
            for body in _refreshes(fingerprints, refreshed, at=_at(written, updates)):
                machine.step(decode_frame(body))
            refreshed += FRAME_ROWS * FRAMES_A_STEP
            rows = machine.rows()
            await _commit(writer, rows)
            written += len(rows)
        await writer.close()
    return written, perf_counter() - began


async def _commit(writer: Writer, rows: list[Row]) -> None:
    await writer.begin()
    await writer.send(CHECKPOINTS, _checkpoint(rows, 0))
    await writer.send_offsets(TOPICS.correlate_group, {FRAMES: Position(0)})
    await writer.commit()


def _checkpoint(rows: list[Row], position: int) -> Messages:
    marker = str(position).encode()
    return Messages([*[value for _, value in rows], marker], keys=[*[key for key, _ in rows], CHECKPOINT_KEY])


def _at(written: int, updates: int) -> int:
    return REFRESHED_FROM + REFRESHED_FOR_MS * written // updates


def _started(alerts: int) -> tuple[Machine, list[Row], list[bytes]]:
    """Answer a machine in which these alerts fire, its rows, and their fingerprints."""
    machine = Machine(CONTROL, guesses=False)
    correlate(Intake(SOURCE, CONTROL), machine, active_alerts(alerts, max(1, alerts * INCIDENTS // ALERTS)))
    return machine, machine.rows(), list(machine.lifecycle.alerts)


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


async def _restored(place: str, *, on_kafka: bool) -> dict[str, float]:
    """Restore, and answer how many alerts came back, in how many seconds and CPU seconds, and the rows read where that can be known."""
    async with _opened(place, on_kafka=on_kafka) as log:
        restored = asyncio.Event()
        task = _task(log, restored, CheckpointSettings())
        started, cpu = perf_counter(), process_time()
        running = asyncio.create_task(task.run())
        await asyncio.wait((running, waiting := asyncio.create_task(restored.wait())), return_when=asyncio.FIRST_COMPLETED)
        figures = {"alerts": task.alerts, "seconds": perf_counter() - started, "cpu_s": process_time() - cpu, "rows": _CountedReader.rows}
        waiting.cancel()
        running.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        await task.close()
    return figures


if __name__ == "__main__":
    main()
