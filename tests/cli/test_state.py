"""`correlator state`: the commands, their words and their exit codes."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.cli.program import correlator, running
from tests.cli.story import SETTINGS

OPTIONS = ("--config", "settings.yaml", "--embedded")


def documents(call: Call, log: object) -> list[dict[str, object]]:
    lines = call("incidents", *OPTIONS, log, "--json").stdout.splitlines()
    return sorted((json.loads(line) for line in lines), key=lambda document: str(document["id"]))


def test_state_moves_to_another_folder_and_the_service_goes_on_there(call: Call, judged: Path) -> None:
    exported = call("state", "export", *OPTIONS, judged, "state")
    assert (exported.exit_code, exported.stderr) == (0, "")
    assert exported.stdout.endswith(" written to state\n")
    imported = call("state", "import", *OPTIONS, "other", "state", "--raw", "end", "--json")
    assert imported.exit_code == 0
    assert json.loads(imported.stdout)["incidents"] == len(documents(call, judged))
    ended = correlator("run", *OPTIONS, "other", "--until-idle", "--listen", "off")
    assert ended.returncode == 0, ended.stderr
    assert documents(call, "other") == documents(call, judged)


def test_a_log_in_use_is_left_alone_unless_force_is_used(call: Call, judged: Path) -> None:
    call("state", "export", *OPTIONS, judged, "state")
    refused = call("state", "import", *OPTIONS, judged, "state")
    assert refused.exit_code == 2
    assert refused.stderr == (
        "Error: correlator.control is not empty: import into a new log or folder; --force replaces the state that is there\n"
    )
    assert call("state", "import", *OPTIONS, judged, "state", "--force").exit_code == 0


def test_a_service_that_runs_is_stopped_by_an_export_and_goes_on_when_it_is_started_again(call: Call, judged: Path) -> None:
    with running(judged, "--config", "settings.yaml", "--listen", "off") as service:
        service.until("restored; ready")
        assert call("state", "export", *OPTIONS, judged, "state").exit_code == 0
        call("publish", *OPTIONS, judged, "good.jsonl")
        assert service.ends() == 2
        assert "another process took over this log" in service.said[-1]
    before = documents(call, judged)
    assert correlator("run", *OPTIONS, judged, "--until-idle", "--listen", "off").returncode == 0
    assert {document["id"] for document in before} <= {document["id"] for document in documents(call, judged)}


def test_a_folder_without_a_log_is_no_state_and_none_is_made(call: Call, story: Path) -> None:
    result = call("state", "export", "--embedded", "log", "state")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: log: there is no log here; ")
    assert not (story / "state").exists()
    assert not (story / "log").exists()


def test_a_file_that_does_not_fit_is_refused_before_a_folder_is_made(call: Call, judged: Path, story: Path) -> None:
    call("state", "export", *OPTIONS, judged, "state")
    (story / "settings.yaml").write_text(f"{SETTINGS}prefix: another\n", encoding="utf-8")
    result = call("state", "import", *OPTIONS, "other", "state")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: the file holds the state of the application 'correlator': set `prefix: correlator`")
    assert not (story / "other").exists()


def test_a_copy_is_replaced_by_force_alone(call: Call, judged: Path, story: Path) -> None:
    (story / "state").write_text("a copy of last week")
    result = call("state", "export", *OPTIONS, judged, "state")
    assert (result.exit_code, result.stderr) == (2, "Error: state: it is there already: name another file, or replace it with --force\n")
    assert (story / "state").read_text() == "a copy of last week"
    assert call("state", "export", *OPTIONS, judged, "state", "--force").exit_code == 0


def test_a_file_that_is_not_there_is_said_so(call: Call) -> None:
    result = call("state", "import", "--embedded", "log", "state")
    assert (result.exit_code, result.stderr) == (2, "Error: state: No such file or directory\n")


def test_a_folder_that_is_not_there_is_said_so_and_by_the_name_that_was_given(call: Call, judged: Path) -> None:
    result = call("state", "export", *OPTIONS, judged, "nowhere/state")
    assert (result.exit_code, result.stderr) == (2, "Error: nowhere/state: there is no folder nowhere to write it into; make it first\n")


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_pipe_is_no_file(call: Call, command: str) -> None:
    result = call("state", command, "--embedded", "log", "-")
    assert (result.exit_code, result.stderr) == (2, "Error: state is moved through a file, not through a pipe: name one\n")
