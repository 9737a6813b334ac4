"""The floor over Kafka: the same loop written by hand, fed by aiokafka's `getmany`; nothing is written back, no position is kept.

`python -m benchmarks.floor_kafka HOST:PORT TOPIC EVENTS` prints one JSON line. Start-up is left out: the clock of the CPU begins when
the consumer is connected and knows its partitions.
"""

import sys
import time

import msgspec
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.floor import Floor, FloorResult

_FETCH_BYTES = 1 << 20
_RECORDS = 16_000
_WAIT_MS = 500


async def run(bootstrap: str, topic: str, events: int) -> FloorResult:
    """Run the loop over the first so many events of a topic."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, max_partition_fetch_bytes=_FETCH_BYTES
    )
    await consumer.start()
    try:
        return await _taken(consumer, events)
    finally:
        await consumer.stop()


async def _taken(consumer: AIOKafkaConsumer, events: int) -> FloorResult:
    floor, seen = Floor(), 0
    cpu, wall = time.process_time(), time.perf_counter()
    while seen < events:
        fetched = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=_RECORDS)
        for records in fetched.values():
            lines = [record.value for record in records]
            if not lines[-1]:
                lines.pop()  # the mark of the end, last in its partition, is empty
            floor.take(lines)
            seen += len(lines)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return FloorResult(events=events, cpu_s=cpu, wall_s=wall, alerts=len(floor.alerts), turns=floor.turns, sessions=floor.sessions)


def main() -> None:
    """Run the floor over the topic named on the command line."""
    bootstrap, topic, events = sys.argv[1:]
    result = uvloop.run(run(bootstrap, topic, int(events)))
    print(orjson.dumps({**msgspec.to_builtins(result), "cpu_s_per_million": round(result.cpu_s_per_million, 3)}).decode())


if __name__ == "__main__":
    main()
