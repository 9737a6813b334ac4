"""`correlator publish` and `incidents`: events in, incidents out, and what stands in their way."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from correlator.cli.incidents import print_incidents, print_table
from correlator.cli.plural import counted
from correlator.model.incident import IncidentDocument, IncidentState, encode_incident
from correlator.model.instant import HOUR
from correlator.runtime.embedded import EmbeddedLog, wall_clock
from correlator.runtime.ports import TopicPartition

from loadtest.outcome import Outcome, items_of, records_in
from tests.cli.conftest import Call, Golden
from tests.cli.program import CORRELATOR, correlator, running
from tests.cli.story import GOOD, SETTINGS, an_event, write_lines


def test_publish_says_how_many_records_went_where(call: Call) -> None:
    result = call("publish", "--embedded", "log", "good.jsonl")
    assert (result.exit_code, result.stdout) == (0, "5 records published to events\n")


def test_publish_with_json_prints_one_line(call: Call) -> None:
    line = json.loads(call("publish", "--embedded", "log", "--json", "good.jsonl").stdout)
    assert line.keys() == {"records", "topic", "cpu_s"}
    assert (line["records"], line["topic"]) == (5, "events")


def test_an_end_mark_follows_unless_more_is_to_come(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "--more", "good.jsonl")
    assert records_in(story / "log", "events") == len(GOOD)
    call("publish", "--embedded", "log", "good.jsonl")
    assert records_in(story / "log", "events") == 2 * len(GOOD) + 1


def test_records_keep_their_bytes(call: Call, story: Path) -> None:
    lines = ['{"at": ', '{"b" : 1,   "a":2}', "\x01", ""]
    write_lines(story / "odd", [*lines, "end"])
    call("publish", "--embedded", "log", "--more", "odd")
    with Outcome(story / "log") as outcome:
        assert list(outcome.appended("events")) == [*[line.encode() for line in lines], b"end"]


def test_standard_input_is_published(call: Call, story: Path) -> None:
    result = call("publish", "--embedded", "log", "-", given=(story / "good.jsonl").read_bytes())
    assert result.stdout == "5 records published to events\n"


def test_a_topic_that_the_settings_lack_is_refused_before_anything_is_made(call: Call, story: Path) -> None:
    result = call("publish", "--embedded", "log", "--topic", "nosuch", "good.jsonl")
    assert (result.exit_code, result.stderr) == (2, "Error: the settings have no topic 'nosuch'; they have events\n")
    assert not (story / "log").exists()


def test_a_topic_of_the_settings_takes_records(call: Call, story: Path) -> None:
    (story / "settings.yaml").write_text(SETTINGS, encoding="utf-8")
    result = call("publish", "--embedded", "log", "--config", "settings.yaml", "--topic", "others", "good.jsonl")
    assert result.stdout == "5 records published to others\n"


def test_a_missing_file_publishes_nothing_and_makes_nothing(call: Call, story: Path) -> None:
    result = call("publish", "--embedded", "log", "good.jsonl", "missing")
    assert (result.exit_code, result.stderr) == (2, "Error: missing: cannot be read: No such file or directory\n")
    assert not (story / "log").exists()


def test_incidents_are_a_table_with_a_line_each(call: Call, judged: Path, golden: Golden) -> None:
    result = call("incidents", "--embedded", judged)
    golden("incidents.txt", "\n".join(line.rstrip() for line in result.stdout.splitlines()) + "\n")


def test_a_long_title_is_not_wrapped_where_there_is_no_terminal(call: Call, story: Path) -> None:
    name = "A" * 150
    write_lines(story / "long", [an_event(0, alertname=name)])
    call("publish", "--embedded", "log", "long")
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    header, *lines = call("incidents", "--embedded", "log").stdout.splitlines()
    assert len(lines) == 1
    assert header.startswith("opened ")
    assert name in lines[0]


def an_incident(name: str, opened: str, counts: dict[str, int]) -> IncidentDocument:
    return IncidentDocument(
        id=name, revision=1, state=IncidentState.PENDING, title="A", opened=opened, updated=opened, members=[], counts=counts,
        root_causes=[], contributing=[], blast_radius=[], category="", priority="P3", owner=None, why=[], rules_digest="",
    )  # fmt: skip


def test_incidents_stand_in_the_order_in_which_they_opened_and_guesses_count_as_firing(capsys: pytest.CaptureFixture[str]) -> None:
    later = an_incident("later", "2026-01-05T00:02:00.000Z", {"alerts": 3, "firing": 1, "pending": 1, "entities": 1})
    guessed = an_incident("guessed", "2026-01-05T00:01:00.000Z", {"alerts": 0, "firing": 0, "pending": 3, "entities": 1})
    print_table([later, guessed])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[-1], row[4], row[5]) for row in rows[1:]] == [("guessed", "3", "3"), ("later", "3", "1")]


def test_incidents_that_were_withdrawn_are_listed_when_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"alerts": 0, "firing": 0, "pending": 0, "entities": 0}
    kept = an_incident("kept", "2026-01-05T00:02:00.000Z", {**counts, "pending": 1})
    gone = msgspec.structs.replace(an_incident("gone", "2026-01-05T00:01:00.000Z", counts), state=IncidentState.WITHDRAWN)
    bodies = [encode_incident(document) for document in (kept, gone)]
    for is_all, as_json, listed in ((False, False, "kept"), (True, False, "gone kept"), (False, True, "kept"), (True, True, "kept gone")):
        print_incidents(bodies, is_all=is_all, as_json=as_json)
        told = capsys.readouterr().out
        lines = [line for line in told.splitlines() if "incident" not in line and "--all" not in line] if not as_json else told.splitlines()
        assert [json.loads(line)["id"] if as_json else line.split()[-1] for line in lines] == listed.split()
        assert ("and 1 withdrawn, which --all lists\n" in told) == (not is_all and not as_json)


def test_incidents_with_json_are_whole_documents(call: Call, judged: Path) -> None:
    documents = [json.loads(line) for line in call("incidents", "--embedded", judged, "--json").stdout.splitlines()]
    assert [document["schema"] for document in documents] == [1] * len(documents)
    assert sum(document["counts"]["alerts"] for document in documents) == 3


def test_followed_incidents_are_told_until_ctrl_c(judged: Path) -> None:
    command = [CORRELATOR, "incidents", "--embedded", str(judged), "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None, "started with a pipe"
        assert json.loads(following.stdout.readline()).keys() >= {"id", "revision", "state"}
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=20)
    assert (following.returncode, errors) == (0, "")


def test_no_log_is_said_so_and_none_is_made(call: Call, story: Path) -> None:
    result = call("incidents", "--embedded", "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: nowhere: there is no log here; `correlator publish --embedded nowhere FILE` makes one\n"
    assert not (story / "nowhere").exists()


def test_a_log_that_nobody_judged_is_said_so(call: Call) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    result = call("incidents", "--embedded", "log")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no incidents yet; start `correlator run` with the same options (")


def test_a_judged_log_without_incidents_says_so(call: Call, story: Path) -> None:
    (story / "empty").touch()
    call("publish", "--embedded", "log", "empty")
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    result = call("incidents", "--embedded", "log")
    assert (result.exit_code, result.stdout) == (0, "no incidents\n")


def test_publishing_while_the_service_runs_reaches_it(call: Call, story: Path) -> None:
    with running(story / "log", "--listen", "off") as service:
        service.until("restored")
        call("publish", "--embedded", "log", "good.jsonl")
        assert service.stopped()[0] == 0
    ended = correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    assert ended.returncode == 0
    with Outcome(story / "log") as outcome:
        assert sum(items_of(outcome.appended("frames")).values()) == len(GOOD)


def test_a_part_of_a_recording_too_short_to_tell_its_time_waits_for_the_rest_and_says_so(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "--more", "good.jsonl")
    with running(story / "log", "--listen", "off", "--until-idle") as service:
        assert "5 records wait for later ones" in service.until("confirm their time")
        (story / "empty").touch()
        call("publish", "--embedded", "log", "empty")
        assert service.ends() == 0
    with Outcome(story / "log") as outcome:
        assert sum(items_of(outcome.appended("frames")).values()) == len(GOOD)


LIVE = "topics: [{name: events}]\n"
ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-05T00:00:00Z"}
HOOK = {"version": "4", "status": "firing", "alerts": [ALERT]}


def live(call: Call, story: Path, *events: object, settings: str = LIVE) -> str:
    (story / "live.yaml").write_text(settings, encoding="utf-8")
    write_lines(story / "these", events)
    result = call("publish", "--embedded", "log", "--config", "live.yaml", "these")
    assert (result.exit_code, result.stdout) == (0, f"{counted(len(events), 'record')} published to events\n")
    return result.stderr


def dated(at: int) -> dict[str, object]:
    return {**an_event(0), "at": at}


def test_a_recording_on_a_live_topic_is_warned_of_once(call: Call, story: Path) -> None:
    said = live(call, story, *GOOD)
    assert said.startswith("warning: an event is dated 2026-01-05T00:00:00.000Z, ")
    assert "topic 'events' is live (`arrival: record`)" in said
    assert said.count("\n") == 1


def test_events_of_another_century_are_warned_of(call: Call, story: Path) -> None:
    assert "dated 2100-01-01T00:00:00.000Z" in live(call, story, dated(wall_clock()), dated(4_102_444_800_000))


def test_events_of_today_are_published_without_a_word(call: Call, story: Path) -> None:
    assert live(call, story, dated(wall_clock()), dated(wall_clock() - 20 * HOUR), "no JSON") == ""


def test_a_webhook_that_began_long_ago_is_said_now(call: Call, story: Path) -> None:
    assert live(call, story, HOOK) == ""


RECORDED = "topics: [{name: events, arrival: item}]\n"


def test_a_recording_on_a_topic_for_recordings_is_published_without_a_word(call: Call, story: Path) -> None:
    assert live(call, story, *GOOD, HOOK, settings=RECORDED) == ""


def test_a_recording_that_names_no_time_is_warned_of_once_and_flagged(call: Call, story: Path) -> None:
    undated = {**an_event(0), "at": None}
    said = live(call, story, undated, undated, settings=RECORDED)
    assert said.startswith("warning: an event names no time (`at`); topic 'events' is for recordings")
    assert said.count("\n") == 1
    (first, *_) = [json.loads(line) for line in call("parse", "these").stdout.splitlines()]
    assert first["flags"] == ["no_time"]
    assert "names no time" in first["detail"]


def test_a_recording_behind_one_that_ended_is_warned_of(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    warning = "warning: the recording in topic 'events' has ended{}, and what is dated before that is late: take a log of its own"
    assert call("publish", "--embedded", "log", "good.jsonl").stderr.startswith(warning.format(""))
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    assert call("publish", "--embedded", "log", "good.jsonl").stderr.startswith(warning.format(" at 2026-01-05T00:05:30.000Z"))


def test_what_goes_on_where_a_recording_ended_is_published_without_a_word(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    correlator("run", "--embedded", "log", "--until-idle", "--listen", "off", cwd=story)
    write_lines(story / "later", [an_event(900)])
    assert call("publish", "--embedded", "log", "later").stderr == ""


def test_parts_of_a_recording_are_published_without_a_word(call: Call) -> None:
    call("publish", "--embedded", "log", "--more", "good.jsonl")
    assert call("publish", "--embedded", "log", "good.jsonl").stderr == ""


def test_a_live_folder_takes_no_recording_and_is_not_read_as_one(call: Call, story: Path) -> None:
    live(call, story, dated(wall_clock()))
    with running(story / "log", "--listen", "off", "--config", story / "live.yaml") as service:
        while not (committed := note_of(story / "log")):
            assert service.process.poll() is None
        assert committed.endswith(" live")
    for command in (["publish", "--embedded", "log", "good.jsonl"], ["run", "--embedded", "log", "--listen", "off"]):
        ended = correlator(*command, cwd=story)
        assert ended.returncode == 2
        assert "correlator.events-0 was read with `arrival: record` until now" in ended.stderr
    assert records_in(story / "log", "events") == 1


def note_of(log: Path) -> str:
    """Answer what intake committed with its position, nothing before it has."""

    async def note() -> str:
        opened = await EmbeddedLog.open(log)
        try:
            position = await opened.committed("correlator-intake", TopicPartition("correlator.events", 0))
        finally:
            await opened.close()
        return position.note if position is not None else ""

    return asyncio.run(note())
