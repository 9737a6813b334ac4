"""`correlator run` as a process: ready, metrics, stop, take-over, mistakes, and a disk without room."""

import asyncio
import json
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from correlator.model.instant import SECOND
from correlator.model.rule import RuleSet, TimeRules
from correlator.runtime.control import newest_control
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.topics import Topics

from loadtest.checker import Checker, read_lines
from loadtest.outcome import Outcome, records_in
from loadtest.plan import Settings
from loadtest.storm import write_storm
from tests.cli.conftest import Call
from tests.cli.program import correlator, running
from tests.cli.story import GOOD

QUIET = ("--listen", "off")
SETTINGS = Path(__file__).parents[2] / "loadtest" / "chaos.settings.yaml"
SMALL = Settings(events=12_000, seed=3, services=40, faults=6, hours=4.0, clusters=2)


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own service, on this machine
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small storm with its topology and truth."""
    folder = tmp_path_factory.mktemp("storm")
    write_storm(SMALL, folder)
    return folder


@pytest.fixture
def options(storm: Path, tmp_path: Path) -> tuple[str, ...]:
    """Where the log is, and settings that keep all alerts."""
    topology = str(storm / "topology.yaml")
    return ("--embedded", str(tmp_path / "log"), "--config", str(SETTINGS), *QUIET, "--topology", topology)


def publish(storm: Path, log: Path) -> None:
    assert correlator("publish", "--embedded", log, "--config", SETTINGS, storm / "events.jsonl").returncode == 0


def verdict(log: Path, storm: Path) -> str:
    with Outcome(log) as outcome:
        return Checker(outcome, read_lines(storm / "events.jsonl")).check().last_line


def test_until_idle_judges_all_and_says_how_much(storm: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    publish(storm, tmp_path / "log")
    ended = correlator("run", *options, "--until-idle", "--json")
    line = json.loads(ended.stdout)
    assert (ended.returncode, line["events"], line["judged"], line.keys()) == (0, SMALL.events, SMALL.events, {"events", "judged", "cpu_s"})
    assert verdict(tmp_path / "log", storm) == "lost 0, double 0"


def test_until_idle_on_a_new_folder_ends_at_once(tmp_path: Path) -> None:
    ended = correlator("run", "--embedded", tmp_path / "log", *QUIET, "--until-idle", "--json")
    assert (ended.returncode, json.loads(ended.stdout)["events"]) == (0, 0)


def test_it_is_ready_and_measured_while_it_runs(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    with running(story / "log", "--listen", "127.0.0.1:0") as service:
        said = [service.until("listening"), service.until("restored")]
        match = re.search(r"http://[0-9.:]+", "".join(said))
        assert match is not None
        assert fetched(f"{match.group()}/-/ready")[0] == 200
        assert fetched(f"{match.group()}/-/healthy")[0] == 200
        status, metrics = fetched(f"{match.group()}/metrics")
        assert (status, "correlator_items_received_total" in metrics) == (200, True)
        code, seconds = service.stopped()
    assert code == 0
    assert seconds < 3


def test_sigterm_under_load_stops_within_three_seconds_and_loses_nothing(storm: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    log = tmp_path / "log"
    publish(storm, log)
    with running(log, *options[2:]) as service:
        service.until("restored")
        code, seconds = service.stopped()
    assert code == 0
    assert seconds < 3
    assert correlator("run", *options, "--until-idle").returncode == 0
    assert verdict(log, storm) == "lost 0, double 0"


def test_a_second_service_takes_over_and_the_first_stops(storm: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    log = tmp_path / "log"
    with running(log, *options[2:]) as first:
        first.until("restored")
        with running(log, *options[2:]) as second:
            second.until("restored")
            publish(storm, log)
            assert first.ends() == 2
            assert second.stopped()[0] == 0
        assert first.said[-1].startswith("Error: another process took over this log, and this one stopped: ")
    assert correlator("run", *options, "--until-idle").returncode == 0
    assert verdict(log, storm) == "lost 0, double 0"


@pytest.mark.parametrize("blocks", [400, 3_000])
def test_a_disk_without_room_stops_it_and_loses_nothing(storm: Path, tmp_path: Path, options: tuple[str, ...], *, blocks: int) -> None:
    log = tmp_path / "log"
    publish(storm, log)
    ended = correlator("run", *options, "--until-idle", file_blocks=blocks)
    assert ended.returncode == 2
    assert "Error: " in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert correlator("run", *options, "--until-idle").returncode == 0
    assert verdict(log, storm) == "lost 0, double 0"


def test_a_disk_without_room_keeps_whole_batches_of_what_was_published(storm: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended = correlator("publish", "--embedded", log, "--more", storm / "events.jsonl", file_blocks=9_000)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    lines = read_lines(storm / "events.jsonl")
    with Outcome(log) as outcome:
        kept = list(outcome.appended("events"))
    assert kept == lines[: len(kept)]
    assert 0 < len(kept) < len(lines)
    assert ended.stderr.endswith(f"; the first {len(kept):,} records were published to correlator.events before: go on behind them\n")


def test_replay_onto_a_disk_without_room_says_where(storm: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = correlator("replay", storm / "events.jsonl", "--out", out, file_blocks=20)
    assert (ended.returncode, ended.stderr) == (2, f"Error: {out}: File too large; nothing further was written\n")


WRONG_SETTINGS = {
    "unknown key": "nope: 1\n",
    "wrong type": "topics: 7\n",
    "missing rules": "rules: [nowhere]\n",
    "a default that is named and missing": "rules: [rules]\n",
    "missing topology": "topology: [nowhere]\n",
    "no YAML": "a: [\n",
    "listen": "http: {listen: nowhere}\n",
}


@pytest.mark.parametrize("mistake", WRONG_SETTINGS)
def test_wrong_settings_never_start(tmp_path: Path, mistake: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(WRONG_SETTINGS[mistake], encoding="utf-8")
    ended = correlator("run", "--embedded", tmp_path / "log", "--config", path, *QUIET, "--until-idle")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.match(rf"{re.escape(str(tmp_path))}/\w+(\.yaml:\d+:\d+)?: error: ", ended.stderr), ended.stderr
    assert not (tmp_path / "log").exists()


def test_settings_without_the_default_folders_start(call: Call, story: Path) -> None:
    (story / "settings.yaml").write_text("topics: [{name: events, arrival: item}]\n", encoding="utf-8")
    call("publish", "--embedded", "log", "good.jsonl")
    ended = correlator("run", "--embedded", "log", "--config", "settings.yaml", *QUIET, "--until-idle", cwd=story)
    assert (ended.returncode, records_in(story / "log", "events")) == (0, len(GOOD) + 1)


@pytest.mark.parametrize("rules", ["missing", "wrong.yaml"])
def test_wrong_rules_never_start(story: Path, rules: str) -> None:
    (story / "wrong.yaml").write_text("groping: {}\n", encoding="utf-8")
    ended = correlator("run", "--embedded", "log", "--rules", rules, *QUIET, "--until-idle", cwd=story)
    assert ended.returncode == 2
    assert ended.stderr.startswith(rules)
    assert not (story / "log").exists()


def test_an_address_that_is_taken_stops_it(tmp_path: Path) -> None:
    with running(tmp_path / "a", "--listen", "127.0.0.1:0") as service:
        match = re.search(r"http://([0-9.:]+)", service.until("listening"))
        assert match is not None
        ended = correlator("run", "--embedded", tmp_path / "b", "--listen", match.group(1))
    assert ended.returncode == 2
    assert f"Error: cannot listen on {match.group(1)}: another program uses this port" in ended.stderr


def test_sighup_puts_changed_rules_in_force_and_wrong_ones_never(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    rules = story / "rules.yaml"
    with running(story / "log", *QUIET, "--rules", rules) as service:
        service.until("restored")
        rules.write_text("time: {reorder: 1h}\n", encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        assert "rules.yaml:1:17: error: time.reorder must be at most 5m, not 1h" in service.until("reload refused, what was in force stays")
        service.process.send_signal(signal.SIGHUP)
        service.until("reload refused")
        rules.write_text("time: {reorder: 7s}\n", encoding="utf-8")
        service.process.send_signal(signal.SIGHUP)
        accepted = service.until("reloaded")
        assert "is in force now" in accepted
        service.process.send_signal(signal.SIGHUP)
        assert "was in force already" in service.until("reloaded")
        assert service.stopped()[0] == 0
        assert "INFO told to stop" in service.said[-1]
    assert RuleSet(time=TimeRules(reorder=7 * SECOND)).digest in accepted


def test_sighup_that_finds_no_topology_any_more_changes_nothing(story: Path) -> None:
    mount = story / "mount"
    mount.mkdir()
    (mount / "shop.yaml").write_text("services: {a: {depends_on: [b]}, b: }", encoding="utf-8")
    with running(story / "log", *QUIET, "--topology", mount) as service:
        service.until("restored")
        (mount / "shop.yaml").rename(story / "shop.yaml")
        service.process.send_signal(signal.SIGHUP)
        assert "the topology is empty now, as when a mount failed" in service.until("reload refused, what was in force stays")
        (story / "shop.yaml").rename(mount / "shop.yaml")
        service.process.send_signal(signal.SIGHUP)
        assert "was in force already" in service.until("reloaded")
        assert service.stopped()[0] == 0


def test_a_run_with_changed_rules_adopts_them(call: Call, story: Path) -> None:
    call("publish", "--embedded", "log", "good.jsonl")
    digests = []
    for text in ("time: {reorder: 7s}\n", "time: {reorder: 8s}\n"):
        (story / "rules.yaml").write_text(text, encoding="utf-8")
        ended = correlator("run", "--embedded", "log", "--rules", "rules.yaml", *QUIET, "--until-idle", cwd=story)
        assert ended.returncode == 0
        call("publish", "--embedded", "log", "good.jsonl")
        digests.append(asyncio.run(control_in(story / "log")))
    assert digests == [RuleSet(time=TimeRules(reorder=reorder * SECOND)).digest for reorder in (7, 8)]


async def control_in(folder: Path) -> str:
    """Answer the digest of the rules that are in force in a log."""
    log = await EmbeddedLog.open(folder)
    control = await newest_control(log, Topics("correlator"))
    await log.close()
    assert control is not None
    return control.rules.digest
