"""`correlator parse`: a verdict for each item, and where it lies."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Call, Golden
from tests.cli.program import CORRELATOR
from tests.cli.story import GOOD, WEBHOOK, an_event, write_lines

KEYS = {"verdict", "reason", "flags", "position", "alert"}


def places(output: str) -> list[tuple[int, int, str]]:
    items = [json.loads(line) for line in output.splitlines()]
    return [(item["position"]["line"], item["position"]["item"], item["verdict"]) for item in items]


def test_every_item_has_a_verdict_and_a_place(call: Call, golden: Golden) -> None:
    result = call("parse", "events.jsonl")
    golden("parse.jsonl", result.stdout)
    assert result.exit_code == 1


def test_every_line_has_the_keys_of_the_contract(call: Call) -> None:
    lines = [json.loads(line) for line in call("parse", "events.jsonl").stdout.splitlines()]
    assert all(line.keys() >= KEYS and line["position"].keys() == {"file", "line", "item"} for line in lines)


def test_good_items_alone_exit_0(call: Call) -> None:
    assert call("parse", "good.jsonl").exit_code == 0


def test_json_is_accepted_and_changes_nothing(call: Call) -> None:
    assert call("parse", "--json", "good.jsonl").stdout == call("parse", "good.jsonl").stdout


def test_standard_input_is_read_as_a_file(call: Call, story: Path) -> None:
    result = call("parse", "-", given=(story / "good.jsonl").read_bytes())
    assert [json.loads(line)["position"]["file"] for line in result.stdout.splitlines()] == ["-"] * len(GOOD)


def test_an_empty_file_has_no_items_and_is_no_mistake(call: Call, story: Path) -> None:
    (story / "empty").touch()
    result = call("parse", "empty")
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_last_line_without_its_end_counts(call: Call, story: Path) -> None:
    (story / "cut").write_text(json.dumps(an_event(0)), encoding="utf-8")
    assert places(call("parse", "cut").stdout) == [(1, 0, "accepted")]


def test_an_indented_webhook_is_one_record(call: Call, story: Path) -> None:
    (story / "webhook.json").write_text(json.dumps(WEBHOOK, indent=2), encoding="utf-8")
    assert places(call("parse", "webhook.json").stdout) == [(1, 0, "accepted"), (1, 1, "rejected")]


def test_an_indented_array_is_one_document_of_many_items(call: Call, story: Path) -> None:
    (story / "array.json").write_text(json.dumps([*GOOD, {"labels": {}}], indent=2), encoding="utf-8")
    assert places(call("parse", "array.json").stdout) == [*[(1, item, "accepted") for item in range(5)], (1, 5, "rejected")]


def test_a_bad_first_line_does_not_hide_those_behind_it(call: Call, story: Path) -> None:
    write_lines(story / "bad", ['{"at": ', *GOOD])
    assert [verdict for _, _, verdict in places(call("parse", "bad").stdout)] == ["rejected", *["accepted"] * 5]


def test_lines_are_counted_in_each_file(call: Call) -> None:
    lines = places(call("parse", "good.jsonl", "good.jsonl").stdout)
    assert [line for line, _, _ in lines] == [1, 2, 3, 4, 5] * 2


@pytest.mark.parametrize("form", ["native", "alertmanager", "cloudevents"])
def test_a_format_that_is_named_is_the_only_one_tried(call: Call, story: Path, form: str) -> None:
    write_lines(story / "one", [an_event(0)])
    ((_, _, verdict),) = places(call("parse", "--format", form, "one").stdout)
    assert verdict == ("accepted" if form == "native" else "rejected")


def test_nothing_is_printed_when_one_of_the_files_is_missing(call: Call) -> None:
    result = call("parse", "good.jsonl", "missing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: missing: cannot be read: No such file or directory\n"


def test_a_reader_that_had_enough_is_met_with_silence(story: Path) -> None:
    write_lines(story / "many", [an_event(number) for number in range(5_000)])
    command = ["/bin/sh", "-c", f'"{CORRELATOR}" parse many | head -1']
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50, cwd=story)
    assert (len(ended.stdout.splitlines()), ended.stderr) == (1, "")
