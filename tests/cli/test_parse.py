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


def details(output: str) -> list[str]:
    return [item["detail"] for item in map(json.loads, output.splitlines()) if item["verdict"] == "rejected"]


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


def test_each_item_names_the_format_that_it_was_read_as(call: Call, story: Path) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": GOOD[0]}
    write_lines(story / "mixed", [GOOD[0], WEBHOOK, event, [GOOD[0], GOOD[1]], [GOOD[0], event], "{"])
    formats = [json.loads(line)["format"] for line in call("parse", "mixed").stdout.splitlines()]
    assert formats == ["native", "alertmanager", "alertmanager", "cloudevents", "native", "native", None, None, None]
    formats = [json.loads(line)["format"] for line in call("parse", "--format", "native", "mixed").stdout.splitlines()]
    assert set(formats) == {"native"}


# Documents over many lines


def test_a_rejected_item_of_an_indented_document_names_line_and_column(call: Call, story: Path) -> None:
    (story / "webhook.json").write_text(json.dumps(WEBHOOK, indent=2), encoding="utf-8")
    (story / "array.json").write_text(json.dumps([*GOOD, {"labels": {}}], indent=2), encoding="utf-8")
    assert details(call("parse", "webhook.json").stdout) == ["line 13, column 5: the event has no labels"]
    assert details(call("parse", "array.json").stdout) == ["line 47, column 3: the event has no labels"]


def test_items_that_look_alike_are_told_apart_by_their_place(call: Call, story: Path) -> None:
    (story / "array.json").write_text('[\n{"labels": {}},\n  {"labels": {}}\n, 5, 5]', encoding="utf-8")
    spots = [detail.partition(":")[0] for detail in details(call("parse", "array.json").stdout)]
    assert spots == ["line 2, column 1", "line 3, column 3", "line 4, column 3", "line 4, column 6"]


@pytest.mark.parametrize("indent", [1, 2, "\t"])
@pytest.mark.parametrize("document", [WEBHOOK, list(GOOD)])
def test_a_fault_in_an_indented_document_is_one_item_that_names_line_and_column(
    call: Call, story: Path, document: object, *, indent: int | str
) -> None:
    lines = json.dumps(document, indent=indent).splitlines()
    lines[6] = lines[6].replace('"', "'", 1)
    (story / "broken.json").write_text("\n".join(lines), encoding="utf-8")
    output = call("parse", "broken.json").stdout
    assert places(output) == [(1, 0, "rejected")]
    (detail,) = details(output)
    assert f"(line 7, column {lines[6].index(chr(39)) + 1}): {lines[6]}" in detail


def test_a_document_that_is_cut_off_is_one_item_that_names_its_end(call: Call, story: Path) -> None:
    text = json.dumps(list(GOOD), indent=2)
    (story / "cut.json").write_text(text[: text.rindex("}")].rstrip() + "\n", encoding="utf-8")
    output = call("parse", "cut.json").stdout
    assert places(output) == [(1, 0, "rejected")]
    assert "truncated (line " in details(output)[0]


def test_an_array_with_an_item_a_line_is_a_document_even_when_broken(call: Call, story: Path) -> None:
    items = ",\n".join([json.dumps(event) for event in GOOD])
    (story / "broken.json").write_text("[\n" + items.replace("}},", "}}", 1) + "\n]\n", encoding="utf-8")
    output = call("parse", "broken.json").stdout
    assert places(output) == [(1, 0, "rejected")]
    assert "(line 3, column 1)" in details(output)[0]


@pytest.mark.parametrize("first", ["[", "{", '{"at": ', '[{"at":'])
def test_lines_behind_a_first_that_opens_and_does_not_close_are_lines(call: Call, story: Path, first: str) -> None:
    write_lines(story / "bad", [first, *GOOD])
    assert [verdict for _, _, verdict in places(call("parse", "bad").stdout)] == ["rejected", *["accepted"] * 5]


def test_indented_lines_that_are_events_are_lines(call: Call, story: Path) -> None:
    write_lines(story / "bad", ['{"at": ', *[f"  {json.dumps(event)}" for event in GOOD]])
    assert [verdict for _, _, verdict in places(call("parse", "bad").stdout)] == ["rejected", *["accepted"] * 5]


# Blank lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n\n", "\n  \n\t\r\n", "\n   "])
def test_blank_lines_at_the_end_are_no_items(call: Call, story: Path, end: str) -> None:
    (story / "blank").write_text("\n".join(json.dumps(event) for event in GOOD) + end, encoding="utf-8", newline="")
    result = call("parse", "blank")
    assert (result.exit_code, len(places(result.stdout))) == (0, 5)


def test_a_blank_line_among_others_is_a_rejected_item(call: Call, story: Path) -> None:
    write_lines(story / "blank", [GOOD[0], "", GOOD[1]])
    assert places(call("parse", "blank").stdout) == [(1, 0, "accepted"), (2, 0, "rejected"), (3, 0, "accepted")]


@pytest.mark.parametrize("text", ["\n", "\n\n", " \n\t\n"])
def test_a_file_of_blank_lines_has_no_items(call: Call, story: Path, text: str) -> None:
    (story / "blank").write_text(text, encoding="utf-8")
    assert call("parse", "blank").stdout == ""


# Summary


def test_the_summary_counts_verdicts_and_reasons_on_standard_error(call: Call) -> None:
    expected = "9 items: 6 accepted, 3 rejected (1 no_alertname, 1 no_labels, 1 unparsable)\n"
    assert call("parse", "events.jsonl").stderr == expected
    assert call("parse", "good.jsonl", "good.jsonl").stderr == "10 items: 10 accepted, 0 rejected\n"


def test_one_item_is_written_as_one(call: Call, story: Path) -> None:
    write_lines(story / "one", [an_event(0)])
    assert call("parse", "one").stderr == "1 item: 1 accepted, 0 rejected\n"


def test_with_json_there_is_no_summary(call: Call) -> None:
    assert call("parse", "--json", "events.jsonl").stderr == ""


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
