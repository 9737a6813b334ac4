"""Real faults as events: converters lose and invent nothing, and the scores of a replay are those of its incidents."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.config.load import load_topology
from correlator.model.topology import EdgeKind

from benchmarks import real
from benchmarks.labelled import (
    CLOUDBED,
    FAULTS,
    MICROSS,
    Fault,
    System,
    events_of,
    joined,
    read_sockshop,
    read_system,
    squeezed,
    write_system,
)
from benchmarks.partition import adjusted_rand, group_by_found
from loadtest.truth import Raised

START = 1_625_136_300_000
KNOWLEDGE = {
    "nodes": [
        {"id": "web", "type": "Service"},
        {"id": "db", "type": "Service"},
        {"id": "redis", "type": "Cache"},
        {"id": "web1", "type": "Service_Instance"},
        {"id": "db1", "type": "Service_Instance"},
        {"id": "host4", "type": "Host"},
    ],
    "edges": [
        {"source": "web", "target": "db", "label": "control_flow"},
        {"source": "db", "target": "redis", "label": "data_flow"},
        {"source": "web1", "target": "web", "label": "instance_of"},
        {"source": "web", "target": "web1", "label": "has_instance"},
        {"source": "db1", "target": "db", "label": "instance_of"},
        {"source": "web1", "target": "host4", "label": "hosted_on"},
        {"source": "host4", "target": "web1", "label": "hosts"},
    ],
}
METRICS = {"0": [[str(START + 2_000), "web1", "0.0.0.4", "cpu", "up"], [str(START + 1_000), "0.0.0.4", "system", "load", "up"]]}
CALLS = {"0": [[str(START), "web1", "db1", "get", "PD"]], "1": [[str(START + 7_200_000), "web1", "db1", "get", "500"]]}
LOGS = {"1": [["db1", "7", ["2021-07-01 20:45:00,250 | ERROR | db1 | no room"], 1, None]]}
TABLE = "fault_id,orig_fault_id,fault_entity\n0,106,db1\n1,106,db1\n2,200,web1\n"


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder as that of the real sets, with a small system of three faults, the last of which left no alert."""
    alerts = tmp_path / "rca_alerts" / "fault-alerts" / MICROSS
    graph = tmp_path / "rca_alerts" / "system-knowledge-graphs" / "original" / MICROSS / f"{MICROSS}-KG.json"
    files: dict[Path, Any] = {graph: KNOWLEDGE, alerts / "metric" / "metrics.json": METRICS}
    files |= {alerts / "trace" / "traces.json": CALLS, alerts / "log" / "logs.json": LOGS}
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(content))
    (alerts / "label.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path


def test_every_alert_becomes_one_event_in_order_of_time(sets: Path) -> None:
    events = [orjson.loads(line) for line in events_of(read_system(MICROSS, faults=sets))]
    assert [event["at"] - START for event in events] == [0, 1_000, 2_000, 7_200_000]
    assert [event["labels"]["alertname"] for event in events] == ["slow calls", "load up", "cpu up", "calls answered 500"]


def test_alerts_belong_to_what_they_are_about_and_calls_to_the_callee(sets: Path) -> None:
    system = read_system(MICROSS, faults=sets)
    topology = real.topology_of(system)
    assert [topology.entity_of(alert.labels) for alert in system.faults[0].alerts] == ["db1", None, "web1"]
    assert [alert.labels.get("host") for alert in system.faults[0].alerts] == [None, "0.0.0.4", "0.0.0.4"]


def test_a_log_is_an_alert_when_its_first_line_was_written_in_china(sets: Path) -> None:
    [log] = read_system(MICROSS, faults=sets).faults[1].logs
    assert (log.at, log.labels["pod"]) == (START + 7_200_250, "db1")


def test_the_graph_loads_without_a_word(sets: Path, tmp_path: Path) -> None:
    topology, problems = load_topology([str(write_system(read_system(MICROSS, faults=sets), tmp_path / "out")[1])])
    assert problems == []
    assert {(edge.source, edge.target, edge.kind) for edge in topology.edges} == {
        ("web", "db", EdgeKind.CALLS),
        ("db", "redis", EdgeKind.CALLS),
        ("web", "web1", EdgeKind.OF),
        ("db", "db1", EdgeKind.OF),
        ("web1", "host4", EdgeKind.RUNS_ON),
    }


def test_a_prefix_renames_and_does_nothing_else(sets: Path) -> None:
    plain, renamed = read_system(MICROSS, faults=sets), read_system(MICROSS, prefix="one/", faults=sets)
    assert b"\n".join(events_of(renamed)).replace(b"one/", b"") == b"\n".join(events_of(plain))
    assert orjson.dumps(renamed.graph).replace(b"one/", b"") == orjson.dumps(plain.graph)


def test_two_systems_in_one_stream_keep_every_alert_and_every_name(sets: Path) -> None:
    first, second = [read_system(MICROSS, prefix=prefix, faults=sets) for prefix in ("one/", "two/")]
    both = joined(first, second)
    assert sorted(events_of(both)) == sorted([*events_of(first), *events_of(second)])
    assert list(both.graph["services"]) == [*first.graph["services"], *second.graph["services"]]


GAPS = st.lists(st.lists(st.integers(0, 50_000), min_size=1, max_size=4), min_size=1, max_size=5)


def a_system(gaps: Sequence[Sequence[int]], at: int = START) -> System:
    """A fault for each list of distances between alerts, all at services of their own."""
    faults = []
    for number, distances in enumerate(gaps):
        alerts: list[Raised] = []
        for gap in distances:
            at += gap
            alerts.append(Raised({"alertname": f"alert {len(alerts)}", "service": f"service {number}"}, at, at))
        at += 60_000
        faults.append(Fault(str(number), str(number), f"service {number}", tuple(alerts)))
    return System({"services": {f"service {number}": {} for number in range(len(gaps))}}, tuple(faults))


@given(GAPS, GAPS)
def test_squeezing_keeps_each_fault_as_it_was_and_begins_them_evenly(gaps: list[list[int]], others: list[list[int]]) -> None:
    system, into = a_system(gaps), a_system(others, at=START * 2)
    moved = squeezed(system, into)
    for before, after in zip(system.faults, moved.faults, strict=True):
        assert [alert.at - after.started for alert in after.alerts] == [alert.at - before.started for alert in before.alerts]
        assert [alert.labels for alert in after.alerts] == [alert.labels for alert in before.alerts]
    starts = [fault.started for fault in moved.faults]
    steps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(steps, default=0) - min(steps, default=0) <= 1
    assert starts[0] == into.faults[0].started


@given(GAPS)
def test_stretches_that_are_the_faults_own_incidents_score_one(gaps: list[list[int]]) -> None:
    system = a_system(gaps)
    rows = [
        {"labels": alert.labels, "startsAt": "1970-01-01T00:00:00Z", "incident": fault.id}
        for fault in system.faults
        for alert in fault.alerts
    ]
    pairs = real.pairs_of(system.faults, rows)
    assert adjusted_rand(pairs) == pytest.approx(1.0)
    assert sum(pairs.values()) == len(events_of(system))


def test_an_alert_counts_to_the_stretch_that_covers_it_or_to_none() -> None:
    labels = {"alertname": "cpu", "service": "web"}
    alerts = [Raised(labels, at, at) for at in (500, 1_000, 1_999, 2_000)]
    rows = [
        {"labels": labels, "startsAt": "1970-01-01T00:00:02Z", "incident": "second"},
        {"labels": labels, "startsAt": "1970-01-01T00:00:01Z", "incident": "first"},
    ]
    pairs = real.pairs_of([Fault("f", "f", "web", tuple(alerts))], rows)
    assert sorted(pairs.values()) == [1, 1, 2]
    assert (pairs["f", "first"], pairs["f", "second"]) == (2, 1)


def test_half_a_minute_of_silence_ends_a_naive_group_and_no_more() -> None:
    assert len(real.by_gap(a_system([[0, 30_000]]))) == 1
    assert len(real.by_gap(a_system([[0, 30_001]]))) == 2


def test_a_fault_that_was_not_found_names_no_root() -> None:
    system = a_system([[0], [0]])
    judged = real.Judged({("0", "a"): 1, ("1", "b"): 1, ("noise", "b"): 9}, {"a": ["service 0"], "b": ["service 1"]})
    assert real.ranked_by_own(system, judged) == {"0": ["service 0"], "1": ()}


def test_alerts_given_to_a_fault_are_ranked_by_the_entities_they_show(sets: Path) -> None:
    system = read_system(MICROSS, faults=sets)
    hits = real.hits_of(system.faults[0].alerts, real.topology_of(system))
    assert [(hit.entity, hit.onset - START, hit.alerts) for hit in hits.values()] == [
        ("db1", 0, 1),
        ("web1", 2_000, 1),
    ]
    assert set(real.ranked_by_given(system, real.topology_of(system))["0"]) <= {"db1", "web1"}


def test_a_small_system_goes_through_the_whole_replay_into_the_table(sets: Path) -> None:
    system = read_system(MICROSS, faults=sets)
    judged = real.judge(system)
    assert {fault for fault, _ in judged.pairs} == {"0", "1"}
    ranked = real.ranked_by_own(system, judged)
    text = real.table([*real.grouping_lines("small", system, judged), *real.root_lines("small", system, ranked, others=real.SOCKSHOP)])
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["ARI", "found", "incidents", "root@1", "root@3"]


def test_a_figure_meets_what_is_asked_from_exactly_there() -> None:
    asked = real.Others(must=0.5, aim=0.75)
    assert [asked.verdict(figure) for figure in (0.499, 0.5, 0.749, 0.75)] == ["MISSED", "must met", "must met", "aim met"]
    assert real.Others(naive=0.9).verdict(0.1) == ""


def test_a_set_that_is_not_there_is_skipped_with_a_word(tmp_path: Path) -> None:
    lines, absent = real.lines_of(tmp_path)
    assert lines == []
    assert [sentence.split(":")[0] for sentence in absent] == ["rca_alerts", "sockshop_alerts"]


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the sets of real faults are not beside the repository")
def test_the_real_sets_read_as_their_own_scripts_read_them() -> None:
    """Naive figures as `grouping_baseline.py` prints them; both systems in one stream as the notes have it."""
    first, second = read_system(MICROSS, prefix="m/"), read_system(CLOUDBED, prefix="c/")
    both = joined(squeezed(first, into=second), second)
    figures = [(round(adjusted_rand(pairs), 3), len(group_by_found(pairs))) for pairs in map(real.by_gap, (first, second, both))]
    assert figures == [(0.915, 145), (0.908, 66), (0.786, 163)]
    topology = real.topology_of(both)
    alerts = [alert for fault in both.faults for alert in (*fault.alerts, *fault.logs)]
    assert {alert.labels["host"] for alert in alerts if not topology.entity_of(alert.labels)} == {"m/0.0.0.1", "m/0.0.0.2", "m/0.0.0.4"}
    assert all(fault.root in topology.node_by_name for fault in both.faults)
    assert len(read_sockshop().faults) == 241
