"""Topics as they are and as they must be: what is created, what is checked, and what a person must change."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from correlator.model.instant import format_duration
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
_CHECKED: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": _ANY_TIME}
"""Settings that can lose records, each with what is assumed where the brokers say nothing of it."""
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    # A restore reads what is not cleaned yet too. Only closed segments are cleaned: small ones, closed every hour.
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(3_600_000),
}
_logger: Final = logging.getLogger(__name__)


class Topic(msgspec.Struct, frozen=True):
    """A topic as the brokers describe it: the leader of each partition, and those of its settings that can lose records."""

    leaders: Sequence[int]
    settings: Mapping[str, str]

    @property
    def compacted(self) -> bool:
        """Whether only the newest record of a key is kept."""
        return "compact" in self.policies

    @property
    def policies(self) -> Sequence[str]:
        """What cleans it up; nothing does where it is empty."""
        return [policy.strip() for policy in self.settings["cleanup.policy"].split(",") if policy.strip()]


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
    return Topic([leaders[partition] for partition in sorted(leaders)], await _settings(client, name))


async def _settings(client: Client, name: str) -> dict[str, str]:
    answer = await client.ask(DescribeConfigsRequest([(_TOPIC, name, list(_CHECKED))], include_synonyms=False))
    [(code, message, _, _, entries)] = answer.resources
    check(code, message or name)
    found = dict(_CHECKED) | {setting: value or "" for setting, value, *_ in entries}
    return {setting: found[setting] for setting in _CHECKED}


def refuse_difference(wanted: TopicSettings, found: Topic) -> None:
    """Raise Refused, and say what to change, where a topic is not as the configuration says, or would lose what we write there."""
    count = len(found.leaders)
    if count != wanted.partitions:
        raise other_partitions(wanted, count)
    if found.compacted != wanted.compacted:
        raise Refused(f"topic {wanted.name} is{'' if found.compacted else ' not'} compacted: choose another prefix")
    losses = _losses(wanted, found)
    if wanted.is_own and losses:
        told = ", ".join([f"{name}={found.settings[name]}" for name in losses])
        mended = ",".join([f"{name}={value}" for name, value in losses.items()])
        raise Refused(
            f"topic {wanted.name} has {told} and would lose what the service needs: "
            f"kafka-configs --alter --entity-type topics --entity-name {wanted.name} --add-config {mended}"
        )


def tell_short(wanted: TopicSettings, found: Topic) -> None:
    """Warn of a raw topic that forgets sooner than the settings believe: its publishers may have chosen that."""
    if not wanted.is_own and "retention.ms" in _losses(wanted, found):
        _logger.warning(
            "topic %s keeps records for %s (retention.ms), and log_retention.raw is %s: records may be gone before /-/ready tells of a "
            "backlog; set one by the other",
            wanted.name,
            format_duration(int(found.settings["retention.ms"])),
            format_duration(wanted.retention or 0),
        )


def _losses(wanted: TopicSettings, found: Topic) -> dict[str, str]:
    """Answer the settings of a topic by which records are lost, each with what it must be at least."""
    losses: dict[str, str] = {}
    is_deleted = "delete" in found.policies
    if wanted.compacted and is_deleted:
        losses["cleanup.policy"] = "compact"
    elif is_deleted and _is_less(found.settings["retention.ms"], wanted.retention):
        losses["retention.ms"] = _bound(wanted.retention)
    if not wanted.compacted and is_deleted and _is_less(found.settings["retention.bytes"], None):
        losses["retention.bytes"] = _bound(None)
    if wanted.largest is not None and int(found.settings["max.message.bytes"]) < wanted.largest:
        losses["max.message.bytes"] = str(wanted.largest)
    return losses


def _is_less(found: str, least: int | None) -> bool:
    """Compare limits, of which -1 and None are none."""
    return int(found) >= 0 and (least is None or int(found) < least)


def _bound(limit: int | None) -> str:
    return str(-1 if limit is None else limit)


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
    kept = _bound(topic.retention)
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
