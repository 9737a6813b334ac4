"""`correlator explain`: why an incident or an alert is what it is, from a log and from what a replay wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from correlator.model.schemas import document_schemas

from tests.cli.conftest import Call, Golden
from tests.cli.program import correlator
from tests.cli.story import START, an_event, write_lines

ROOT = Path(__file__).parents[2]
FIRST, SECOND = "6c5b0393e38586d916da", "6c5bea584bbc7f7be5ad"
RULES = """\
alerts:
  - {name: patience, match: 'alertname="Slow"', for: 2m, keep_firing_for: 5m}
"""


def told(call: Call, *arguments: object) -> list[dict[str, Any]]:
    result = call("explain", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(call: Call, *arguments: object) -> str:
    result = call("explain", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


@pytest.fixture
def replayed(call: Call, story: Path) -> Path:
    """What a replay of the story wrote, with its decisions."""
    options = ("--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions")
    assert call("replay", "events.jsonl", *options).exit_code == 0
    return story / "out"


@pytest.fixture(scope="module")
def stormed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of the demo's storm wrote."""
    folder = tmp_path_factory.mktemp("storm")
    assert correlator("demo", "--save", folder / "storm.jsonl", cwd=ROOT).returncode == 0
    options = ("--topology", "topologies/demo", "--rules", "rules", "--out", folder / "out", "--decisions")
    assert correlator("replay", folder / "storm.jsonl", *options, cwd=ROOT).returncode == 0
    return folder / "out"


# What is said


def test_the_demos_database_is_explained(call: Call, stormed: Path, golden: Golden) -> None:
    golden("explain-database.txt", call("explain", "--replay", stormed, "6c5b6dc5").stdout)


def test_an_incident_that_became_part_of_another_says_so(call: Call, stormed: Path, golden: Golden) -> None:
    golden("explain-withdrawn.txt", call("explain", "--replay", stormed, "6c5b26a9").stdout)


def test_an_alert_is_explained_by_what_the_others_of_its_incident_did(call: Call, replayed: Path, golden: Golden) -> None:
    golden("explain-alert.txt", call("explain", "--replay", replayed, "service=shop").stdout)


def test_every_member_of_every_incident_is_explained_exactly_once(call: Call, stormed: Path) -> None:
    counts = [json.loads(line) for line in (stormed / "incidents.jsonl").read_text().splitlines()]
    wanted = {document["id"]: document["counts"]["alerts"] for document in counts}
    explained = told(call, stormed)
    assert {one["id"]: len({member["fingerprint"] for member in one["members"]}) for one in explained} == wanted
    assert {one["id"]: len(one["members"]) for one in explained} == wanted
    assert all(member["because"] and member["why"] for one in explained for member in one["members"])


def test_a_log_and_a_replay_of_the_same_are_explained_alike(call: Call, judged: Path, replayed: Path) -> None:
    for subject in (FIRST, SECOND, "service=shop", "service=payments"):
        [*live], [*offline] = told(call, subject, "--embedded", judged), told(call, subject, "--replay", replayed)
        for one in (*live, *offline):
            one.pop("revision", None)
        assert live == offline


@pytest.mark.timeout(120)
def test_the_demos_storm_is_explained_alike_from_a_log(call: Call, stormed: Path, story: Path) -> None:
    options = ("--embedded", story / "log", "--topology", "topologies/demo", "--rules", "rules", "--until-idle", "--listen", "off")
    assert correlator("publish", "--embedded", story / "log", stormed.parent / "storm.jsonl", cwd=ROOT).returncode == 0
    assert correlator("run", *options, cwd=ROOT).returncode == 0
    offline = told(call, stormed)
    write_lines(story / "those", [json.dumps({"id": one["id"], "root_causes": []}) for one in offline])
    live = told(call, "those", "--embedded", "log")
    for one in (*live, *offline):
        one.pop("revision")
    assert live == offline


def test_every_key_of_what_it_says_as_json_is_described() -> None:
    shapes = document_schemas()["explanation"]["$defs"]
    bare = [(shape, key) for shape, one in shapes.items() for key, each in one.get("properties", {}).items() if "description" not in each]
    assert [key for _, key in bare if key != "about"] == []


def test_what_it_says_as_json_meets_its_schema(call: Call, stormed: Path, replayed: Path) -> None:
    validator = jsonschema.Draft202012Validator(document_schemas()["explanation"])
    for one in (*told(call, stormed), *told(call, "--replay", replayed, "service=shop")):
        validator.validate(one)


