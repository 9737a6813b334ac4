"""The demo's storm as a backlog over four partitions of the embedded log: the service comes to what a replay comes to."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from zlib import crc32

import msgspec
import pytest

from correlator.cli.demo import RULES, START, TOPOLOGY
from correlator.cli.replay import load_control
from correlator.config.settings import Settings, TopicSettings
from correlator.model.incident import IncidentDocument
from correlator.runtime import shop
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.files import Records
from correlator.runtime.http import Readiness
from correlator.runtime.ports import Messages, TopicPartition
from correlator.runtime.publish import publish
from correlator.runtime.replay import Replay
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import END_HEADER, Topics
from correlator.runtime.worker import Worker

from tests.builders import Outcome
from tests.laws.canonical import Canonical, canonical

PARTITIONS = 4
SETTINGS = Settings(topics=(TopicSettings(name="events", arrival="item", partitions=PARTITIONS),))
TOPICS = Topics(SETTINGS.prefix)
ROOT = Path(__file__).parents[2]
CONTROL = load_control([str(ROOT / RULES)], [str(ROOT / TOPOLOGY)])


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [msgspec.json.encode(event) for event in shop.events(1, START)]


@pytest.fixture(scope="module")
def replayed(lines: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Canonical:
    folder = tmp_path_factory.mktemp("replay")
    Replay(CONTROL, folder).run(batches(lines, size=32_000))
    return form((folder / "incidents.jsonl").read_bytes().splitlines())


def batches(lines: list[bytes], *, size: int) -> Iterator[Records]:
    for first in range(0, len(lines), size):
        batch = lines[first : first + size]
        yield Records(batch, range(first + 1, first + 1 + len(batch)))


def form(bodies: list[bytes]) -> Canonical:
    """Answer the canonical form of the last documents among these."""
    documents = [msgspec.json.decode(body, type=IncidentDocument) for body in bodies]
    return canonical(Outcome({document.id: document for document in documents}, [], [], [], []))


async def in_blocks(log: EmbeddedLog, lines: list[bytes]) -> None:
    """Publish as `correlator publish` does: whole batches to the partitions in turn."""
    await publish(log, TOPICS.raw("events"), batches(lines, size=400), marks_end=True)


async def by_labels(log: EmbeddedLog, lines: list[bytes]) -> None:
    """Publish one partition after the other, each alert to its own."""
    writer = log.writer(None)
    await writer.start()
    for partition in range(PARTITIONS):
        mine = [
            line
            for line in lines
            if crc32(bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])["labels"])) % PARTITIONS == partition
        ]
        await writer.begin()
        await writer.send(TopicPartition(TOPICS.raw("events"), partition), Messages([*mine, b""], headers=[*[()] * len(mine), END_HEADER]))
        await writer.commit()
    await writer.close()


@pytest.mark.parametrize("published", [in_blocks, by_labels])
async def test_a_storm_over_four_partitions_comes_to_what_a_replay_comes_to(
    published: Callable[[EmbeddedLog, list[bytes]], Awaitable[None]], lines: list[bytes], replayed: Canonical, *, tmp_path: Path
) -> None:
    log = await EmbeddedLog.open(tmp_path)
    await log.open_topics(TOPICS.settings({"events": PARTITIONS}, 1))
    await published(log, lines)
    telemetry = Telemetry()
    await Worker(log, SETTINGS, CONTROL, telemetry=telemetry, readiness=Readiness()).run(until_idle=True)
    batch = await log.reader(TopicPartition(TOPICS.incidents, 0)).poll(max_records=100_000, timeout_ms=0)
    await log.close()
    assert form([body for body in batch.values if body is not None]) == replayed
    assert telemetry.registry.get_sample_value("correlator_items_received_total") == len(lines)
    assert telemetry.registry.get_sample_value("correlator_partitions_given_up_total") == 0
