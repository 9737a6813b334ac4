"""The metrics: the table is well formed, the verbs obey the laws, the page is fresh."""

import json
import re
from collections import Counter as Tally
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from correlator.correlate.machine import Machine
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.output import IntakeCounts, IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.event import Flag, Rejection, Verdict
from correlator.model.incident import IncidentState, Why
from correlator.model.instant import MINUTE, SECOND
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.runtime.limits import Limit
from correlator.runtime.metrics import (
    JUDGED,
    METRICS,
    OTHER,
    PARTITIONS_MOST,
    PREFIX,
    Kind,
    Metric,
    RowKind,
    Stage,
    Unit,
    metrics_page,
)
from correlator.runtime.telemetry import Telemetry

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
NOON = 1_772_366_400_000


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """Return one sample, or None where there is no such series."""
    return telemetry.registry.get_sample_value(PREFIX + name, labels)


def number(telemetry: Telemetry, name: str, **labels: str) -> float:
    found = value(telemetry, name, **labels)
    assert found is not None, f"no series {name} {labels}"
    return found


def total(telemetry: Telemetry, name: str) -> float:
    """Add up all series of a metric."""
    samples = [sample for family in telemetry.registry.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == PREFIX + name)


def an_event(alertname: str, *, at: int, status: str = "firing") -> bytes:
    return json.dumps({"at": at, "status": status, "labels": {"alertname": alertname, "service": "checkout"}}).encode()


def counts(**given: object) -> IntakeCounts:
    return IntakeCounts(**given)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_follows_the_conventions_of_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"correlator(_[a-z]+)+", metric.full_name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    if metric.unit in (Unit.SECONDS, Unit.BYTES):
        assert metric.name.removesuffix("_total").endswith(f"_{metric.unit}")
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert metric.buckets == tuple(sorted(metric.buckets))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_explained_in_sentences_that_fit_a_table(metric: Metric) -> None:
    for text in (metric.help, metric.watch):
        assert text.endswith(".")
        assert "|" not in text
        assert "\n" not in text


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_label_is_bounded(metric: Metric) -> None:
    for label in metric.labels:
        assert bool(label.values) != bool(label.most), "a label has a closed set of values, or a limit"
    assert sum(not label.values for label in metric.labels) <= 1, "two open labels would multiply"


def test_the_members_of_the_model_are_the_label_values() -> None:
    closed = {label.name: set(label.values) for metric in METRICS for label in metric.labels if label.values}
    assert closed["reason"] == {member.value for member in Rejection}
    assert closed["verdict"] == {"new", "update", "repeat", "late"}
    assert closed["why"] == {member.value for member in Why}
    assert closed["limit"] == {member.value for member in Limit}
    assert closed["state"] == {member.value for member in IncidentState}
    assert closed["flag"] == {
        "late",
        "implausible_time",
        "no_zone",
        "resolved_before_firing",
        "same_id_other_content",
        "missing_service",
        "unknown_service",
        "time_unit",
        "no_time",
    }


# ---------------------------------------------------------------- what is exposed


def a_busy_telemetry() -> Telemetry:
    """Build one on which every verb was called."""
    telemetry = Telemetry(version="1.2.3")
    telemetry.on_intake(counts(received=3, forwarded=2, rejected=Tally({Rejection.NUL: 1}), flagged=Tally({Flag.LATE: 1})), dead_letters=1)
    telemetry.on_verdicts({Verdict.NEW: 1, Verdict.REPEAT: 1})
    telemetry.waiting(1)
    telemetry.on_incident(IncidentState.OPEN)
    telemetry.on_decision(Why.NEW_FAULT, count=2)
    telemetry.batch(Stage.INTAKE, 0.02, 3)
    telemetry.commit(0.004)
    telemetry.lag(Stage.INTAKE, "events-0", 7)
    telemetry.lag_age(Stage.CORRELATE, 12.5)
    telemetry.state({RowKind.ALERT: 5, RowKind.TURN: 1}, 2_000)
    telemetry.restored(1.5, 6, totals={})
    telemetry.sources(2, 1)
    telemetry.ticks_ignored(4)
    telemetry.limits_met({Limit.ALERTS: 2, Limit.INCIDENTS: 1})
    return telemetry


def test_every_exposed_sample_parses_and_has_help_and_type() -> None:
    text = generate_latest(a_busy_telemetry().registry).decode()
    families = {family.name: family for family in parse_text(text)}
    for family in families.values():
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert family.samples
    named = {name if family.type != "counter" else f"{name}_total" for name, family in families.items() if name.startswith(PREFIX)}
    assert named == {metric.full_name for metric in METRICS}, "the table and what is exposed are the same"