def test_each_judgement_has_its_reason_its_rule_and_the_digest_of_the_rules(call: Call, stormed: Path) -> None:
    (incident,) = told(call, "--replay", stormed, "6c5b6dc5")
    joined = next(step for step in incident["steps"] if step.get("path") == ["orders", "orders-db"])
    assert joined["because"].startswith("joined: orders stores in orders-db, which had alerted 8s earlier; 286 times likelier")
    assert (joined["why"], joined["likelier"], joined["rules_digest"]) == ("joined", 285.7, incident["rules_digest"])
    assert incident["in_force"] is True


def reasons(call: Call, story: Path, *events: object) -> list[str]:
    """Replay events by the rule `patience`, and answer why each step of the alert Slow was taken."""
    (story / "rules.yaml").write_text(RULES, encoding="utf-8")
    write_lines(story / "these", events)
    assert call("replay", "these", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions").exit_code == 0
    (alert,) = told(call, "--replay", "out", "alertname=Slow")
    return [step["because"] for step in alert["steps"]]


def slow(after_s: int, status: str = "firing") -> dict[str, object]:
    return an_event(after_s, status, alertname="Slow")


def test_what_a_rule_held_back_names_the_rule_and_for_how_long(call: Call, story: Path) -> None:
    assert reasons(call, story, slow(0), slow(60, "resolved")) == [
        "held back until it has fired for 2m (rule patience)",
        "ended before it had fired for 2m, so it never counted (rule patience)",
    ]


def test_what_a_rule_keeps_firing_names_the_rule_and_for_how_long(call: Call, story: Path) -> None:
    assert reasons(call, story, slow(0), slow(150), slow(180, "resolved"), slow(240), slow(300, "resolved"), an_event(900)) == [
        "held back until it has fired for 2m (rule patience)",
        "began this incident: nothing that was alerting explained it",
        "its source says that it is over; it counts as firing until it has been quiet for 5m (rule patience)",
        "fired again before its end counted (rule patience)",
        "its source says that it is over; it counts as firing until it has been quiet for 5m (rule patience)",
        "ended: its source says that it is over (rule patience)",
    ]


def test_what_comes_back_reopens_and_says_after_how_long(call: Call, story: Path) -> None:
    write_lines(story / "these", [an_event(0), an_event(120, "resolved"), an_event(300), an_event(330)])
    call("replay", "these", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions")
    (incident,) = told(call, "out")
    said = [step["because"] for step in incident["steps"]]
    assert "reopened: an alert of it fires again; nobody is paged anew" in said
    assert "fired again 3m after it had ended: it belongs to the incident that it was in" in said
    assert any(
        sentence.startswith("Reopened at 00:05:00Z: an alert of it fires again; 1 of 1 alert still fires")
        for sentence in incident["answer"]
    )


def test_alerts_of_services_that_no_topology_knows_are_explained_too(call: Call, story: Path) -> None:
    lost = [an_event(second, service="nowhere", alertname=name) for second, name in ((0, "A"), (5, "B"))]
    write_lines(story / "these", lost)
    call("replay", "these", "--topology", "/dev/null", "--rules", "rules.yaml", "--out", "out", "--decisions")
    (incident,) = told(call, "out")
    assert incident["answer"][0] == "The likeliest cause is at nothing that the topology knows: name its service there to learn more."
    assert "joined: nowhere had alerted 5s earlier" in incident["members"][1]["because"]


def test_an_alert_that_no_event_gave_a_place_has_a_name(call: Call, story: Path) -> None:
    write_lines(story / "these", [{"at": START, "status": "firing", "labels": {"alertname": "DiskFull"}}])
    call("replay", "these", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out", "--decisions")
    (incident,) = told(call, "out")
    assert incident["members"][0]["alert"] == "DiskFull at no known service"


# Who is meant


Named = Callable[[Path], list[object]]


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda out: ["--replay", out, FIRST[:8].upper()], id="the beginning of an id in any case"),
        pytest.param(lambda out: [out / "incidents.jsonl"], id="a file of documents"),
        pytest.param(lambda out: [out], id="a folder of a replay"),
    ],
)
def test_an_incident_can_be_named_by(call: Call, replayed: Path, named: Named) -> None:
    assert FIRST in [one["id"] for one in told(call, *named(replayed))]


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda out: [FINGERPRINT[:6], "--replay", out], id="the beginning of its fingerprint"),
        pytest.param(lambda out: ["service=shop", "severity=critical", "--replay", out], id="its labels"),
        pytest.param(lambda out: [write_lines(out / "one", [an_event(0, service="shop")]), "--replay", out], id="a file with it"),
    ],
)
def test_an_alert_can_be_named_by(call: Call, replayed: Path, named: Named) -> None:
    assert [one["fingerprint"] for one in told(call, *named(replayed))] == [FINGERPRINT]


