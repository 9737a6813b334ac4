"""The demo's storm is deterministic and fits its topology."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from correlator.runtime import shop

START = 1_767_571_200_000
TOPOLOGY = Path(__file__).parents[2] / "topologies" / "demo" / "shop.yaml"


@pytest.fixture(scope="module")
def topology() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(TOPOLOGY.read_text())
    return document


@pytest.fixture(scope="module")
def events() -> list[shop.Event]:
    return list(shop.events(1, START))


def test_a_seed_gives_the_same_events_and_another_seed_others(events: list[shop.Event]) -> None:
    assert list(shop.events(1, START)) == events
    assert list(shop.events(2, START)) != events


def test_some_twenty_thousand_events_in_forty_minutes(events: list[shop.Event]) -> None:
    assert 18_000 <= len(events) <= 22_000
    times = [event["at"] - START for event in events]
    assert min(times) >= 0
    assert 35 * shop.MINUTE < max(times) <= shop.LENGTH


def test_the_three_faults_overlap_in_time() -> None:
    assert max(fault.start for fault in shop.FAULTS) < min(fault.end for fault in shop.FAULTS)
    assert len({fault.root for fault in shop.FAULTS}) == 3


def test_the_first_symptom_of_a_fault_is_at_its_root() -> None:
    for fault in shop.FAULTS:
        first = min(fault.symptoms, key=lambda symptom: symptom.after)
        assert (first.service, first.after) == (fault.root, 0)


def test_the_topology_knows_all_services_and_hosts(topology: dict[str, Any], events: list[shop.Event]) -> None:
    assert {name: list(hosts) for name, hosts in shop.HOSTS.items()} == {
        name: each["runs_on"] for name, each in topology["services"].items()
    }
    known = {*topology["services"], *topology["external"]}
    assert {event["labels"]["service"] for event in events} <= known
    assert {event["labels"].get("host", "node-1") for event in events} <= set(topology["hosts"])


def test_every_symptom_has_a_path_to_the_root_of_its_fault(topology: dict[str, Any]) -> None:
    targets = {
        name: [each if isinstance(each, str) else each["service"] for each in service.get("depends_on", [])]
        for name, service in topology["services"].items()
    }
    for edge in topology["edges"]:
        targets[edge["from"]].append(edge["to"])
    for fault in shop.FAULTS:
        assert all(reaches(targets, symptom.service, fault.root) for symptom in fault.symptoms)


def reaches(targets: dict[str, list[str]], source: str, goal: str) -> bool:
    return source == goal or any(reaches(targets, target, goal) for target in targets.get(source, []))


def test_every_alert_resolves_in_the_end(events: list[shop.Event]) -> None:
    last = {(event["source"], *event["labels"].values()): event["status"] for event in sorted(events, key=lambda event: event["at"])}
    assert set(last.values()) == {"resolved"}


def test_delivery_is_at_most_four_seconds_out_of_order(events: list[shop.Event]) -> None:
    latest, worst = 0, 0
    for event in events:
        latest = max(latest, event["at"])
        worst = max(worst, latest - event["at"])
    assert 0 < worst <= shop.LATEST
