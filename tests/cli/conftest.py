"""Fixtures of the command line's tests: the story in a folder of its own, and the program in this process."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from correlator.cli import main

from tests.cli.program import correlator
from tests.cli.story import SETTINGS, tell

GOLDEN = Path(__file__).with_name("golden")

Call = Callable[..., Result]
Golden = Callable[[str, str], None]


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds the story, which is also the current one."""
    tell(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(story: Path) -> Call:  # noqa: ARG001 - commands are called where the story lies
    """Call a command in this process; a bug shows its trace."""

    def called(*arguments: object, given: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, list(map(str, arguments)), input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return called


@pytest.fixture
def golden() -> Golden:
    """Compare text with the file of that name in `golden`; UPDATE_GOLDEN=1 writes it instead."""

    def compared(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN") == "1":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} changed; UPDATE_GOLDEN=1 writes it anew"

    return compared


@pytest.fixture
def judged(story: Path) -> Path:
    """A log in which the story is published and judged."""
    (story / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    options = ("--embedded", "log", "--config", "settings.yaml")
    assert correlator("publish", *options, "events.jsonl", cwd=story).returncode == 0
    ended = correlator("run", *options, "--until-idle", "--listen", "off", cwd=story)
    assert ended.returncode == 0, ended.stderr
    return story / "log"