FINGERPRINT = "6a1e1f773eb17e5271a642aa36040bf8"


def test_standard_input_is_a_file_too(call: Call, replayed: Path) -> None:
    event = {**an_event(0, service="shop"), "fingerprint": "a" * 16}  # as long as Alertmanager's own
    result = call("explain", "-", "--replay", replayed, "--json", given=json.dumps(event))
    assert json.loads(result.stdout)["fingerprint"] == FINGERPRINT


def test_of_several_only_the_answers_are_told(call: Call, replayed: Path) -> None:
    text = call("explain", replayed).stdout
    assert text.count("Probable root cause: ") == 2
    assert "What happened" not in text


# Mistakes


def test_what_nothing_is_named_like_is_said_with_the_nearest(call: Call, replayed: Path) -> None:
    swapped = FIRST[:4] + FIRST[5] + FIRST[4] + FIRST[6:8]
    said = refused(call, "--replay", replayed, swapped)
    assert said.startswith(f"Error: no incident's id and no alert's fingerprint begins with '{swapped}'; did you mean {FIRST}?; ")


def test_a_beginning_that_several_have_names_them(call: Call, replayed: Path) -> None:
    assert (
        refused(call, "--replay", replayed, "6c5b")
        == f"Error: 2 incidents and alerts begin with '6c5b': {FIRST}, {SECOND}; give more of it\n"
    )


def test_labels_that_no_alert_has_are_said_with_the_nearest(call: Call, replayed: Path) -> None:
    assert (
        refused(call, "--replay", replayed, "servce=shop")
        == "Error: no alert has servce=shop: none has a label 'servce'; did you mean 'service'?\n"
    )
    assert (
        refused(call, "--replay", replayed, "service=shp")
        == "Error: no alert has service=shp: none has service=shp; did you mean 'shop'?\n"
    )
    together = refused(call, "--replay", replayed, "service=shop", "alertname=DiskFull")
    assert together == "Error: no alert has service=shop alertname=DiskFull: each of these is there, but not together\n"


def test_two_subjects_are_one_too_many(call: Call, replayed: Path) -> None:
    assert "name one incident, alert or file" in refused(call, "--replay", replayed, FIRST, SECOND)


def test_a_folder_that_no_replay_wrote_is_said_so(call: Call, story: Path) -> None:
    said = refused(call, "--replay", story, FIRST)
    assert said == f"Error: {story}: has no incidents.jsonl: name the folder that `correlator replay --out` wrote\n"


def test_a_replay_without_decisions_still_gives_the_answer_and_says_what_is_missing(call: Call) -> None:
    call("replay", "events.jsonl", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", "out")
    text = call("explain", "--replay", "out", FIRST).stdout
    assert "Probable root cause: payments (service)" in text
    assert "no decisions are kept of it; a replay writes them with --decisions" in text


def test_decisions_of_an_earlier_replay_are_not_left_in_the_folder(call: Call, replayed: Path) -> None:
    call("replay", "events.jsonl", "--topology", "topology.yaml", "--rules", "rules.yaml", "--out", replayed)
    assert sorted(path.name for path in replayed.iterdir()) == ["alerts.jsonl", "dead-letters.jsonl", "funnel.json", "incidents.jsonl"]


def test_a_file_with_nothing_that_was_judged_is_said_so(call: Call, replayed: Path, story: Path) -> None:
    write_lines(story / "other", [an_event(0, service="elsewhere"), "{"])
    said = refused(call, "--replay", replayed, "other")
    assert said.startswith(
        "Error: other: holds 1 alert and 1 item that cannot be read (`correlator parse other` says why), and none that was"
    )


def test_a_log_that_nobody_judged_is_said_so(call: Call) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    assert refused(call, "--embedded", "log", FIRST).startswith("Error: no incidents yet; start `correlator run` with the same options (")
