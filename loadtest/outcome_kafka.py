"""What a run left on Kafka, read by confluent-kafka: committed records only. Nothing here imports the code under test, or its client."""

import time
from collections.abc import Iterator
from typing import Final, Self

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from loadtest.outcome import Document

_PATIENCE_S: Final = 30.0
_TURN_S: Final = 0.02
_RECORDS: Final = 2_000


class _Revised(msgspec.Struct):
    revision: int


_REVISED: Final = msgspec.json.Decoder(_Revised)


class OutcomeError(Exception):
    """The broker did not answer in time, or has not what was asked for."""


class KafkaOutcome:
    """The topics of one application."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "loadtest-checker",  # the library wants one; nothing is ever committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> int:
        """Answer how many partitions a topic has."""
        name = f"{self._prefix}.{topic}"
        found = self._consumer.list_topics(name, timeout=_PATIENCE_S).topics[name]
        if found.error is not None:
            raise OutcomeError(f"{name}: {found.error}")
        return len(found.partitions)

    def appended(self, topic: str) -> Iterator[bytes | None]:
        """Yield the values of an ordinary topic; those of one partition in order."""
        for message in self._records(topic):
            yield message.value()

    def kept(self, topic: str) -> Iterator[tuple[bytes, Document]]:
        """Yield key and newest document of what a compacted topic holds, tombstones left out."""
        newest: dict[bytes, bytes] = {}
        for key, value in self._pairs(topic):
            newest.pop(key, None)
            if value is not None:
                newest[key] = value
        for key, value in newest.items():
            yield key, msgspec.json.decode(value)

    def revised_twice(self, topic: str) -> Iterator[tuple[str, int]]:
        """Yield key and revision of documents whose revision is not above that of the one before."""
        highest: dict[bytes, int] = {}
        for key, value in self._pairs(topic):
            revision = 0 if value is None else _REVISED.decode(value).revision
            if value is not None and revision <= highest.get(key, 0):
                yield key.decode(), revision
            highest[key] = revision

    def _pairs(self, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
        for message in self._records(topic):
            key, value = message.key(), message.value()
            assert isinstance(key, bytes), "records of compacted topics have keys"
            assert value is None or isinstance(value, bytes)
            yield key, value

    def _records(self, topic: str) -> Iterator[Message]:
        """Read all partitions from their first record to their end: what lies behind an open transaction is not committed yet.

        All at once, since the library takes half a second to begin with a partition.
        """
        name, waiting = f"{self._prefix}.{topic}", set(range(self.partitions(topic)))
        self._consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in sorted(waiting)])
        heard = time.monotonic()
        while waiting:
            if time.monotonic() - heard > _PATIENCE_S:
                raise OutcomeError(f"{name} gave nothing for {_PATIENCE_S:.0f} s, and partitions {sorted(waiting)} are not at their end")
            for message in self._consumer.consume(_RECORDS, timeout=_TURN_S):
                heard, error = time.monotonic(), message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name for it
                    waiting.discard(message.partition())
                elif not error.retriable():
                    raise KafkaException(error)
