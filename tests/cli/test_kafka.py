"""The service on a real broker: the same commands, the same incidents."""

import asyncio
import json
import socket
from pathlib import Path
from time import monotonic

import pytest

from loadtest.broker import Broker
from loadtest.company import Service
from tests.cli.conftest import Call
from tests.cli.program import correlator
from tests.cli.story import GOOD

ROOT = Path(__file__).resolve().parents[2]
TELLS_OF_BATCHES = ("revision", "counts", "why")
"""What may differ between two runs that cut the same log into other batches."""


@pytest.fixture
def settings(tmp_path: Path, broker: Broker) -> Path:
    """Settings of a shop whose log is on the broker."""
    path = tmp_path / "settings.yaml"
    path.write_text(
        f"rules: [{ROOT}/rules/default.yaml]\n"
        f"topology: [{ROOT}/topologies/demo/shop.yaml]\n"
        f"prefix: {tmp_path.name.replace('_', '-')}\n"
        f"kafka: {{bootstrap: ['{broker.address}']}}\n"
        "topics: [{name: events, arrival: item}]\n"
    )
    return path


def judged(settings: Path, *options: str) -> list[dict[str, object]]:
    """Publish the storm of the demo, have it judged, and answer its incidents without what tells of batches."""
    options = ("--config", str(settings), *options)
    storm = settings.with_name("storm.jsonl")
    assert correlator("demo", "--save", storm, cwd=ROOT).returncode == 0
    for command in (("publish", *options, storm), ("run", *options, "--until-idle", "--listen", "off")):
        ended = correlator(*command)
        assert ended.returncode == 0, ended.stderr
    ended = correlator("incidents", *options, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    incidents = [json.loads(line) for line in ended.stdout.splitlines()]
    kept = [{key: value for key, value in incident.items() if key not in TELLS_OF_BATCHES} for incident in incidents]
    return sorted(kept, key=lambda incident: str(incident["id"]))


def test_a_storm_on_kafka_gives_the_incidents_of_the_embedded_log(settings: Path) -> None:
    on_kafka = judged(settings)
    assert on_kafka
    assert on_kafka == judged(settings, "--embedded", str(settings.with_name("log")))


async def judged_before_there_is(broker: Broker, settings: Path) -> int:
    """Start a run while its broker is away, then the broker; answer the exit code."""
    broker.kill()
    with Service(settings, "--until-idle") as service:
        await service.until(f"no Kafka broker answers at {broker.address}")
        assert "; trying again in " in service.said[-1]
        await asyncio.to_thread(broker.start)
        return await service.ended()


def test_a_run_goes_on_where_the_last_one_stopped_and_waits_for_its_broker(call: Call, settings: Path, broker: Broker) -> None:
    options = ("--config", settings)
    assert call("publish", *options, "good.jsonl").exit_code == 0
    ended = correlator("run", *options, "--until-idle", "--listen", "off", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["events"]) == (0, len(GOOD)), ended.stderr
    assert asyncio.run(judged_before_there_is(broker, settings)) == 0
    ended = correlator("run", *options, "--until-idle", "--listen", "off", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["events"]) == (0, 0), ended.stderr
    assert len(call("incidents", *options, "--json").stdout.splitlines()) == 2


def test_a_broker_that_does_not_answer_is_an_error_within_seconds(call: Call, story: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        port = mute.getsockname()[1]
        (story / "settings.yaml").write_text(f"kafka: {{bootstrap: ['127.0.0.1:{port}'], patience: 0s}}\n")
        started = monotonic()
        result = call("run", "--listen", "off", "--config", "settings.yaml")
    assert monotonic() - started < 20
    assert result.exit_code == 2
    assert f"no Kafka broker answers at 127.0.0.1:{port}: no answer in time; start one or set `kafka.bootstrap`" in result.stderr


@pytest.mark.parametrize("command", [("publish", "good.jsonl"), ("incidents",)])
def test_a_port_where_nobody_listens_is_an_error_at_once(call: Call, story: Path, command: tuple[str, ...]) -> None:
    (story / "settings.yaml").write_text("kafka: {bootstrap: ['127.0.0.1:1']}\n")
    result = call(*command, "--config", "settings.yaml")
    assert result.exit_code == 2
    assert "no Kafka broker answers at 127.0.0.1:1: " in result.stderr


def explanations(call: Call, *options: object) -> list[str]:
    """Publish and judge good events; answer an alert's explanation, its incident's, and that one drawn."""
    assert call("publish", *options, "good.jsonl").exit_code == 0
    assert correlator("run", *options, "--until-idle", "--listen", "off").returncode == 0
    alert = call("explain", *options, "service=payments", "--json").stdout
    incident = json.loads(alert)["incident"]
    return [alert, call("explain", *options, incident).stdout, call("graph", *options, incident).stdout]


def test_a_log_on_kafka_is_explained_and_drawn_as_an_embedded_one(call: Call, settings: Path) -> None:
    on_kafka = explanations(call, "--config", settings)
    assert "What happened, in order" in on_kafka[1]
    assert on_kafka == explanations(call, "--config", settings, "--embedded", settings.with_name("log"))