def test_every_sample_parses_as_openmetrics() -> None:
    text = generate_openmetrics(a_busy_telemetry().registry).decode()  # type: ignore[no-untyped-call] # the client types half of itself
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert families["correlator_state_bytes"].unit == "bytes"
    assert families["correlator_commit_duration_seconds"].unit == "seconds"


def test_memory_of_the_process_stands_beside_ours() -> None:
    resident = Telemetry().registry.get_sample_value("process_resident_memory_bytes")
    assert resident is not None
    assert resident > 1_000_000


def test_series_of_closed_labels_stand_at_0_from_the_start() -> None:
    telemetry = Telemetry()
    assert value(telemetry, "items_rejected_total", reason="too_deep") == 0
    assert value(telemetry, "decisions_total", why="relapsed") == 0
    assert value(telemetry, "batch_duration_seconds_count", stage="correlate") == 0


def test_two_telemetries_share_nothing_and_leave_the_global_registry_alone() -> None:
    before = names_of(REGISTRY.collect())
    one, other = Telemetry(), Telemetry()
    one.commit(0.1)
    assert value(one, "commit_duration_seconds_count") == 1
    assert value(other, "commit_duration_seconds_count") == 0
    assert names_of(REGISTRY.collect()) == before


def names_of(families: object) -> list[str]:
    assert hasattr(families, "__iter__")
    return [family.name for family in families]


def test_the_version_is_told() -> None:
    assert value(Telemetry(version="1.2.3"), "build_info", version="1.2.3") == 1


# ---------------------------------------------------------------- the funnel


def test_an_item_with_two_flags_counts_under_both() -> None:
    telemetry = Telemetry()
    telemetry.on_intake(counts(received=5, forwarded=5, flagged=Tally({Flag.LATE | Flag.NO_ZONE: 3, Flag.LATE: 2})))
    assert value(telemetry, "items_flagged_total", flag="late") == 5
    assert value(telemetry, "items_flagged_total", flag="no_zone") == 3
    assert total(telemetry, "items_flagged_total") == 8


def test_flags_of_intake_and_of_correlate_add_up() -> None:
    telemetry = Telemetry()
    telemetry.on_intake(counts(received=2, forwarded=2, flagged=Tally({Flag.RESOLVED_BEFORE_FIRING: 2})))
    telemetry.on_flag(Flag.RESOLVED_BEFORE_FIRING, 3)
    assert number(telemetry, "items_flagged_total", flag="resolved_before_firing") == 5


def test_a_flag_of_a_newer_version_counts_under_none() -> None:
    telemetry = Telemetry()
    telemetry.on_intake(counts(received=1, forwarded=1, flagged=Tally({Flag(1 << 20): 1})))
    assert total(telemetry, "items_flagged_total") == 0


def report(telemetry: Telemetry, output: IntakeOutput) -> list[Frame]:
    telemetry.on_intake(output.counts, dead_letters=len(output.dead_letters))
    return [frame for _, frame in output.frames]


@given(
    records=st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(
                an_event,
                st.sampled_from(["HighLatency", "ErrorRate"]),
                at=st.integers(NOON - 20 * MINUTE, NOON + MINUTE),
                status=st.sampled_from(["firing", "resolved"]),
            ),
        ),
        max_size=40,
    )
)
def test_the_funnel_adds_up_at_every_step(records: list[bytes]) -> None:
    telemetry = Telemetry()
    control = Control(RuleSet(), Topology())
    intake, machine = Intake("events-0", control), Machine(control)
    stamps = [NOON + number * SECOND for number in range(len(records))]
    outputs = [intake.step([number], [record], [stamps[number]]) for number, record in enumerate(records)]
    for output in (*outputs, intake.end()):
        for frame in report(telemetry, output):
            machine.step(frame)
        telemetry.on_verdicts(machine.verdicts)
        telemetry.waiting(machine.waiting)
        received, forwarded = number(telemetry, "items_received_total"), number(telemetry, "items_forwarded_total")
        assert received == total(telemetry, "items_rejected_total") + forwarded
        assert forwarded == total(telemetry, "items_judged_total") + number(telemetry, "items_waiting")
    assert number(telemetry, "items_received_total") >= len(records), "none is left in doubt"


# ---------------------------------------------------------------- totals that live longer than a process


def judged(telemetry: Telemetry) -> dict[Verdict, float]:
    return {verdict: number(telemetry, "items_judged_total", verdict=verdict) for verdict in JUDGED}


