"""A steady load: `python -m loadtest.feed HOST:PORT TOPIC EVENTS --rate 5500` publishes a recording at so many events a second.

A process of its own, over confluent-kafka. It keeps to the clock: what a broker that is away holds up goes out when it is back. Each
record goes to the partition that its labels choose, so the events of one alert stay in order, and arrives exactly once (idempotent).
SIGUSR1 makes it publish the rest as fast as it can.
Prints a JSON line every second (`published` counts what the broker has confirmed), and ends with code 1 when a record was lost.
"""

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from confluent_kafka import KafkaError, Message, Producer

TELL_EVERY_S = 1.0
TURN_S = 0.01
PIECE = 1_000
FLUSH_S = 120.0


class _Labelled(msgspec.Struct):
    labels: dict[str, str]


_LABELS = msgspec.json.Decoder(_Labelled)


class Feed:
    """Publishes lines by the clock and counts what was confirmed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,  # never give up: a broker that was killed comes back
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._topic = topic
        self._partitions = len(self._producer.list_topics(topic, timeout=30).topics[topic].partitions)
        self.keeps_time = True
        self.published = 0
        self.failed = 0

    def run(self, lines: list[bytes], *, rate: float) -> None:
        """Publish all lines, the n-th not before `n / rate` seconds have passed."""
        started = told = time.monotonic()
        sent = 0
        while sent < len(lines):
            now = time.monotonic()
            due = min(len(lines), int((now - started) * rate) + 1 if self.keeps_time else sent + PIECE)
            for line in lines[sent:due]:
                self._send(line)
            sent = due
            self._producer.poll(TURN_S)
            if now - told >= TELL_EVERY_S:
                told = now
                self.tell(now - started)
        self._producer.flush(FLUSH_S)
        self.tell(time.monotonic() - started)

    def tell(self, seconds: float) -> None:
        """Print how far it is."""
        line: dict[str, Any] = {"published": self.published, "failed": self.failed, "seconds": round(seconds, 2)}
        print(msgspec.json.encode(line).decode(), flush=True)

    def _send(self, line: bytes) -> None:
        labels = sorted(_LABELS.decode(line).labels.items())
        partition = crc32(msgspec.json.encode(labels)) % self._partitions
        while True:
            try:
                self._producer.produce(self._topic, line, partition=partition, on_delivery=self._confirmed)
            except BufferError:  # the queue is full: wait for the broker
                self._producer.poll(TURN_S)
            else:
                return

    def _confirmed(self, error: KafkaError | None, _: Message) -> None:
        self.published += error is None
        self.failed += error is not None


def main() -> None:
    """Publish the recording that the command line names."""
    parser = argparse.ArgumentParser(prog="loadtest.feed", description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("events", type=Path)
    parser.add_argument("--rate", type=float, default=5_500)
    chosen = parser.parse_args()
    lines = chosen.events.read_bytes().splitlines()
    feed = Feed(chosen.bootstrap, chosen.topic)
    signal.signal(signal.SIGUSR1, lambda *_: setattr(feed, "keeps_time", False))
    feed.run(lines, rate=chosen.rate)
    sys.exit(1 if feed.failed or feed.published != len(lines) else 0)


if __name__ == "__main__":
    main()
