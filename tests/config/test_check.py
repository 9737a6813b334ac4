"""`correlator check`: what it prints and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from correlator.cli.check import check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(check, arguments, input=stdin)


def test_sound_files_end_with_0_and_a_summary(folder: Path) -> None:
    (folder / "rules").mkdir()
    (folder / "rules" / "a.yaml").write_text("time: {reorder: 5s}")
    (folder / "topologies").mkdir()
    (folder / "topologies" / "a.yaml").write_text("services: {a: {depends_on: [b]}, b: }")
    result = run()
    assert (result.exit_code, result.output) == (0, "2 files, 1 rule set, 2 services, 1 edge: 0 errors, 0 warnings\n")


def test_settings_are_checked_and_counted(folder: Path) -> None:
    (folder / "live.yaml").write_text("topics: [{name: events, arrival: record}]")
    result = run("live.yaml")
    assert (result.exit_code, result.output) == (
        0,
        "1 file, 0 rule sets, 0 services, 0 edges, 1 settings file: 0 errors, 0 warnings\n",
    )


def test_the_rules_and_topologies_that_settings_name_are_checked_with_them(folder: Path) -> None:
    (folder / "here").mkdir()
    (folder / "here" / "rules.yaml").write_text("expirie: 5m")
    (folder / "here" / "shop.yaml").write_text("services: {a: {depends_on: [b]}, b: }")
    (folder / "here" / "settings.yaml").write_text("rules: [rules.yaml]\ntopology: [shop.yaml]")
    result = run("here/settings.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "here/rules.yaml:1:1: error: unknown key 'expirie', in neither rules, a topology nor settings (did you mean 'expiry'?)",
        "3 files, 0 rule sets, 2 services, 1 edge, 1 settings file: 1 error, 0 warnings",
    ]


def test_what_is_given_beside_settings_is_checked_in_place_of_what_they_name(folder: Path) -> None:
    (folder / "rules").mkdir()
    (folder / "rules" / "wrong.yaml").write_text("expirie: 5m")
    (folder / "mine.yaml").write_text("time: {reorder: 5s}")
    (folder / "settings.yaml").write_text("prefix: a")
    assert run("settings.yaml").exit_code == 1
    assert run("settings.yaml", "mine.yaml").exit_code == 0


def test_certificates_and_passwords_that_are_not_there_are_warned_of(folder: Path) -> None:
    (folder / "ca.pem").touch()
    kafka = "kafka: {tls: {ca: ca.pem, cert: our.pem}, sasl: {username: a, password_file: secret}}"
    (folder / "settings.yaml").write_text(kafka)
    result = run("settings.yaml")
    assert result.exit_code == 0
    assert result.output.splitlines()[:-1] == [
        "settings.yaml:1:33: warning: kafka.tls.cert: no such file here: our.pem",
        "settings.yaml:1:78: warning: kafka.sasl.password_file: no such file here: secret",
    ]


def test_warnings_alone_end_with_0(folder: Path) -> None:
    (folder / "a.yaml").write_text("services: {a: {depends_on: [a]}}")
    result = run("a.yaml")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "a.yaml:1:29: warning: 'a' depends on itself; the edge is left out",
        "1 file, 0 rule sets, 1 service, 0 edges: 0 errors, 1 warning",
    ]


@pytest.mark.parametrize("text", ["", "# time: {reorder: 5s}", "{}"])
def test_a_file_that_says_nothing_is_warned_of(text: str) -> None:
    result = run("-", stdin=text)
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "<stdin>:1:1: warning: the file says nothing: it has no keys"


def test_errors_end_with_1() -> None:
    result = run("-", stdin="services: {a: {tear: 1}}")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "<stdin>:1:16: error: unknown key 'tear' in services.a (did you mean 'tier'?)",
        "1 file, 0 rule sets, 1 service, 0 edges: 1 error, 0 warnings",
    ]


def test_a_missing_path_ends_with_2(folder: Path) -> None:
    result = run(str(folder / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere: error: no such file or folder" in result.output


@pytest.mark.usefixtures("folder")
def test_no_folder_at_all_ends_with_2() -> None:
    result = run()
    assert result.exit_code == 2
    assert result.output.splitlines()[:2] == ["rules: error: no such file or folder", "topologies: error: no such file or folder"]


def test_json_is_one_document() -> None:
    result = run("-", "--json", stdin="alerts: [{name: a}, {name: a}]")
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "files": 1,
        "rule_sets": 1,
        "services": 0,
        "edges": 0,
        "settings": 0,
        "errors": 1,
        "warnings": 1,
        "problems": [
            {
                "severity": "error",
                "file": "<stdin>",
                "line": 1,
                "column": 28,
                "message": "duplicate alert rule 'a', first written at <stdin>:1:17",
                "hint": "",
            },
            {
                "severity": "warning",
                "file": "<stdin>",
                "line": 1,
                "column": 28,
                "message": "alert rule 'a' is never reached: 'a' above matches all that it matches",
                "hint": "",
            },
        ],
    }
