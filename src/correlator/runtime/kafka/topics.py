"""Topics as they are and as they must be: what is created, what is checked, and what a person must change."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from correlator.runtime.kafka.client import Client, check
from correlator.runtime.ports import Refused, TopicSettings
from correlator.runtime.topics import other_partitions

_TOPIC: Final = 2  # the kind of resource, in Kafka's numbers
_CREATE_MS: Final = 10_000
_REPLICAS: Final = 3
_ANY_TIME: Final = str(2**63 - 1)
_EVERY_TOPIC: Final = {
    # A recording bears the times of then; a broker would refuse what lies more than an hour ahead of its own clock.
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": _ANY_TIME,
    "message.timestamp.after.max.ms": _ANY_TIME,
}
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    # A restore reads what is not cleaned yet too. Only closed segments are cleaned: small ones, closed every hour.
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(3_600_000),
}


class Topic(msgspec.Struct, frozen=True):
    """A topic as the brokers describe it: the leader of each partition, and whether only the newest record of a key is kept."""

    leaders: Sequence[int]
    compacted: bool


async def describe(client: Client, name: str) -> Topic | None:
    """Ask for a topic, without making it; None when there is none. Raises aiokafka's errors, LeaderNotAvailable among them."""
    answer = await client.ask(MetadataRequest([name], allow_auto_topic_creation=False))
    [(code, _, _, partitions)] = answer.topics
    if code == UnknownTopicOrPartitionError.errno:
        return None
    check(code, name)
    leaders: dict[int, int] = {}
    for error, partition, leader, *_ in partitions:
        check(error if leader < 0 else 0, name)
        leaders[partition] = leader
    return Topic([leaders[partition] for partition in sorted(leaders)], await _is_compacted(client, name))


async def _is_compacted(client: Client, name: str) -> bool:
    answer = await client.ask(DescribeConfigsRequest([(_TOPIC, name, ["cleanup.policy"])], include_synonyms=False))
    [(code, message, _, _, entries)] = answer.resources
    check(code, message or name)
    return any(setting == "cleanup.policy" and "compact" in value for setting, value, *_ in entries)


def refuse_difference(wanted: TopicSettings, found: Topic) -> None:
    """Raise Refused, and say what to change, where a topic is not as the configuration says."""
    count = len(found.leaders)
    if count != wanted.partitions:
        raise other_partitions(wanted, count)
    if found.compacted != wanted.compacted:
        raise Refused(f"topic {wanted.name} is{'' if found.compacted else ' not'} compacted: choose another prefix")


async def create(client: Client, topics: Sequence[TopicSettings], replication: int | None) -> None:
    """Create topics; one that another process creates meanwhile is no error. Raises aiokafka's errors."""
    replicas = replication if replication is not None else min(client.brokers, _REPLICAS)
    nowhere: list[object] = []  # the brokers choose where the replicas lie
    wanted = [(topic.name, topic.partitions, replicas, nowhere, sorted(settings_of(topic, replicas).items())) for topic in topics]
    answer = await client.ask(CreateTopicsRequest(create_topic_requests=wanted, timeout=_CREATE_MS, validate_only=False))
    for _, code, *message in answer.topic_errors:
        if code != TopicAlreadyExistsError.errno:
            check(code, (message and message[0]) or "")


def settings_of(topic: TopicSettings, replicas: int) -> dict[str, str]:
    """Answer what a topic is created with; whatever is not named is the broker's choice."""
    found = dict(_EVERY_TOPIC)
    kept = str(-1 if topic.retention is None else topic.retention)
    if topic.compacted:
        found |= _COMPACTED
        if topic.retention is not None:
            found["delete.retention.ms"] = kept
    else:
        found |= {"cleanup.policy": "delete", "retention.ms": kept, "retention.bytes": "-1"}
    if topic.largest is not None:
        found["max.message.bytes"] = str(topic.largest)
    if replicas >= _REPLICAS:
        found["min.insync.replicas"] = "2"
    return found
