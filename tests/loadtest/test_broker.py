"""The broker for a developer's machine: where it listens, and what it says about that."""

import socket
from pathlib import Path

from correlator.config.settings import load_settings

from loadtest.broker import USUAL_PORT, Broker, free_port, told


def test_a_port_that_is_free_is_taken_and_one_that_is_not_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_broker_at_the_usual_port_needs_no_settings(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.port = USUAL_PORT
    assert told(broker) == f"Kafka answers at 127.0.0.1:9092; Ctrl-C stops it and deletes its topics ({tmp_path})"


def test_a_broker_at_another_port_says_settings_that_name_it(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    _, _, *lines = told(broker).splitlines()
    (tmp_path / "settings.yaml").write_text("\n".join(lines))
    settings = load_settings(str(tmp_path / "settings.yaml"))
    assert settings.kafka.bootstrap == (broker.address,)
    assert [(topic.name, topic.arrival) for topic in settings.topics] == [("events", "item")]
