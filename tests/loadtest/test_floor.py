"""The floor counts what it says it counts, and the benchmarks judge by it as they should."""

import sys
from collections.abc import Iterable
from pathlib import Path

import orjson
import pytest

from benchmarks.floor import run
from benchmarks.memory import active_alerts
from benchmarks.rounds import Costs, Target, floor_line, last_line, run_rounds, table


def an_event(at: int, *, status: str = "firing", **labels: str) -> dict[str, object]:
    return {"at": at, "status": status, "labels": {"alertname": "HighErrorRate", "service": "cart", **labels}}


def write(path: Path, events: Iterable[dict[str, object]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE) for event in events))
    return path


def test_a_repeat_is_no_turn_and_a_resolve_is_one(tmp_path: Path) -> None:
    events = [an_event(0), an_event(1_000), an_event(2_000, status="resolved"), an_event(3_000, status="resolved")]
    result = run(write(tmp_path / "events", events))
    assert (result.events, result.alerts, result.turns, result.sessions) == (4, 1, 2, 1)


def test_alerts_differ_by_host_and_cluster_and_sessions_by_cluster(tmp_path: Path) -> None:
    events = [an_event(0), an_event(0, host="a"), an_event(0, cluster="x"), an_event(0, cluster="x", host="a")]
    result = run(write(tmp_path / "events", events))
    assert (result.alerts, result.sessions) == (4, 2)


@pytest.mark.parametrize(("gap", "sessions"), [(300_000, 1), (300_001, 2)])
def test_a_session_ends_after_five_minutes_and_not_at_exactly_five(tmp_path: Path, gap: int, sessions: int) -> None:
    result = run(write(tmp_path / "events", [an_event(0), an_event(gap, host="b")]))
    assert result.sessions == sessions


@pytest.mark.parametrize(("gap", "turns"), [(900_000, 1), (900_001, 2)])
def test_an_alert_is_stale_after_fifteen_minutes_and_not_at_exactly_fifteen(tmp_path: Path, gap: int, turns: int) -> None:
    result = run(write(tmp_path / "events", [an_event(0), an_event(gap)]))
    assert result.turns == turns


@pytest.mark.parametrize(("ratio", "verdict"), [(1.3, "aim met"), (1.31, "must met"), (2.5, "must met"), (2.51, "MISSED")])
def test_a_ratio_is_judged_against_both_targets(ratio: float, verdict: str) -> None:
    assert Target(must=2.5, aim=1.3).verdict(ratio) == verdict


def test_the_table_tells_both_kinds_of_ratio() -> None:
    costs = Costs(floor=(1.0, 2.0, 4.0), ours=(3.0, 4.0, 10.0))
    assert (costs.ratio_of_medians, costs.median_of_ratios) == (2.0, 2.5)
    assert table("replay", costs, Target(must=2.5, aim=1.3)).endswith("median of ratios 2.50x   must 2.5x   aim 1.3x   must met")


def test_active_alerts_share_only_name_severity_and_cluster() -> None:
    events = list(active_alerts(500, 50))
    for label in ("service", "host", "pod"):
        assert len({event["labels"][label] for event in events}) == 500
    assert len({(event["labels"]["alertname"], event["labels"]["cluster"]) for event in events}) == 50
    assert {(len(event["labels"]), len(event["annotations"])) for event in events} == {(6, 2)}


def test_the_last_line_of_a_program_is_what_counts() -> None:
    assert last_line([sys.executable, "-c", "print('hello'); print('{\"events\": 3}')"]) == {"events": 3}


def test_a_program_that_fails_ends_the_benchmark_in_words() -> None:
    with pytest.raises(SystemExit, match=r"exit 2 of: .* raise SystemExit"):
        last_line([sys.executable, "-c", "raise SystemExit(2)"])


def test_a_round_runs_the_floor_in_its_own_process_and_compares_the_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "events", active_alerts(200, 2))
    assert floor_line(path)["alerts"] == 200
    costs = run_rounds(1, path, lambda _: (200, 0.001))
    assert costs.ours == (5.0,)
    with pytest.raises(SystemExit, match="the floor took 200 events, we took 199"):
        run_rounds(1, path, lambda _: (199, 0.001))
