"""`correlator dead-letters`: what was refused and why, and its bytes back as they came."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call, Golden
from tests.cli.program import correlator
from tests.cli.story import WEBHOOK, an_event, write_lines

BROKEN = b'{"at": \x1b[31m\xff\x00 "red"'


@pytest.fixture
def refused(call: Call, story: Path) -> Path:
    """A log whose intake refused the bad records of the story, one of bytes that are no text, and one that is too long."""
    with (story / "events.jsonl").open("ab") as file:
        file.write(BROKEN + b"\n")
        file.write(b'"' + b"x" * 300_000 + b'"\n')
    call("publish", "--embedded", "log", "events.jsonl")
    assert correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story).returncode == 0
    return story / "log"


def test_letters_are_listed_with_where_why_and_how_they_begin(call: Call, refused: Path, golden: Golden) -> None:
    result = call("dead-letters", "--embedded", refused)
    assert result.exit_code == 0, result.stderr
    golden("dead-letters.txt", result.stdout)


def test_no_byte_of_a_letter_reaches_the_terminal_as_a_command(call: Call, refused: Path) -> None:
    told = call("dead-letters", "--embedded", refused).stdout
    assert all(line.isprintable() for line in told.splitlines())
    assert "\\x1b[31m\\xff\\x00" in told


def test_with_json_each_is_an_object_that_says_the_same(call: Call, refused: Path) -> None:
    letters = [json.loads(line) for line in call("dead-letters", "--embedded", refused, "--json").stdout.splitlines()]
    assert [letter["number"] for letter in letters] == [0, 1, 2, 3, 4]
    webhook = letters[1]
    assert webhook["position"] == {"topic": "events", "partition": 0, "offset": 6}
    assert [(refusal["item"], refusal["reason"]) for refusal in webhook["refusals"]] == [(1, "no_labels")]
    assert webhook["kept"] == webhook["length"] == len(json.dumps(WEBHOOK))


def test_raw_gives_the_very_bytes_back(call: Call, refused: Path) -> None:
    result = call("dead-letters", "--embedded", refused, "--raw", 3)
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, BROKEN, "")


def test_raw_says_what_was_not_kept(call: Call, refused: Path) -> None:
    result = call("dead-letters", "--embedded", refused, "--raw", 4)
    assert len(result.stdout_bytes) == 262_144
    assert result.stderr == "warning: only the first 262144 of 300002 bytes were kept\n"


def test_a_mended_letter_can_be_published_again(call: Call, refused: Path, story: Path) -> None:
    raw = call("dead-letters", "--embedded", refused, "--raw", 2).stdout_bytes
    mended = json.loads(raw)
    mended["labels"]["alertname"] = "Mended"
    write_lines(story / "mended", [mended, an_event(400)])
    call("publish", "--embedded", "log", "mended")
    assert correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story).returncode == 0
    assert "5 dead letters; " in call("dead-letters", "--embedded", refused).stdout
    assert "Mended at shop" in call("incidents", "--embedded", refused).stdout


def test_many_bad_items_of_one_record_are_counted(call: Call, story: Path) -> None:
    write_lines(story / "bad", [{"version": "4", "status": "firing", "alerts": [{"status": "firing", "labels": {}}] * 9}])
    call("publish", "--embedded", "log", "bad")
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    assert "   and 6 more items; --json lists the first 9 of all\n" in call("dead-letters", "--embedded", "log").stdout


def test_a_letter_that_is_not_there_is_said_so(call: Call, refused: Path) -> None:
    result = call("dead-letters", "--embedded", refused, "--raw", 5)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: there is no dead letter 5; `correlator dead-letters` with the same options lists them\n"


def test_raw_and_json_exclude_each_other(call: Call, refused: Path) -> None:
    result = call("dead-letters", "--embedded", refused, "--raw", 1, "--json")
    assert (result.exit_code, result.stderr) == (2, "Error: --raw writes the bytes as they came: leave --json out\n")


def test_a_log_without_bad_records_has_none(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    assert call("dead-letters", "--embedded", "log").stdout == "no dead letters\n"


@pytest.mark.parametrize("option", [(), ("--raw", "0")])
def test_a_log_that_nobody_read_is_said_so(call: Call, option: tuple[str, ...]) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    result = call("dead-letters", "--embedded", "log", *option)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no dead letters can be read; did `correlator run` ever start with the same options? (")