def test_what_an_earlier_process_judged_is_not_counted_again() -> None:
    telemetry = Telemetry()
    telemetry.restored(0.5, 1_000, totals={Verdict.NEW: 100, Verdict.REPEAT: 900})
    telemetry.on_verdicts({Verdict.NEW: 101, Verdict.REPEAT: 950})
    assert judged(telemetry) == {Verdict.NEW: 1, Verdict.UPDATE: 0, Verdict.REPEAT: 50, Verdict.LATE: 0}
    assert value(telemetry, "restore_rows") == 1_000
    assert value(telemetry, "restore_duration_seconds") == 0.5


def test_a_machine_restarted_in_the_same_process_goes_on_where_it_was() -> None:
    telemetry = Telemetry()
    telemetry.on_verdicts({Verdict.NEW: 10})
    telemetry.restored(0.1, 5, totals={Verdict.NEW: 10})
    telemetry.on_verdicts({Verdict.NEW: 12})
    assert judged(telemetry)[Verdict.NEW] == 12
    assert value(telemetry, "restores_total") == 1


def test_a_new_state_after_a_wiped_one_counts_from_its_start() -> None:
    telemetry = Telemetry()
    telemetry.on_verdicts({Verdict.NEW: 10})
    telemetry.restored(0.1, 0, totals={})
    telemetry.on_verdicts({Verdict.NEW: 3})
    assert judged(telemetry)[Verdict.NEW] == 13


def test_machines_of_one_process_keep_totals_apart() -> None:
    telemetry = Telemetry()
    telemetry.on_verdicts({Verdict.NEW: 10}, partition="frames-0")
    telemetry.on_verdicts({Verdict.NEW: 4}, partition="frames-1")
    telemetry.on_verdicts({Verdict.NEW: 11}, partition="frames-0")
    assert judged(telemetry)[Verdict.NEW] == 15


totals_of_a_machine = st.dictionaries(st.sampled_from(JUDGED), st.integers(0, 1_000))


@given(reports=st.lists(st.tuples(st.sampled_from(["on_verdicts", "restored", "release"]), totals_of_a_machine), max_size=20))
def test_counters_never_go_down_whatever_machines_report(reports: list[tuple[str, Mapping[Verdict, int]]]) -> None:
    telemetry = Telemetry()
    before = judged(telemetry)
    for verb, totals in reports:
        if verb == "on_verdicts":
            telemetry.on_verdicts(totals, partition="frames-0")
        elif verb == "restored":
            telemetry.restored(0.0, 0, totals=totals, partition="frames-0")
        else:
            telemetry.release("frames-0")
        after = judged(telemetry)
        assert all(after[verdict] >= before[verdict] for verdict in JUDGED)
        before = after


@given(base=st.integers(0, 100), steps=st.lists(st.integers(0, 100), max_size=10))
def test_growth_is_counted_exactly(base: int, steps: list[int]) -> None:
    telemetry = Telemetry()
    telemetry.restored(0.0, 0, totals={Verdict.LATE: base})
    so_far = base
    for step in steps:
        so_far += step
        telemetry.on_verdicts({Verdict.LATE: so_far})
    assert judged(telemetry)[Verdict.LATE] == sum(steps)


def test_ignored_ticks_are_counted_on_after_a_restore_began_them_at_0() -> None:
    telemetry = Telemetry()
    telemetry.ticks_ignored(3)
    telemetry.restored(0.1, 0, totals={})
    telemetry.ticks_ignored(2)
    assert value(telemetry, "ticks_ignored_total") == 5


@pytest.mark.parametrize(
    ("met", "limit"), [("cache_resets", Limit.LABEL_SETS), ("ids_forgotten", Limit.IDS), ("doubts_forced", Limit.DOUBTS)]
)
def test_a_limit_that_intake_met_is_counted(met: str, limit: Limit) -> None:
    telemetry = Telemetry()
    telemetry.on_intake(counts(**{met: 3}))
    assert value(telemetry, "limits_met_total", limit=limit) == 3
    assert total(telemetry, "limits_met_total") == 3


def test_what_machines_forgot_for_want_of_room_is_counted_once() -> None:
    telemetry = Telemetry()
    for evicted in (5, 5, 9):
        telemetry.limits_met({Limit.ALERTS: evicted, Limit.INCIDENTS: 0}, partition="frames-0")
    telemetry.limits_met({Limit.ALERTS: 1, Limit.INCIDENTS: 2}, partition="frames-1")
    assert value(telemetry, "limits_met_total", limit="alerts") == 10
    assert value(telemetry, "limits_met_total", limit="incidents") == 2


