"""What another client sees: the documents of a run as confluent-kafka reads them, without any code of ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from correlator.cli.docs import ROOT

from loadtest.broker import Broker
from tests.cli.program import correlator

PATIENCE_S: Final = 20


@pytest.fixture(scope="module")
def judged(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of an application that has judged the demo's storm; its topology has one domain."""
    folder = tmp_path_factory.mktemp("other-client")
    settings = folder / "settings.yaml"
    settings.write_text(
        f"rules: [{ROOT}/rules/default.yaml]\n"
        f"topology: [{ROOT}/topologies/demo/shop.yaml]\n"
        "prefix: other-client\n"
        f"kafka: {{bootstrap: ['{broker.address}']}}\n"
        "topics: [{name: events, arrival: item}]\n"
    )
    storm = folder / "storm.jsonl"
    assert correlator("demo", "--save", storm, cwd=ROOT).returncode == 0
    for command in (("publish", storm), ("run", "--until-idle", "--listen", "off")):
        ended = correlator(command[0], "--config", settings, *command[1:])
        assert ended.returncode == 0, ended.stderr
    return settings


def read(broker: Broker, topic: str) -> Iterator[Message]:
    """Read a topic of one partition to its end, committed records only, oldest first."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "another-client",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    deadline = monotonic() + PATIENCE_S
    try:
        while True:
            message = consumer.poll(1.0)
            assert monotonic() < deadline, f"{topic} has no end"
            if message is None:
                continue
            error = message.error()
            if error is not None and error.name() == "_PARTITION_EOF":
                return
            assert error is None, error
            yield message
    finally:
        consumer.close()


def headers_of(message: Message) -> list[tuple[str, str | bytes | None]]:
    headers = message.headers()
    assert isinstance(headers, list)
    return headers


def document_of(message: Message) -> dict[str, Any]:
    body = message.value()
    assert body is not None
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


def invalid(name: str, documents: list[dict[str, Any]]) -> list[str]:
    """Answer what a published schema has against documents."""
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    return [error.message for document in documents for error in validator.iter_errors(document)]


@pytest.mark.usefixtures("judged")
def test_incidents_are_keyed_by_id_and_say_their_schema_and_revision(broker: Broker) -> None:
    messages = [message for message in read(broker, "other-client.incidents") if message.value() is not None]
    documents = list(map(document_of, messages))
    assert len(documents) > 10
    assert invalid("incident", documents) == []
    for message, document in zip(messages, documents, strict=True):
        assert message.key() == document["id"].encode()
        assert headers_of(message) == [("schema", b"1"), ("revision", str(document["revision"]).encode())]


def test_revisions_of_an_incident_grow_and_its_last_one_is_what_the_command_prints(broker: Broker, judged: Path) -> None:
    last: dict[str, dict[str, Any]] = {}
    for message in read(broker, "other-client.incidents"):
        key = (message.key() or b"").decode()
        if message.value() is None:
            last.pop(key)
            continue
        document = document_of(message)
        assert document["revision"] > last.get(key, {"revision": 0})["revision"]
        last[key] = document
    ended = correlator("incidents", "--all", "--config", judged, "--json")
    printed = {document["id"]: document for document in map(json.loads, ended.stdout.splitlines())}
    assert printed == last


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(("topic", "schema"), [("alerts", "alert"), ("decisions", "decision")])
def test_alerts_and_decisions_obey_their_published_schemas(broker: Broker, topic: str, schema: str) -> None:
    messages = [message for message in read(broker, f"other-client.{topic}") if message.value() is not None]
    documents = list(map(document_of, messages))
    assert len(documents) > 10
    assert invalid(schema, documents) == []
    if topic == "alerts":
        assert [message.key() for message in messages] == [document["fingerprint"].encode() for document in documents]
