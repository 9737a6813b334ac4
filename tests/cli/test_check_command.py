"""`correlator check` as a command: its lines, its JSON, its exit codes."""

import json
from pathlib import Path

from tests.cli.conftest import Call, Golden

WRONG = """\
time: {reorder: 10}
groping: {}
"""


def test_sound_files_are_counted_and_exit_0(call: Call) -> None:
    result = call("check", "rules.yaml", "topology.yaml")
    assert (result.exit_code, result.stdout) == (0, "2 files, 1 rule set, 2 services, 1 edge: 0 errors, 0 warnings\n")


def test_mistakes_stand_with_file_line_and_column_and_exit_1(call: Call, story: Path, golden: Golden) -> None:
    (story / "wrong.yaml").write_text(WRONG, encoding="utf-8")
    result = call("check", "wrong.yaml", "topology.yaml")
    golden("check.txt", result.stdout)
    assert result.exit_code == 1


def test_json_tells_the_same(call: Call, story: Path) -> None:
    (story / "wrong.yaml").write_text(WRONG, encoding="utf-8")
    result = call("check", "wrong.yaml", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["errors"], len(report["problems"])) == (1, 2, 2)


def test_what_cannot_be_read_exits_2(call: Call) -> None:
    result = call("check", "missing")
    assert result.exit_code == 2
    assert result.stdout.startswith("missing: error: no such file or folder\n")


def test_standard_input_is_checked(call: Call) -> None:
    result = call("check", "-", given=WRONG)
    assert result.exit_code == 1
    assert result.stdout.startswith("<stdin>:1:")


def test_without_paths_and_default_folders_there_is_nothing_to_check(call: Call) -> None:
    result = call("check")
    assert result.exit_code == 2
    assert result.stdout.startswith("rules: error: no such file or folder\ntopologies: error: no such file or folder\n")


def test_without_paths_the_default_folders_are_checked(call: Call, story: Path) -> None:
    (story / "rules").mkdir()
    (story / "rules.yaml").rename(story / "rules" / "ours.yaml")
    result = call("check")
    assert (result.exit_code, result.stdout) == (0, "1 file, 1 rule set, 0 services, 0 edges: 0 errors, 0 warnings\n")
