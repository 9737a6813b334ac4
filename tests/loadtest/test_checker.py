"""The checker of the chaos run sees what it is there to see: each kind of loss, doubling and error, put into a sound log on purpose."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from loadtest.checker import EXPIRY_MS, Checker, Findings, read_lines, series_of, stretches_of
from loadtest.outcome import Outcome
from loadtest.plan import Settings
from loadtest.storm import write_storm

ROOT = Path(__file__).parents[2]
CORRELATOR = str(Path(sys.executable).with_name("correlator"))
SETTINGS = ROOT / "loadtest" / "chaos.settings.yaml"
RULES = ROOT / "loadtest" / "chaos.rules.yaml"
SMALL = Settings(events=4_000, seed=3, services=40, faults=6, hours=4.0, clusters=2)

Harm = Callable[[sqlite3.Connection], None]


def run(*arguments: object) -> None:
    subprocess.run([CORRELATOR, *map(str, arguments)], check=True, capture_output=True, timeout=50)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a storm, the log of an undisturbed run, and a replay."""
    folder = tmp_path_factory.mktemp("sound")
    write_storm(SMALL, folder / "storm")
    here, topology = ("--embedded", folder / "log", "--config", SETTINGS), ("--topology", folder / "storm" / "topology.yaml")
    run("publish", *here, folder / "storm" / "events.jsonl")
    run("run", *here, *topology, "--listen", "off", "--until-idle")
    run("replay", folder / "storm" / "events.jsonl", *topology, "--rules", RULES, "--out", folder / "replay")
    return folder


@pytest.fixture
def harmed(sound: Path, tmp_path: Path) -> Callable[[Harm], Findings]:
    """Judge a copy of the sound log after something was done to it."""

    def judged(harm: Harm) -> Findings:
        shutil.copytree(sound / "log", tmp_path / "log")
        with closing(sqlite3.connect(tmp_path / "log" / "correlator.db")) as db:
            harm(db)
            db.commit()
        return judge(tmp_path / "log", sound)

    return judged


def judge(log: Path, sound: Path) -> Findings:
    with Outcome(log) as outcome:
        checker = Checker(outcome, read_lines(sound / "storm" / "events.jsonl"))
        findings = checker.check()
        checker.check_truth(sound / "storm" / "truth.json")
        checker.check_replay(sound / "replay")
        return findings


def number_of(db: sqlite3.Connection, topic: str) -> int:
    (number,) = db.execute("SELECT number FROM partitions WHERE topic = ?", (f"correlator.{topic}",)).fetchone()
    assert isinstance(number, int)
    return number


def segments(db: sqlite3.Connection, topic: str) -> list[tuple[int, int, bytes]]:
    query = "SELECT place, base, body FROM segments WHERE place >> 44 = ? ORDER BY place"
    return db.execute(query, (number_of(db, topic),)).fetchall()


def edited(db: sqlite3.Connection, topic: str, change: Callable[[dict[str, object]], None]) -> None:
    """Change the first document of a compacted topic."""
    query = "SELECT place, value FROM keyed WHERE number = ? AND value IS NOT NULL ORDER BY place LIMIT 1"
    place, value = db.execute(query, (number_of(db, topic),)).fetchone()
    document = json.loads(value)
    change(document)
    db.execute("UPDATE keyed SET value = ? WHERE place = ?", (json.dumps(document).encode(), place))


