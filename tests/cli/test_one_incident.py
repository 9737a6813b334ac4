"""`correlator incidents ID`: one incident whole, found by how its id begins."""

import json
from pathlib import Path

from tests.cli.conftest import Call, Golden
from tests.cli.program import correlator
from tests.cli.story import SETTINGS, START, an_event, write_lines

FIRST, SECOND = "6c5b0393e38586d916da", "6c5bea584bbc7f7be5ad"


def test_an_incident_is_told_whole(call: Call, judged: Path, golden: Golden) -> None:
    result = call("incidents", "--embedded", judged, FIRST)
    assert result.exit_code == 0, result.stderr
    golden("incident.txt", result.stdout)


def test_the_beginning_of_an_id_is_enough_in_any_case(call: Call, judged: Path) -> None:
    whole = call("incidents", "--embedded", judged, SECOND).stdout
    assert call("incidents", "--embedded", judged, SECOND[:5].upper()).stdout == whole
    assert whole.startswith("DiskFull at payments\n")


def test_with_json_it_is_the_document_as_published(call: Call, judged: Path) -> None:
    alone = call("incidents", "--embedded", judged, FIRST, "--json").stdout
    assert alone in call("incidents", "--embedded", judged, "--json").stdout.splitlines(keepends=True)
    assert json.loads(alone)["id"] == FIRST


def test_a_beginning_that_nothing_has_is_said_so(call: Call, judged: Path) -> None:
    result = call("incidents", "--embedded", judged, "ffff")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: no incident's id begins with 'ffff'; `correlator incidents` with the same options lists them\n"


def test_a_beginning_that_several_have_names_them(call: Call, judged: Path) -> None:
    result = call("incidents", "--embedded", judged, "6c5b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: 2 incidents have ids that begin with '6c5b': {FIRST}, {SECOND}; give more of the id\n"


def test_one_incident_cannot_be_followed(call: Call, judged: Path) -> None:
    result = call("incidents", "--embedded", judged, FIRST, "--follow")
    assert (result.exit_code, result.stderr) == (2, "Error: --follow goes on with all incidents: leave it or the ID out\n")


def test_a_log_that_nobody_judged_is_said_so(call: Call) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    result = call("incidents", "--embedded", "log", FIRST)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no incidents yet; start `correlator run` with the same options (")


def the_only_one(call: Call, story: Path, *events: object) -> str:
    (story / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    options = ("--embedded", "log", "--config", "settings.yaml")
    write_lines(story / "these", events)
    call("publish", *options, "these")
    assert correlator("run", *options, "--until-idle", "--listen", "off", cwd=story).returncode == 0
    return call("incidents", *options, "6c5b").stdout


def test_a_long_one_shows_the_ends_of_its_timeline_and_a_few_members(call: Call, story: Path) -> None:
    events = [an_event(second, pod=f"payments-{second}") for second in range(60)]
    told = the_only_one(call, story, *events).splitlines()
    assert "  … 21 more …" in told
    assert "  and 48 more; --json lists up to 200" in told
    roles = [line.split("  ")[1] for line in told if "HighErrorRate" in line and " pod=" in line]
    assert roles == ["root, first, worst", "latest", *["-"] * 10]


def test_an_alert_of_no_known_service_is_told_without_a_root_cause(call: Call, story: Path) -> None:
    told = the_only_one(call, story, {"at": START, "status": "firing", "labels": {"alertname": "DiskFull"}})
    assert told.startswith("DiskFull\nopen · P4 · owner unknown · 6c5b")
    assert "Root causes\n  the likeliest is at nothing that the topology knows: name its service there\n" in told
    assert "  new_fault  DiskFull at no known service\n" in told
