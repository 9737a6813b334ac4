"""`correlator replay`: the files of its folder, their keys, and sums that add up."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.conftest import Call, Golden
from tests.cli.story import GOOD, START, an_event, write_lines

FILES = ["alerts.jsonl", "dead-letters.jsonl", "funnel.json", "incidents.jsonl"]
ALERT_KEYS = ["fingerprint", "labels", "startsAt", "endsAt", "count", "incident", "reason"]
INCIDENT_KEYS = {
    "id",
    "revision",
    "state",
    "opened",
    "updated",
    "members",
    "counts",
    "root_causes",
    "contributing",
    "blast_radius",
    "category",
    "priority",
    "owner",
    "why",
    "rules_digest",
}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def replayed(call: Call, *events: str, given: str | None = None) -> Result:
    result = call("replay", *events, "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", given=given)
    assert result.exit_code == 0, result.stderr
    return result


def test_the_folder_holds_exactly_the_files_of_the_contract(call: Call, story: Path) -> None:
    replayed(call, "events.jsonl")
    assert sorted(path.name for path in (story / "out").iterdir()) == FILES


def test_alerts_have_a_row_a_stretch_and_exactly_the_keys_of_the_contract(call: Call, story: Path, golden: Golden) -> None:
    replayed(call, "events.jsonl")
    assert [list(row) for row in rows(story / "out" / "alerts.jsonl")] == [ALERT_KEYS] * 3
    golden("replay-alerts.jsonl", (story / "out" / "alerts.jsonl").read_text(encoding="utf-8"))


def test_incidents_have_the_keys_of_the_contract_and_stand_there_once(call: Call, story: Path) -> None:
    replayed(call, "events.jsonl")
    incidents = rows(story / "out" / "incidents.jsonl")
    assert all(incident.keys() >= INCIDENT_KEYS for incident in incidents)
    assert len({incident["id"] for incident in incidents}) == len(incidents)


def test_every_incident_of_an_alert_is_among_the_incidents(call: Call, story: Path) -> None:
    replayed(call, "events.jsonl")
    known = {incident["id"] for incident in rows(story / "out" / "incidents.jsonl")}
    assert {row["incident"] for row in rows(story / "out" / "alerts.jsonl")} <= known


def test_dead_letters_keep_what_was_refused(call: Call, story: Path, golden: Golden) -> None:
    replayed(call, "events.jsonl")
    golden("replay-dead-letters.jsonl", (story / "out" / "dead-letters.jsonl").read_text(encoding="utf-8"))


def test_dead_letters_of_several_files_name_their_own(call: Call, story: Path) -> None:
    write_lines(story / "a", [GOOD[0], "{", GOOD[2]])
    write_lines(story / "b", [GOOD[1], GOOD[3], "}"])
    replayed(call, "a", "b")
    letters = rows(story / "out" / "dead-letters.jsonl")
    assert [letter["position"] for letter in letters] == [{"file": "a", "line": 2, "item": 0}, {"file": "b", "line": 3, "item": 0}]


def test_a_dead_letter_of_a_document_holds_the_bytes_that_stood_there(call: Call, story: Path) -> None:
    bad = '{\n    "labels" : {"service":"sh\\u006fp"},   "value": 1.50 }'
    (story / "array.json").write_text(f"[\n  {json.dumps(GOOD[0])},\n  {bad}\n]\n", encoding="utf-8")
    replayed(call, "array.json")
    (letter,) = rows(story / "out" / "dead-letters.jsonl")
    assert letter["value"] == bad
    assert letter["position"] == {"file": "array.json", "line": 1, "item": 1}
    (seen,) = [json.loads(line) for line in call("parse", "array.json").stdout.splitlines() if '"rejected"' in line]
    assert seen["position"] == letter["position"]


def test_an_end_without_a_beginning_is_flagged_in_the_funnel_and_by_parse(call: Call, story: Path) -> None:
    write_lines(story / "ends", [an_event(0, "resolved"), an_event(10, "resolved"), an_event(20), an_event(30, "resolved")])
    replayed(call, "ends")
    assert json.loads((story / "out" / "funnel.json").read_bytes())["flagged"] == {"resolved_before_firing": 2}
    flags = [json.loads(line)["flags"] for line in call("parse", "ends").stdout.splitlines()]
    assert flags == [["resolved_before_firing"], ["resolved_before_firing"], [], []]


def test_a_summary_of_one_says_one(call: Call, story: Path) -> None:
    write_lines(story / "one", [an_event(0)])
    assert replayed(call, "one").stdout.startswith("1 item: 1 new\n1 firing stretch in 1 incident, 0 dead letters, ")


def test_the_funnel_adds_up(call: Call, story: Path, golden: Golden) -> None:
    replayed(call, "events.jsonl")
    funnel = json.loads((story / "out" / "funnel.json").read_bytes())
    verdicts = funnel["verdicts"]
    assert funnel["items"] == 9 == funnel["forwarded"] + verdicts["rejected"]
    assert funnel["forwarded"] == sum(verdicts[name] for name in ("new", "update", "repeat", "late")) + funnel["waiting"]
    assert verdicts["rejected"] == sum(funnel["rejected"].values()) == 3
    assert sum(funnel["incidents"].values()) == len(rows(story / "out" / "incidents.jsonl"))
    golden("replay-funnel.json", (story / "out" / "funnel.json").read_text(encoding="utf-8"))


def test_labels_stay_exactly_as_received(call: Call, story: Path) -> None:
    labels = {"zone": "é", "severity": "critical", "empty": "", "alertname": "A", "Odd label!": "1", "service": "shop"}
    write_lines(story / "raw", [{"at": START, "status": "firing", "labels": labels}])
    replayed(call, "raw")
    (row,) = rows(story / "out" / "alerts.jsonl")
    assert list(row["labels"].items()) == list(labels.items())


def test_the_summary_is_for_people_and_with_json_for_programs(call: Call) -> None:
    assert replayed(call, "good.jsonl").stdout.startswith("5 items: 2 new, 2 update, 1 repeat\n2 firing stretches in ")
    summary = json.loads(call("replay", "good.jsonl", "--out", "out", "--json").stdout)
    assert (summary["events"], summary["stretches"], summary["dead_letters"]) == (5, 2, 0)


@pytest.mark.parametrize("indent", [None, 2])
def test_one_document_replays_as_its_lines_do(call: Call, story: Path, indent: int | None) -> None:
    replayed(call, "good.jsonl")
    of_lines = (story / "out" / "alerts.jsonl").read_bytes()
    (story / "array.json").write_text(json.dumps(GOOD, indent=indent), encoding="utf-8")
    replayed(call, "array.json")
    assert [row["startsAt"] for row in rows(story / "out" / "alerts.jsonl")] == [
        json.loads(row)["startsAt"] for row in of_lines.splitlines()
    ]


def test_standard_input_replays_as_a_file_does(call: Call, story: Path) -> None:
    replayed(call, "good.jsonl")
    of_file = [(story / "out" / name).read_bytes() for name in FILES]
    replayed(call, "-", given=(story / "good.jsonl").read_text(encoding="utf-8"))
    assert [(story / "out" / name).read_bytes() for name in FILES] == of_file


def test_a_replay_goes_by_the_rules_and_the_topology_that_are_here_as_run_does(call: Call, story: Path) -> None:
    replayed(call, "good.jsonl")
    told = (story / "out" / "incidents.jsonl").read_bytes()
    for folder, file in (("rules", "rules.yaml"), ("topologies", "topology.yaml")):
        (story / folder).mkdir()
        (story / file).rename(story / folder / file)
    assert call("replay", "good.jsonl", "--out", "out").exit_code == 0
    assert (story / "out" / "incidents.jsonl").read_bytes() == told


def test_dev_null_is_no_topology(call: Call, story: Path) -> None:
    (story / "topologies").mkdir()
    (story / "topology.yaml").rename(story / "topologies" / "topology.yaml")
    result = call("replay", "good.jsonl", "--topology", "/dev/null", "--out", "out")
    assert result.stdout.startswith("5 items: 2 new, 2 update, 1 repeat\nflagged: 5 unknown_service\n2 firing stretches in 2 incidents")


def test_nothing_at_all_replays_to_empty_files(call: Call, story: Path) -> None:
    (story / "empty").touch()
    assert replayed(call, "empty").stdout.startswith("0 items: nothing to judge\n")
    assert rows(story / "out" / "alerts.jsonl") == []


def test_bad_input_alone_is_no_failure(call: Call, story: Path) -> None:
    write_lines(story / "bad", ["{", "[]", "null"])
    replayed(call, "bad")


def in_text(event: dict[str, Any]) -> dict[str, object]:
    seconds = (event["at"] - START) // 1_000
    return {**event, "at": f"2026-01-05T00:{seconds // 60:02d}:{seconds % 60:02d}Z"}


@pytest.mark.parametrize("is_text", [False, True])
def test_several_files_are_one_recording_in_order_of_time(call: Call, story: Path, *, is_text: bool) -> None:
    events = [in_text(event) if is_text else event for event in GOOD]
    write_lines(story / "all", events)
    replayed(call, "all")
    together = [(story / "out" / name).read_bytes() for name in FILES]
    write_lines(story / "odd", events[1::2])
    write_lines(story / "even", events[::2])
    replayed(call, "odd", "even")
    assert [(story / "out" / name).read_bytes() for name in FILES] == together


def test_one_time_of_2100_does_not_hold_back_its_file(call: Call, story: Path) -> None:
    far = an_event(0, alertname="Far") | {"at": 4_102_444_800_000}
    write_lines(story / "a", [GOOD[0], far, *GOOD[1:]])
    write_lines(story / "b", [an_event(second, service="shop", alertname="Other") for second in range(0, 400, 20)])
    replayed(call, "a", "b")
    flagged = json.loads((story / "out" / "funnel.json").read_bytes())["flagged"]
    assert flagged.get("late", 0) == 0
    assert [row["endsAt"] for row in rows(story / "out" / "alerts.jsonl")[:2]] == ["2026-01-05T00:05:00.000Z", "2026-01-05T00:05:30.000Z"]


def test_the_same_events_give_the_same_bytes(call: Call, story: Path) -> None:
    dice = random.Random(5)
    events = [an_event(second, alertname=dice.choice("ABC"), service=dice.choice(["shop", "payments"])) for second in range(0, 3_000, 7)]
    write_lines(story / "random", events)
    outcomes = []
    for _ in range(2):
        replayed(call, "random")
        outcomes.append([(story / "out" / name).read_bytes() for name in FILES])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("mistake", [["missing"], ["good.jsonl", "missing"], ["good.jsonl", "--rules", "missing"]])
def test_a_mistake_leaves_former_results_alone(call: Call, story: Path, mistake: list[str]) -> None:
    replayed(call, "good.jsonl")
    before = [(story / "out" / name).read_bytes() for name in FILES]
    result = call("replay", *mistake, "--out", "out")
    assert result.exit_code == 2
    assert result.stderr.removeprefix("Error: ").startswith("missing: ")
    assert [(story / "out" / name).read_bytes() for name in FILES] == before