def drop_middle(topic: str) -> Harm:
    def harm(db: sqlite3.Connection) -> None:
        found = segments(db, topic)
        db.execute("DELETE FROM segments WHERE place = ?", found[len(found) // 2][:1])

    return harm


def double_middle(topic: str) -> Harm:
    def harm(db: sqlite3.Connection) -> None:
        found = segments(db, topic)
        body = found[len(found) // 2][2]
        db.execute("INSERT INTO segments VALUES (?, ?, ?)", (found[-1][0] + 1_000_000, found[-1][1] + 1_000_000, body))

    return harm


def drop_row(topic: str) -> Harm:
    def harm(db: sqlite3.Connection) -> None:
        query = "DELETE FROM keyed WHERE place = (SELECT max(place) FROM keyed WHERE number = ? AND value IS NOT NULL)"
        db.execute(query, (number_of(db, topic),))

    return harm


def test_a_sound_log_has_no_findings(sound: Path) -> None:
    findings = judge(sound / "log", sound)
    assert (findings.lines, findings.last_line) == ([], "lost 0, double 0")


@pytest.mark.parametrize("topic", ["frames", "decisions", "events"])
def test_records_that_are_missing_are_lost(harmed: Callable[[Harm], Findings], topic: str) -> None:
    findings = harmed(drop_middle(topic))
    assert findings.count["lost"] > 0


@pytest.mark.parametrize("topic", ["frames", "decisions", "events"])
def test_records_that_are_there_twice_are_double(harmed: Callable[[Harm], Findings], topic: str) -> None:
    findings = harmed(double_middle(topic))
    assert findings.count["double"] > 0


@pytest.mark.parametrize("topic", ["alerts", "incidents"])
def test_documents_that_are_missing_are_lost(harmed: Callable[[Harm], Findings], topic: str) -> None:
    assert harmed(drop_row(topic)).count["lost"] > 0


def test_an_incident_under_two_ids_is_double(harmed: Callable[[Harm], Findings]) -> None:
    def harm(db: sqlite3.Connection) -> None:
        number = number_of(db, "incidents")
        edited(db, "incidents", lambda document: document.update(state="closed"))
        query = "SELECT place, value FROM keyed WHERE number = ? AND value IS NOT NULL ORDER BY place LIMIT 1"
        place, value = db.execute(query, (number,)).fetchone()
        document = json.loads(value) | {"id": "another"}
        row = (place + (1 << 40), number, b"another", json.dumps(document).encode())
        db.execute("INSERT INTO keyed (place, number, key, timestamp, value) VALUES (?, ?, ?, 0, ?)", row)

    assert harmed(harm).count["double"] > 0


@pytest.mark.parametrize(("field", "value"), [("startsAt", "2026-01-01T00:00:00.000Z"), ("endsAt", None), ("count", 1), ("incident", "x")])
def test_an_alert_that_is_not_right_is_wrong(harmed: Callable[[Harm], Findings], field: str, value: object) -> None:
    findings = harmed(lambda db: edited(db, "alerts", lambda document: document.update({field: value})))
    assert findings.last_line == "lost 0, double 0, wrong 1"


@pytest.mark.parametrize(("field", "value"), [("opened", "2026-01-01T00:00:00.000Z"), ("state", "open"), ("owner", "nobody")])
def test_an_incident_unlike_the_replay_is_lost_and_another_too_many(harmed: Callable[[Harm], Findings], field: str, value: object) -> None:
    findings = harmed(lambda db: edited(db, "incidents", lambda document: document.update({field: value})))
    assert findings.last_line == "lost 1, double 1"


def an_event(after_ms: int, status: str = "firing", service: str = "a") -> bytes:
    return json.dumps({"at": after_ms, "status": status, "labels": {"service": service}}).encode()


def spans(*events: bytes) -> list[tuple[int, int | None, int]]:
    return [(stretch.start, stretch.end, stretch.items) for stretch in stretches_of(series_of(events))]


def test_a_stretch_is_firing_to_resolve_in_order_of_time() -> None:
    assert spans(an_event(0), an_event(90, "resolved"), an_event(50)) == [(0, 90, 3)]


def test_a_resolve_without_a_firing_is_no_stretch() -> None:
    assert spans(an_event(0, "resolved"), an_event(10), an_event(20, "resolved"), an_event(30, "resolved")) == [(10, 20, 2)]


@pytest.mark.parametrize(("gap", "count"), [(EXPIRY_MS, 1), (EXPIRY_MS + 1, 2)])
def test_silence_ends_a_stretch_after_fifteen_minutes_and_not_at_exactly_fifteen(gap: int, count: int) -> None:
    assert len(spans(an_event(0), an_event(gap))) == count


def test_what_is_silent_at_the_end_is_over_only_when_time_went_on() -> None:
    assert spans(an_event(0), an_event(EXPIRY_MS, service="b"))[0] == (0, None, 1)
    assert spans(an_event(0), an_event(EXPIRY_MS + 1, service="b"))[0] == (0, EXPIRY_MS, 1)


@pytest.mark.timeout(240)
def test_four_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    options = ("--kills", "4", "--events", "20000", "--seed", "5", "--keep", str(tmp_path / "chaos"))
    command = [sys.executable, "-m", "loadtest.chaos_embedded", *options]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "lost 0, double 0"), ended.stdout + ended.stderr