def test_what_a_restore_forgets_again_is_not_counted_again() -> None:
    telemetry = Telemetry()
    telemetry.limits_met({Limit.ALERTS: 5})
    telemetry.restored(0.1, 0, totals={}, limits={Limit.ALERTS: 3})
    telemetry.limits_met({Limit.ALERTS: 4})
    assert value(telemetry, "limits_met_total", limit="alerts") == 6


# ---------------------------------------------------------------- partitions


def test_gauges_add_up_over_partitions_and_forget_a_released_one() -> None:
    telemetry = Telemetry()
    for partition, items in (("frames-0", 5), ("frames-1", 7)):
        telemetry.waiting(items, partition=partition)
        telemetry.state({RowKind.ALERT: items}, 100, partition=partition)
        telemetry.sources(items, 1, partition=partition)
    assert value(telemetry, "items_waiting") == 12
    assert value(telemetry, "sources", standing="fallen_out") == 2
    telemetry.release("frames-0")
    assert value(telemetry, "items_waiting") == 7
    assert value(telemetry, "state_rows", kind="alert") == 7
    assert value(telemetry, "state_bytes") == 100
    assert value(telemetry, "sources", standing="live") == 7


def test_the_lag_of_a_released_partition_is_no_longer_shown() -> None:
    telemetry = Telemetry()
    telemetry.lag(Stage.INTAKE, "events-0", 5)
    telemetry.lag(Stage.INTAKE, "events-1", 6)
    telemetry.release("events-0")
    assert value(telemetry, "lag_records", stage="intake", partition="events-0") is None
    assert value(telemetry, "lag_records", stage="intake", partition="events-1") == 6


def test_partitions_beyond_the_limit_are_added_up_as_other() -> None:
    telemetry = Telemetry()
    for partition in range(PARTITIONS_MOST + 3):
        telemetry.lag(Stage.CORRELATE, f"frames-{partition}", 2)
    telemetry.lag(Stage.CORRELATE, f"frames-{PARTITIONS_MOST}", 10)
    assert value(telemetry, "lag_records", stage="correlate", partition=OTHER) == 14
    assert total(telemetry, "lag_records") == 2 * PARTITIONS_MOST + 14


def test_a_partition_within_other_stays_there_when_room_comes() -> None:
    telemetry = Telemetry()
    for partition in range(PARTITIONS_MOST + 1):
        telemetry.lag(Stage.CORRELATE, f"frames-{partition}", 1)
    telemetry.release("frames-0")
    telemetry.lag(Stage.CORRELATE, f"frames-{PARTITIONS_MOST}", 5)
    assert total(telemetry, "lag_records") == PARTITIONS_MOST - 1 + 5


def test_the_number_of_series_is_bounded() -> None:
    telemetry = a_busy_telemetry()
    closed = sum(len(family.samples) for family in telemetry.registry.collect())
    assert closed < 150, "all but partitions"
    for partition in range(2 * PARTITIONS_MOST):
        telemetry.lag(Stage.INTAKE, f"events-{partition}", 1)
        telemetry.waiting(1, partition=f"frames-{partition}")
    series = sum(len(family.samples) for family in telemetry.registry.collect())
    assert series <= closed + PARTITIONS_MOST + len(Stage)


# ---------------------------------------------------------------- work


def test_a_batch_counts_its_time_and_its_records_under_its_stage() -> None:
    telemetry = Telemetry()
    telemetry.batch(Stage.INTAKE, 0.03, 4_000)
    telemetry.batch(Stage.INTAKE, 0.2, 100)
    assert value(telemetry, "records_taken_total", stage="intake") == 4_100
    assert value(telemetry, "records_taken_total", stage="correlate") == 0
    assert value(telemetry, "batch_duration_seconds_bucket", stage="intake", le="0.05") == 1
    assert value(telemetry, "batch_duration_seconds_sum", stage="intake") == pytest.approx(0.23)


def test_documents_and_decisions_count_under_their_reason() -> None:
    telemetry = Telemetry()
    telemetry.on_incident(IncidentState.OPEN, count=3)
    telemetry.on_decision(Why.JOINED)
    assert value(telemetry, "incident_documents_total", state="open") == 3
    assert value(telemetry, "decisions_total", why="joined") == 1


# ---------------------------------------------------------------- the page


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == metrics_page(), "docs/metrics.md is stale: run `make docs`"


def test_the_page_names_every_metric_and_every_label_value() -> None:
    page = metrics_page()
    for metric in METRICS:
        assert f"| `{metric.full_name}` |" in page
        for label in metric.labels:
            assert all(f"`{word}`" in page for word in label.values)


def test_the_page_speaks_of_no_metric_that_does_not_exist() -> None:
    known = {metric.full_name for metric in METRICS}
    assert set(re.findall(r"correlator_[a-z_]+", metrics_page())) <= known
