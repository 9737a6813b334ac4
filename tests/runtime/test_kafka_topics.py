"""Topics that are there already: what is refused because it loses records, and what is the user's own."""

import logging

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from correlator.model.instant import DAY, HOUR
from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.kafka.topics import Topic, refuse_difference, tell_short
from correlator.runtime.ports import Refused, TopicSettings
from correlator.runtime.topics import LARGEST_RECORD, Topics

from loadtest.broker import Broker

FRAMES = TopicSettings("p.frames", retention=7 * DAY, largest=LARGEST_RECORD)
STATE = TopicSettings("p.checkpoints", compacted=True, retention=DAY, largest=LARGEST_RECORD)
RAW = TopicSettings("p.events", retention=7 * DAY)
MENDED = "kafka-configs --alter --entity-type topics --entity-name"


def a_topic(
    policy: str = "delete", *, retention: int = 7 * DAY, retention_bytes: int = -1, largest: int = LARGEST_RECORD, partitions: int = 1
) -> Topic:
    values = {"cleanup.policy": policy, "retention.ms": retention, "retention.bytes": retention_bytes, "max.message.bytes": largest}
    return Topic([1] * partitions, {name: str(value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (FRAMES, a_topic()),
        (FRAMES, a_topic(retention=8 * DAY, largest=2 * LARGEST_RECORD)),
        (FRAMES, a_topic(retention=-1)),
        (FRAMES, a_topic("", retention=HOUR)),
        (STATE, a_topic("compact", retention=HOUR, retention_bytes=1)),
        (RAW, a_topic(retention=HOUR, largest=1000, retention_bytes=1)),
        (RAW, a_topic(retention=-1)),
    ],
)
def test_a_topic_that_loses_nothing_of_ours_is_used_as_it_is(wanted: TopicSettings, found: Topic) -> None:
    refuse_difference(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found", "told", "mended"),
    [
        (STATE, a_topic("compact,delete"), "cleanup.policy=compact,delete", "cleanup.policy=compact"),
        (STATE, a_topic("delete, compact"), "cleanup.policy=delete, compact", "cleanup.policy=compact"),
        (FRAMES, a_topic(retention=7 * DAY - 1), "retention.ms=604799999", "retention.ms=604800000"),
        (FRAMES, a_topic(retention_bytes=10**9), "retention.bytes=1000000000", "retention.bytes=-1"),
        (FRAMES, a_topic(largest=LARGEST_RECORD - 1), "max.message.bytes=16777215", "max.message.bytes=16777216"),
        (
            FRAMES,
            a_topic(retention=HOUR, largest=1),
            "retention.ms=3600000, max.message.bytes=1",
            "retention.ms=604800000,max.message.bytes=16777216",
        ),
        (msgspec.structs.replace(FRAMES, retention=None), a_topic(), "retention.ms=604800000", "retention.ms=-1"),
    ],
)
def test_a_topic_of_ours_that_loses_records_is_refused_with_what_mends_it(
    wanted: TopicSettings, found: Topic, *, told: str, mended: str
) -> None:
    with pytest.raises(Refused) as refused:
        refuse_difference(wanted, found)
    name = wanted.name
    assert str(refused.value) == f"topic {name} has {told} and would lose what the service needs: {MENDED} {name} --add-config {mended}"


def test_a_raw_topic_that_forgets_sooner_than_the_settings_believe_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for found in (a_topic(), a_topic(retention=-1), a_topic("", retention=HOUR), a_topic(retention=36 * HOUR)):
        tell_short(RAW, found)
    tell_short(FRAMES, a_topic(retention=HOUR))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("topic p.events keeps records for 1d12h (retention.ms), and log_retention.raw is 7d: ")


async def test_on_a_broker_the_start_is_refused_until_the_topics_are_mended_as_it_says(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    topics = Topics("losing")
    there = {
        topics.raw("events"): {"retention.ms": "3600000"},
        topics.frames: {"retention.ms": "3600000", "max.message.bytes": "100000"},
        topics.checkpoints: {"cleanup.policy": "compact,delete"},
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config) for name, config in there.items()])
    log = await KafkaLog.open(Access([broker.address]))
    for name in (topics.frames, topics.checkpoints):
        with pytest.raises(Refused, match=f"topic {name} has ") as refused:
            await log.open_topics(topics.settings({"events": 1}, 1))
        changes = str(refused.value).rpartition("--add-config ")[2].split(",")
        mended = dict([change.split("=") for change in changes])
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, mended)])
    await log.open_topics(topics.settings({"events": 1}, 1))
    assert caplog.records
    assert all("losing.events keeps records for 1h (" in record.getMessage() for record in caplog.records)
    await admin.close()
    await log.close()
