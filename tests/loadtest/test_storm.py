"""A storm is what it says: deterministic, of the asked size, with a truth that its events bear out."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import orjson
import pytest
import yaml

from loadtest.plan import Settings, apportion
from loadtest.storm import Event, Storm, make_storm, parse_settings, stream, write_storm
from loadtest.truth import read_truth

SMALL = Settings(events=12_000, seed=3, services=40, faults=6, hours=4.0, clusters=2)


@pytest.fixture(scope="module")
def storm() -> Storm:
    return make_storm(SMALL)


@pytest.fixture(scope="module")
def events(storm: Storm) -> list[Event]:
    return list(stream(storm))


def identity(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def turns(events: list[Event]) -> list[Event]:
    """The events that are no repeat, in the order of their times."""
    status: dict[tuple[tuple[str, str], ...], str] = {}
    found = []
    for event in sorted(events, key=lambda event: event["at"]):
        key = identity(event["labels"])
        if status.get(key) != event["status"]:
            found.append(event)
            status[key] = event["status"]
    return found


def edges_of(document: Event) -> set[tuple[str, str]]:
    """Every edge of a topology document, by source and target."""
    found = {(edge["from"], edge["to"]) for edge in document["edges"]}
    for name, service in document["services"].items():
        found |= {(name, target if isinstance(target, str) else target["service"]) for target in service["depends_on"]}
    return found


def topology(folder: Path) -> Event:
    document: Event = yaml.safe_load((folder / "topology.yaml").read_text())
    return document


def test_a_storm_has_exactly_the_asked_events(events: list[Event]) -> None:
    assert len(events) == SMALL.events


def test_the_same_settings_give_the_same_bytes_under_any_hash_seed(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SMALL, events=2_000)
    write_storm(settings, tmp_path / "here")
    options = [f"--{name}={getattr(settings, name)}" for name in ("events", "seed", "services", "faults", "hours", "clusters")]
    command = [sys.executable, "-m", "loadtest.storm", *options, "--out", str(tmp_path / "there")]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "77"}, cwd=Path(__file__).parents[2], capture_output=True)
    for name in ("events.jsonl", "topology.yaml", "truth.json"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_another_seed_gives_another_storm(events: list[Event]) -> None:
    assert list(stream(make_storm(msgspec.structs.replace(SMALL, seed=4)))) != events


def test_repeats_and_noise_have_their_shares(storm: Storm, events: list[Event]) -> None:
    assert 1 - len(turns(events)) / len(events) == pytest.approx(SMALL.repeats, abs=0.005)
    stretches = storm.plan.stretches
    assert sum(stretch.fault is None for stretch in stretches) / len(stretches) == pytest.approx(SMALL.noise, abs=0.05)


def test_events_have_the_bytes_of_a_real_storm() -> None:
    storm = make_storm(msgspec.structs.replace(Settings(), events=8_000, faults=20, hours=6.0))
    sizes = [len(orjson.dumps(event)) + 1 for event in stream(storm)]
    assert sum(sizes) / len(sizes) == pytest.approx(340, abs=10)


def test_nearly_all_alerts_resolve(events: list[Event]) -> None:
    last = {identity(event["labels"]): event["status"] for event in sorted(events, key=lambda event: event["at"])}
    assert Counter(last.values())["resolved"] / len(last) > 0.95


def test_delivery_is_at_most_five_seconds_out_of_order(events: list[Event]) -> None:
    latest, worst = 0, 0
    for event in events:
        latest = max(latest, event["at"])
        worst = max(worst, latest - event["at"])
    assert 0 < worst <= 5_000


def test_an_alert_is_delivered_in_the_order_of_its_times(events: list[Event]) -> None:
    last: dict[tuple[tuple[str, str], ...], int] = {}
    for event in events:
        key = identity(event["labels"])
        assert last.get(key, 0) < event["at"]
        last[key] = event["at"]


def test_one_source_in_five_writes_its_keys_the_other_way_round(events: list[Event]) -> None:
    order_by_source = {event["source"]: (tuple(event), tuple(event["labels"])) for event in events}
    assert len(order_by_source) == 5 * SMALL.clusters
    assert sorted(Counter(order_by_source.values()).values()) == [SMALL.clusters, 4 * SMALL.clusters]


def test_value_and_annotations_differ_from_event_to_event(events: list[Event]) -> None:
    texts = {event["annotations"]["description"] for event in events}
    assert len(texts) == len(events)


def test_truth_tells_every_stretch_with_the_times_of_its_events(storm: Storm, events: list[Event]) -> None:
    truth = storm.truth()
    told = {(identity(raised.labels), raised.at) for raised in truth.noise}
    for fault in truth.faults:
        told |= {(identity(raised.labels), raised.at) for raised in fault.alerts}
    assert told == {(identity(event["labels"]), event["at"]) for event in turns(events) if event["status"] == "firing"}


def test_each_fault_shows_at_its_root_first_and_spreads_along_edges(storm: Storm) -> None:
    callers = {(edge.source, edge.target) for edge in storm.landscape.edges}
    for fault in storm.truth().faults:
        first = min(fault.alerts, key=lambda raised: raised.at)
        assert (first.labels["service"], first.at) == (fault.root, fault.start)
        assert {raised.labels["cluster"] for raised in fault.alerts} == {fault.cluster}
        assert {raised.labels["service"] for raised in fault.alerts} <= set(fault.services)
        for place, service in enumerate(fault.services[1:], 1):
            assert any((service, reached) in callers for reached in fault.services[:place])


@pytest.mark.parametrize(("concurrency", "hours"), [(1, 16.0), (3, 4.0)])
def test_no_more_faults_at_once_than_allowed(concurrency: int, hours: float) -> None:
    faults = make_storm(msgspec.structs.replace(SMALL, events=3_000, concurrency=concurrency, hours=hours)).plan.faults
    assert max(sum(other.start <= fault.start <= other.end for other in faults) for fault in faults) <= concurrency


def test_faults_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="faults do not fit: take more hours, fewer faults or a concurrency above 1"):
        make_storm(msgspec.structs.replace(SMALL, hours=1.0, faults=50, concurrency=1))


def test_hidden_edges_are_in_the_truth_and_not_in_the_topology(tmp_path: Path) -> None:
    truth = write_storm(msgspec.structs.replace(SMALL, events=1_000, hide_edges=0.3), tmp_path)
    hidden, told = set(truth.hidden_edges), edges_of(topology(tmp_path))
    assert hidden
    assert not hidden & told
    assert len(hidden) / (len(hidden) + len(told)) == pytest.approx(0.3, abs=0.1)


def test_a_skewed_clock_moves_all_events_of_its_source_and_nothing_else() -> None:
    plain = list(stream(make_storm(msgspec.structs.replace(SMALL, events=2_000))))
    storm = make_storm(msgspec.structs.replace(SMALL, events=2_000, clock_skew=30.0))
    assert len(storm.skews) == SMALL.clusters
    assert all(15_000 <= abs(skew) <= 30_000 for skew in storm.skews.values())
    skewed = [{**event, "at": event["at"] - storm.skews.get(event["source"], 0)} for event in stream(storm)]
    assert skewed == plain


def test_the_topology_knows_every_service_and_host_of_the_events(tmp_path: Path) -> None:
    write_storm(msgspec.structs.replace(SMALL, events=2_000), tmp_path)
    document = topology(tmp_path)
    assert document["split_by"] == ["cluster"]
    for line in (tmp_path / "events.jsonl").read_bytes().splitlines():
        labels = orjson.loads(line)["labels"]
        assert labels["host"] in document["services"][labels["service"]]["runs_on"]
        assert labels["host"] in document["hosts"]


def test_the_dependencies_form_no_cycle(storm: Storm) -> None:
    layer = {service.name: service.layer for service in storm.landscape.services}
    assert all(layer[edge.source] < layer[edge.target] for edge in storm.landscape.edges if edge.target in layer)


def test_truth_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert write_storm(msgspec.structs.replace(SMALL, events=1_000), tmp_path) == read_truth(tmp_path / "truth.json")


def test_every_setting_has_its_option(tmp_path: Path) -> None:
    settings, folder = parse_settings(["--out", str(tmp_path), "--hide-edges", "0.2", "--clock-skew", "20", "--events", "5"])
    assert settings == msgspec.structs.replace(Settings(), hide_edges=0.2, clock_skew=20.0, events=5)
    assert folder == tmp_path


@pytest.mark.parametrize(("total", "weights"), [(0, [1.0]), (7, [1.0, 1.0, 1.0]), (10, [0.1, 5.0, 2.2]), (-3, [1.0, 2.0])])
def test_shares_add_up_to_the_whole(total: int, weights: list[float]) -> None:
    shares = apportion(total, weights)
    assert sum(shares) == max(total, 0)
    assert min(shares) >= 0
