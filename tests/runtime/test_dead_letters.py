"""What the log keeps of records that were refused: enough to mend and re-drive them, and never more than one record can hold."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import xxhash

from correlator.frames.control import Control
from correlator.intake.decode import MAX_RECORD_BYTES
from correlator.intake.formats import Format
from correlator.intake.output import DEAD_LETTER_BYTES_MOST, REASONS_MOST
from correlator.model.event import Rejection
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.runtime.caution import Caution
from correlator.runtime.control import put_in_force
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Messages, TopicPartition
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics

from tests.intake.builders import an_alert, record

TOPICS: Final = Topics("test")
RAW: Final = TopicPartition(TOPICS.raw("events"), 0)
KAFKA_RECORD_BYTES: Final = 1_000_000


async def letters_of(values: Sequence[bytes]) -> list[tuple[bytes, dict[str, bytes]]]:
    """Publish records to a live topic, let intake take them, and answer the dead letters of the first batch with their headers."""
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(RAW, Messages(list(values)))
    await writer.commit()
    await put_in_force(log, TOPICS, Control(RuleSet(), Topology()), domains=1)
    task = IntakeTask(log, TOPICS, RAW, form=Format.AUTO, is_recording=False, caution=Caution(100), telemetry=Telemetry())
    running = asyncio.create_task(task.run())
    reader = log.reader(TOPICS.partition(TOPICS.dead_letters))
    reader.seek(0)
    while not len(batch := await reader.poll(max_records=100, timeout_ms=100)):
        assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert batch.headers is not None
    return [(value or b"", dict(headers)) for value, headers in zip(batch.values, batch.headers, strict=True)]


async def test_a_dead_letter_holds_the_original_bytes_their_hash_and_every_reason() -> None:
    body = record({"alerts": [an_alert(), {"labels": {}}, an_alert(), 5]})
    ((value, headers),) = await letters_of([body])
    assert value == body
    assert (headers["topic"], headers["partition"], headers["offset"]) == (RAW.topic.encode(), b"0", b"0")
    assert headers["length"] == str(len(body)).encode()
    assert headers["xxh3_128"] == xxhash.xxh3_128_hexdigest(body).encode()
    assert (headers["reason"], headers["refused"]) == (Rejection.NO_LABELS.encode(), b"2")
    refusals = msgspec.json.decode(headers["refusals"])
    assert [(refusal["item"], refusal["reason"]) for refusal in refusals] == [(1, Rejection.NO_LABELS), (3, Rejection.WRONG_TYPE)]


async def test_of_a_record_beyond_the_limit_the_beginning_the_length_and_the_hash_are_kept() -> None:
    body = b'{"at":"' + bytes(range(32, 127)) * (MAX_RECORD_BYTES // 90) + b'"}'
    ((value, headers),) = await letters_of([body])
    assert value == body[:DEAD_LETTER_BYTES_MOST]
    assert headers["length"] == str(len(body)).encode()
    assert headers["xxh3_128"] == xxhash.xxh3_128_hexdigest(body).encode()


async def test_ten_thousand_bad_alerts_of_one_message_make_a_dead_letter_that_fits_into_a_record() -> None:
    alerts = [{"status": "firing", "labels": {"alertname": "a", "\x01" * 50: number}} for number in range(10_000)]
    ((value, headers),) = await letters_of([record({"alerts": alerts})])
    assert len(value) + sum(len(name) + len(text) for name, text in headers.items()) < KAFKA_RECORD_BYTES
    assert headers["refused"] == b"10000"
    assert [refusal["item"] for refusal in msgspec.json.decode(headers["refusals"])] == list(range(REASONS_MOST))
