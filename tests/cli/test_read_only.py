"""A disk that was remounted read-only: what lies there can be looked at and saved, and nothing else is tried."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from correlator.runtime.database import FILE_NAME

from tests.cli.conftest import Call
from tests.cli.program import CORRELATOR, LONGEST_S

IN_A_MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c")
ON_A_STILL_DISK = 'mount -t tmpfs tmpfs still && cp log/* still && mount -o remount,ro still && exec "$@"'
WITHOUT_THE_INDEX = ON_A_STILL_DISK.replace("&& mount -o", "&& rm still/*-shm && mount -o")


def in_a_mount(folder: Path, script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*IN_A_MOUNT, script, "sh", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, timeout=LONGEST_S)


@pytest.fixture
def story_on_disk(judged: Path) -> Path:
    """The folder of the story, with a log, and `still` for a disk to be mounted."""
    story = judged.parent
    (story / "still").mkdir()
    if in_a_mount(story, "mount -t tmpfs tmpfs still").returncode:
        pytest.skip("this machine lets us mount no disk")
    return story


@pytest.mark.parametrize("command", ["incidents", "dead-letters"])
def test_a_log_on_a_read_only_disk_is_read_as_any_other(call: Call, story_on_disk: Path, command: str) -> None:
    ended = in_a_mount(story_on_disk, ON_A_STILL_DISK, CORRELATOR, command, "--embedded", "still", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == call(command, "--embedded", "log", "--json").stdout


def test_the_state_on_a_read_only_disk_can_be_saved_and_goes_on_elsewhere(call: Call, story_on_disk: Path) -> None:
    options = ("--config", "settings.yaml", "--embedded")
    ended = in_a_mount(story_on_disk, ON_A_STILL_DISK, CORRELATOR, "state", "export", *options, "still", "state")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert call("state", "import", *options, "other", "state", "--raw", "end").exit_code == 0
    assert call("incidents", *options, "other").stdout == call("incidents", *options, "log").stdout


def test_what_was_not_merged_into_the_file_is_read_or_its_reading_refused(call: Call, story_on_disk: Path) -> None:
    with closing(sqlite3.connect(story_on_disk / "log" / FILE_NAME)) as holder:
        holder.execute("PRAGMA user_version")  # with the file in somebody's hand, what is published stays in the WAL
        call("publish", "--embedded", "log", "good.jsonl")
        read = in_a_mount(story_on_disk, ON_A_STILL_DISK, CORRELATOR, "incidents", "--embedded", "still")
        refused = in_a_mount(story_on_disk, WITHOUT_THE_INDEX, CORRELATOR, "incidents", "--embedded", "still")
    assert (read.returncode, read.stderr) == (0, "")
    assert refused.returncode == 2
    assert "its disk is read-only, so that what correlator.db-wal holds cannot be read there: copy both files into" in refused.stderr


@pytest.mark.parametrize("command", [("run", "--until-idle", "--listen", "off"), ("publish", "good.jsonl")], ids=lambda command: command[0])
def test_what_would_write_says_that_the_disk_is_read_only(story_on_disk: Path, command: tuple[str, ...]) -> None:
    ended = in_a_mount(story_on_disk, ON_A_STILL_DISK, CORRELATOR, *command, "--embedded", "still")
    assert ended.returncode == 2
    assert ended.stderr.endswith("Error: still: its disk is read-only: mount it for writing, or name a folder on another one\n")
