"""The AsyncAPI document: topics that others write to and read from, with keys, headers and schemas, written from code."""

from collections.abc import Mapping
from typing import Final

import msgspec
import yaml

from correlator.config.settings import Settings
from correlator.model.instant import DAY
from correlator.runtime.kafka.topics import settings_of
from correlator.runtime.ports import TopicSettings
from correlator.runtime.topics import END_HEADER, REVISION_HEADER, SCHEMA_HEADER, Topics

ASYNCAPI: Final = "3.0.0"
_FORMAT: Final = "application/schema+json;version=draft-2020-12"
_BINDING: Final = "0.5.0"
_SHOWN: Final = ("cleanup.policy", "retention.ms", "delete.retention.ms", "max.message.bytes")
"""What the binding knows of a topic's configuration; docs/kafka.md tells the rest."""
_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "string", "pattern": "^[0-9]+$"}
INTERNAL: Final = ("control", "frames", "checkpoints")
"""Topics that are no contract: their records change from version to version."""

DEAD_LETTER_HEADERS: Final = {
    "topic": "Where it lay: the topic, its prefix included.",
    "partition": "Where it lay: the partition.",
    "offset": "Where it lay: the offset.",
    "length": "Bytes of the whole record.",
    "xxh3_128": "XXH3 hash of the whole record, 128 bits, hex.",
    "reason": "Why its first rejected item was refused.",
    "refused": "How many items were rejected.",
    "refusals": "The first 100 of them, a JSON array of `item`, `reason` and `detail`.",
}


class Channel(msgspec.Struct, frozen=True):
    """A public topic: what a record on it is, and what stands beside its value. `schema` names a file of docs/schemas, None for bytes."""

    name: str
    title: str
    summary: str
    schema: str | None
    key: str
    headers: Mapping[str, str] = {}
    required: tuple[str, ...] = ()


_SCHEMA_TOLD: Final = f"Version of the schema, `{SCHEMA_HEADER[1].decode()}`; it changes when a consumer must."
CHANNELS: Final = (
    Channel(
        "events",
        "Event",
        "What happened, as publishers say it: native events, CloudEvents 1.0 or Alertmanager webhooks in JSON (docs/formats.md). Each raw "
        "topic of the settings is such a channel.",
        "event",
        "Any or none: order and partition do not matter.",
        {END_HEADER[0][0]: "Only in recordings, on an empty record: nothing follows."},
    ),
    Channel(
        "incidents",
        "Incident",
        "One revision of an incident, whole. The newest of a key holds; a record without a value says that the incident was forgotten. "
        "Read committed records only.",
        "incident",
        "The incident's `id`.",
        {SCHEMA_HEADER[0]: _SCHEMA_TOLD, REVISION_HEADER: "The document's `revision`; a record without a value has none."},
        (SCHEMA_HEADER[0],),
    ),
    Channel(
        "alerts",
        "Alert",
        "How one alert stands, and in which incident it is or why in none. The newest of a key holds; without a value it was forgotten. "
        "Read committed records only.",
        "alert",
        "The alert's `fingerprint`.",
    ),
    Channel("decisions", "Decision", "One judgement and why. Read committed records only.", "decision", "None."),
    Channel(
        "dead-letters",
        "DeadLetter",
        "A raw record of which items were refused: its bytes untouched, the first 256 KB of a longer one.",
        None,
        "None.",
        DEAD_LETTER_HEADERS,
        tuple(DEAD_LETTER_HEADERS),
    ),
)


def asyncapi_page(version: str) -> str:
    """Render docs/asyncapi.yaml; `version` is the program's."""
    topics = Topics(Settings().prefix)
    settings = {topic.name.removeprefix(f"{topics.prefix}."): topic for topic in topics.settings({"events": 1}, 1)}
    document = {
        "asyncapi": ASYNCAPI,
        "info": _described(version),
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": Settings().kafka.bootstrap[0], "protocol": "kafka", "description": "`kafka.bootstrap`."}},
        "channels": {channel.name: _channel(channel, settings[channel.name]) for channel in CHANNELS},
        "operations": {_operation(channel): _action(channel) for channel in CHANNELS},
        "components": {"messages": {channel.title: _message(channel) for channel in CHANNELS}},
    }
    dumped = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=140)
    return f"# Written from src/correlator/runtime/asyncapi.py by `make docs`; change it there.\n{dumped}"


def _described(version: str) -> dict[str, object]:
    internal = ", ".join(f"`{name}`" for name in INTERNAL)
    return {
        "title": "correlator",
        "version": version,
        "description": (
            f"What the correlator reads from and writes to Apache Kafka. The topics {internal} of the same prefix are its own: they are no "
            "contract. Records are written in transactions; a consumer that reads uncommitted ones sees what never was."
        ),
        "license": {"name": "Apache-2.0"},
    }


def _channel(channel: Channel, topic: TopicSettings) -> dict[str, object]:
    is_raw = channel.name == "events"
    parameters = {"prefix": {"description": "`prefix` of the settings.", "default": Settings().prefix}}
    if is_raw:
        parameters["topic"] = {"description": "`topics.name` of the settings.", "default": "events"}
    made = settings_of(topic, 1)
    configuration = {name: [made[name]] if name == "cleanup.policy" else int(made[name]) for name in _SHOWN if name in made}
    return {
        "address": "{prefix}.{topic}" if is_raw else f"{{prefix}}.{channel.name}",
        "title": channel.title,
        "description": f"{_partitions(channel)} {_kept(topic)}",
        "parameters": parameters,
        "messages": {channel.title: {"$ref": f"#/components/messages/{channel.title}"}},
        "bindings": {"kafka": {"topicConfiguration": configuration, "bindingVersion": _BINDING}},
    }


def _partitions(channel: Channel) -> str:
    if channel.name == "events":
        return "As many partitions as the settings say."
    return "One partition." if channel.name == "dead-letters" else "A partition for each domain of the topology."


def _kept(topic: TopicSettings) -> str:
    if topic.compacted:
        return "Compacted: the newest record of each key stays."
    assert topic.retention is not None, "what is not compacted has a retention"
    return f"Records stay for {topic.retention // DAY} days, unless the settings say otherwise."


def _operation(channel: Channel) -> str:
    return f"{'read' if channel.name == 'events' else 'write'}{channel.title}s"


def _action(channel: Channel) -> dict[str, object]:
    """Say what the correlator does: it receives events and sends the rest."""
    return {
        "action": "receive" if channel.name == "events" else "send",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.title}"}],
    }


def _message(channel: Channel) -> dict[str, object]:
    found: dict[str, object] = {
        "name": channel.title,
        "summary": channel.summary,
        "contentType": "application/json" if channel.schema is not None else "application/octet-stream",
        "bindings": {"kafka": {"key": {**_TEXT, "description": channel.key}, "bindingVersion": _BINDING}},
    }
    if channel.headers:
        found["headers"] = {
            "type": "object",
            "required": list(channel.required),
            "properties": {name: {**_header(name), "description": told} for name, told in channel.headers.items()},
        }
    if channel.schema is not None:
        found["payload"] = {"schemaFormat": _FORMAT, "schema": {"$ref": f"schemas/{channel.schema}.schema.json"}}
    return found


def _header(name: str) -> dict[str, str]:
    return _WHOLE if name in ("partition", "offset", "length", "refused", REVISION_HEADER, SCHEMA_HEADER[0]) else _TEXT
