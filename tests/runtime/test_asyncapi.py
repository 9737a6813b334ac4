"""The AsyncAPI document is well formed, points at what exists, and says of topics, keys and headers what the service does."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from correlator.cli.docs import ROOT
from correlator.config.settings import OWN_TOPICS, Settings, TopicSettings
from correlator.runtime.asyncapi import CHANNELS, INTERNAL
from correlator.runtime.http import Readiness
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Batch, Messages, TopicPartition
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import END_HEADER, Topics
from correlator.runtime.worker import Worker

from tests.builders import a_control, an_event

PAGE: Final = ROOT / "docs" / "asyncapi.yaml"
DOCUMENT: Final[dict[str, Any]] = yaml.safe_load(PAGE.read_text())
TOPICS: Final = Topics("correlator")

# By the AsyncAPI 3.0 specification: the fields that an object must have, and all that it may have (extensions aside).
OBJECTS: Final[dict[str, tuple[set[str], set[str]]]] = {
    "root": ({"asyncapi", "info"}, {"id", "servers", "defaultContentType", "channels", "operations", "components"}),
    "info": ({"title", "version"}, {"description", "termsOfService", "contact", "license", "tags", "externalDocs"}),
    "server": (
        {"host", "protocol"},
        {"protocolVersion", "pathname", "description", "title", "summary", "variables", "security", "tags", "externalDocs", "bindings"},
    ),
    "channel": (
        set(),
        {"address", "messages", "title", "summary", "description", "servers", "parameters", "tags", "externalDocs", "bindings"},
    ),
    "parameter": (set(), {"enum", "default", "description", "examples", "location"}),
    "operation": (
        {"action", "channel"},
        {"title", "summary", "description", "security", "tags", "externalDocs", "bindings", "traits", "messages", "reply"},
    ),
    "message": (
        set(),
        {
            *("headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags", "externalDocs"),
            *("bindings", "examples", "traits"),
        },
    ),
    "components": (
        set(),
        {
            *(
                "schemas",
                "servers",
                "channels",
                "operations",
                "messages",
                "securitySchemes",
                "serverVariables",
                "parameters",
                "correlationIds",
            ),
            *("replies", "replyAddresses", "externalDocs", "tags", "operationTraits", "messageTraits", "serverBindings", "channelBindings"),
            *("operationBindings", "messageBindings"),
        },
    ),
    "payload": ({"schemaFormat", "schema"}, set()),
    "channel binding": (set(), {"topic", "partitions", "replicas", "topicConfiguration", "bindingVersion"}),
    "message binding": (set(), {"key", "schemaIdLocation", "schemaIdPayloadEncoding", "schemaLookupStrategy", "bindingVersion"}),
}


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document with its kind."""
    yield "root", DOCUMENT
    yield "info", DOCUMENT["info"]
    yield "components", DOCUMENT["components"]
    yield from (("server", server) for server in DOCUMENT["servers"].values())
    yield from (("operation", operation) for operation in DOCUMENT["operations"].values())
    for channel in DOCUMENT["channels"].values():
        yield "channel", channel
        yield "channel binding", channel["bindings"]["kafka"]
        yield from (("parameter", parameter) for parameter in channel["parameters"].values())
    for message in DOCUMENT["components"]["messages"].values():
        yield "message", message
        yield "message binding", message["bindings"]["kafka"]
        if "payload" in message:
            yield "payload", message["payload"]


def test_every_object_has_the_fields_of_the_specification_and_no_others() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    for kind, found in objects():
        required, optional = OBJECTS[kind]
        assert required <= set(found) <= required | optional, kind
    assert {operation["action"] for operation in DOCUMENT["operations"].values()} == {"send", "receive"}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("reference", sorted(set(references(DOCUMENT))))
def test_a_reference_points_at_what_exists(reference: str) -> None:
    if not reference.startswith("#/"):
        assert json.loads((PAGE.parent / reference).read_text())["$schema"]
        return
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    assert found


def test_an_address_names_its_parameters_and_no_others() -> None:
    for channel in DOCUMENT["channels"].values():
        assert {f"{{{name}}}" for name in channel["parameters"]} == {part for part in channel["address"].split(".") if part.startswith("{")}


def test_every_topic_is_a_channel_or_said_to_be_internal() -> None:
    names = {topic.name.removeprefix("correlator.") for topic in TOPICS.settings({"events": 1}, 1)}
    assert names == {*DOCUMENT["channels"], *INTERNAL}
    assert all(f"`{name}`" in DOCUMENT["info"]["description"] for name in INTERNAL)


def headers_told(channel: str) -> tuple[set[str], set[str]]:
    """Answer the headers that a record of a channel must have, and those that it may have."""
    [title] = [one.title for one in CHANNELS if one.name == channel]
    told = DOCUMENT["components"]["messages"][title].get("headers", {"required": [], "properties": {}})
    return set(told["required"]), set(told["properties"])


async def judged() -> MemoryLog:
    """Answer a log with one incident and one dead letter."""
    log = MemoryLog()
    topic = TopicSettings.model_validate({"name": "events", "arrival": "item"})
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    writer = log.writer(None)
    await writer.begin()
    raw = TopicPartition(TOPICS.raw("events"), 0)
    await writer.send(raw, Messages([an_event(), an_event(said="2m"), b"{"]))
    await writer.send(raw, Messages([b""], headers=[END_HEADER]))
    await writer.commit()
    worker = Worker(log, Settings(topics=(topic,)), a_control(), telemetry=Telemetry(), readiness=Readiness())
    await worker.run(until_idle=True)
    return log


@pytest.mark.parametrize("channel", [channel.name for channel in CHANNELS])
def test_records_have_the_headers_that_are_told(channel: str) -> None:
    async def read() -> Batch:
        log = await judged()
        return await log.reader(TopicPartition(f"correlator.{channel}", 0)).poll(max_records=100, timeout_ms=0)

    batch = asyncio.run(read())
    assert len(batch)
    required, allowed = headers_told(channel)
    seen = [{name for name, _ in headers} for headers in batch.headers or [()] * len(batch)]
    assert all(required <= names <= allowed for names in seen)
    assert set().union(*seen) == allowed


def test_no_raw_topic_may_have_the_name_of_one_that_the_service_writes() -> None:
    assert tuple([topic.name.removeprefix("correlator.") for topic in TOPICS.settings({}, 1)]) == OWN_TOPICS
