"""Wrong calls of every command: exit code 2, one clear line, no trace, nothing made."""

import gzip
import os
from pathlib import Path

import pytest

from loadtest.broker import USUAL_PORT, free_port
from tests.cli.conftest import Call

COMMANDS = ("run", "publish", "incidents", "parse", "replay", "check", "demo")
ON_A_LOG: dict[str, tuple[str, ...]] = {"run": ("--until-idle", "--listen", "off"), "publish": ("good.jsonl",), "incidents": ()}
READING = {"publish": ("--embedded", "log"), "parse": (), "replay": ("--out", "out")}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_there_and_exits_0(call: Call, command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {command} ")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_exits_2(call: Call, command: str) -> None:
    result = call(command, "--nosuch")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_an_unknown_command_exits_2(call: Call) -> None:
    assert call("corelate").exit_code == 2


@pytest.mark.parametrize("command", ["publish", "parse", "replay"])
def test_no_file_at_all_exits_2(call: Call, command: str) -> None:
    result = call(command)
    assert result.exit_code == 2
    assert "Missing argument" in result.stderr


def test_replay_without_a_folder_exits_2(call: Call) -> None:
    result = call("replay", "good.jsonl")
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.stderr


@pytest.mark.skipif(free_port(USUAL_PORT) != USUAL_PORT, reason="a broker may answer where commands look without settings (make kafka)")
@pytest.mark.parametrize("command", ON_A_LOG)
def test_without_a_log_the_message_says_what_to_add(call: Call, command: str) -> None:
    result = call(command, *ON_A_LOG[command])
    assert (result.exit_code, "--embedded DIR" in result.stderr) == (2, True)


@pytest.mark.parametrize("command", ON_A_LOG)
def test_settings_that_cannot_be_read_exit_2(call: Call, story: Path, command: str) -> None:
    result = call(command, "--embedded", "log", "--config", "missing", *ON_A_LOG[command])
    assert (result.exit_code, result.stderr) == (2, "missing: error: cannot be read: No such file or directory\n")
    assert not (story / "log").exists()


@pytest.mark.parametrize("command", ON_A_LOG)
def test_wrong_settings_exit_2_with_their_place(call: Call, story: Path, command: str) -> None:
    (story / "settings.yaml").write_text("nope: 1\n", encoding="utf-8")
    result = call(command, "--embedded", "log", "--config", "settings.yaml", *ON_A_LOG[command])
    assert (result.exit_code, result.stderr) == (2, "settings.yaml:1:1: error: unknown key 'nope'\n")
    assert not (story / "log").exists()


@pytest.mark.parametrize("command", READING)
def test_a_folder_is_no_file(call: Call, story: Path, command: str) -> None:
    (story / "folder").mkdir()
    result = call(command, *READING[command], "folder")
    assert (result.exit_code, result.stderr) == (2, "Error: folder: cannot be read: Is a directory\n")


@pytest.mark.parametrize("command", READING)
def test_a_compressed_file_is_refused_before_anything_is_made(call: Call, story: Path, command: str) -> None:
    (story / "good.gz").write_bytes(gzip.compress((story / "good.jsonl").read_bytes()))
    result = call(command, *READING[command], "good.gz")
    words = "Error: good.gz: is compressed: unpack it into standard input (`gunzip -c good.gz | … -`)\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", words)
    assert not (story / "log").exists()
    assert not (story / "out").exists()


@pytest.mark.parametrize("command", ["run", "publish"])
def test_a_file_is_no_log(call: Call, command: str) -> None:
    result = call(command, "--embedded", "good.jsonl", *ON_A_LOG[command])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: good.jsonl: cannot be made a folder")


@pytest.mark.parametrize("command", ON_A_LOG)
def test_a_database_of_something_else_is_left_alone(call: Call, story: Path, command: str) -> None:
    (story / "log").mkdir()
    (story / "log" / "correlator.db").write_bytes(b"something else entirely" * 100)
    result = call(command, "--embedded", "log", *ON_A_LOG[command])
    assert result.exit_code == 2
    assert "not a database" in result.stderr
    assert (story / "log" / "correlator.db").read_bytes() == b"something else entirely" * 100


def test_results_cannot_go_where_a_file_is(call: Call) -> None:
    result = call("replay", "good.jsonl", "--out", "topology.yaml")
    assert (result.exit_code, result.stderr) == (2, "Error: topology.yaml: is a file; --out names the folder for the results\n")


def test_more_workers_than_one_are_for_kafka(call: Call) -> None:
    result = call("run", "--embedded", "log", "--workers", "2")
    assert (result.exit_code, result.stderr) == (2, "Error: --workers is for Kafka; an embedded log has one worker\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("command", ["run", "publish"])
def test_a_folder_that_cannot_be_written_is_said_so(call: Call, story: Path, command: str) -> None:
    (story / "log").mkdir(mode=0o555)
    result = call(command, "--embedded", "log", *ON_A_LOG[command])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: log/correlator.db: it cannot be opened")
    assert list((story / "log").iterdir()) == []
