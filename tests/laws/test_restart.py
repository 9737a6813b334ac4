"""Laws of state: restarts change nothing, every item has one verdict, equal frames give equal bytes, indexes equal plain scans."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from correlator.correlate.group import Grouper
from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import alert_document
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.model.incident import encode_document, encode_incident
from correlator.model.instant import HOUR, MINUTE, NEVER, SECOND, Instant
from correlator.model.version import NewerVersionError
from correlator.state.records import ROW_VERSION, Incident

from tests.builders import T0, a_tick, an_event, follow, frames_of
from tests.laws.streams import CONTROLS, NATIVE, Item, controls, streams
from tests.laws.test_same import LONG, cuts, split
from tests.laws.test_stretches import CLOSE, LATE, few


def written(effects: Effects) -> list[bytes]:
    """Answer all that a step wants written, as bytes."""
    bodies = [key.encode() + (encode_incident(document) if document else b"") for key, document in effects.incidents.items()]
    bodies += [key + (encode_document(alert_document(alert)) if alert else b"") for key, alert in effects.alerts.items()]
    bodies += [encode_document(decision) for decision in effects.decisions]
    return bodies + [msgspec.json.encode(stretch) for stretch in effects.stretches]


def all_rows(saved: dict[bytes, bytes], machine: Machine) -> dict[bytes, bytes]:
    """Answer the rows on disk after another checkpoint."""
    after = dict(saved)
    for key, value in machine.rows():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def a_machine(control: Control, rows: dict[bytes, bytes] | None = None) -> Machine:
    machine = Machine(control)
    if rows is not None:
        machine.restore(rows)
    return machine


@given(items=streams(gaps=LONG), places=cuts, control=controls, at=st.integers(0, 30), back=st.integers(0, 4))
def test_a_restart_at_any_frame_changes_no_byte(items: list[Item], places: list[int], *, control: Control, at: int, back: int) -> None:
    """Checkpoint at a frame, crash some frames later, step those again muted, go on."""
    frames = frames_of(split([item.written() for item in items], places), control)
    crash = at % (len(frames) + 1)
    checkpoint = max(crash - back, 0)
    never_stopped = a_machine(control)
    saved: dict[bytes, bytes] = {}
    for number, frame in enumerate(frames[:crash]):
        if number == checkpoint:
            saved = all_rows(saved, never_stopped)
        never_stopped.step(frame)
    if checkpoint == crash:
        saved = all_rows(saved, never_stopped)
    restored = a_machine(control, saved)
    for frame in frames[checkpoint:crash]:
        restored.step(frame)
    for frame in frames[crash:]:
        assert written(restored.step(frame)) == written(never_stopped.step(frame))
    assert all_rows(saved, restored) == all_rows(saved, never_stopped)
    assert restored.verdicts == never_stopped.verdicts


VERY_LONG = (*LONG, 25 * HOUR, 50 * HOUR)


@given(streams(gaps=VERY_LONG), cuts, controls)
def test_what_was_published_and_not_taken_back_is_what_is_known(items: list[Item], places: list[int], control: Control) -> None:
    """Compacted topics hold no more than the state does: what is forgotten leaves a tombstone there."""
    machine, incidents, alerts = a_machine(control), set[str](), set[bytes]()
    frames = frames_of(split([item.written() for item in items], places), control)
    for frame in [*frames, a_tick(frames[-1].watermark + 100 * HOUR)]:
        effects = machine.step(frame)
        kept(incidents, effects.incidents)
        kept(alerts, effects.alerts)
        assert incidents == {name for name, incident in machine.book.incidents.items() if incident.revision}
        assert alerts <= machine.lifecycle.alerts.keys()


def kept(known: set[Any], published: Mapping[Any, object]) -> None:
    """Follow a compacted topic."""
    known |= {key for key, document in published.items() if document is not None}
    known -= {key for key, document in published.items() if document is None}


folded = streams(delays=LATE, gaps=CLOSE, most=30, names=NATIVE).map(few)
"""Streams in which items of one alert come so close together that intake folds them into a run."""


@given(streams(gaps=LONG) | folded, cuts, controls)
def test_every_item_has_exactly_one_verdict_at_every_step(items: list[Item], places: list[int], control: Control) -> None:
    machine, forwarded = a_machine(control), 0
    for frame in frames_of(split([item.written() for item in items], places), control):
        machine.step(frame)
        forwarded += frame.items
        assert forwarded == sum(machine.verdicts.values()) + machine.waiting
        assert machine.waiting == sum(entry[-1].count for entry in machine.lifecycle._turns)  # noqa: SLF001 - the plain scan


@given(streams(gaps=LONG), cuts, controls)
def test_every_index_equals_a_plain_scan(items: list[Item], places: list[int], control: Control) -> None:
    machine = a_machine(control)
    for frame in frames_of(split([item.written() for item in items], places), control):
        machine.step(frame)
        timers_equal_a_scan(machine)
        places_equal_a_scan(machine)
        counts_equal_a_scan(machine)


_ENDED_AS_IT_BEGAN = [
    Item(T0, T0, "db/Down", "firing", "a"),
    Item(T0 + 1, T0 + 1, "db/Down", "firing", "a"),
    Item(T0, T0 + 1, "db/Down", "resolved", "a"),
]
"""The second firing begins an alert anew, though it came in one run with the first."""


_SAID_BEFORE_BY_ANOTHER = [
    Item(T0, T0, "db/Slow", "firing", "a"),
    Item(T0 + 1, T0 + 1, "db/Slow", "firing", "a"),
    Item(T0 - SECOND, T0 + 1, "db/Slow", "firing", "b"),
]
"""The replica of whoever spoke last is that of the alert, though the first row to come is not the first to be judged."""

_SAID_BETWEEN_BY_ANOTHER = [
    Item(T0, T0, "db/Slow", "firing", "a"),
    Item(T0 + SECOND, T0 + SECOND, "db/Slow", "firing", "a"),
    Item(T0 + SECOND - 1, T0 + SECOND, "db/Slow", "firing", "b"),
]


def of_one_replica(items: list[Item]) -> list[Item]:
    """Let all speak as one: whether an item changes a label outside the identity hangs on when the others are heard, too."""
    return few([msgspec.structs.replace(item, replica="a") for item in items])


@given(folded.map(of_one_replica), cuts)
@example(_ENDED_AS_IT_BEGAN, [])
@example(_SAID_BEFORE_BY_ANOTHER, [])
@example(_SAID_BETWEEN_BY_ANOTHER, [])
def test_of_a_run_of_items_each_has_its_own_verdict(items: list[Item], places: list[int]) -> None:
    """However they are cut into frames, and so folded or not."""
    control = CONTROLS["default"]
    values = [item.written() for item in items]
    machines = [a_machine(control), a_machine(control)]
    for machine, batches in zip(machines, (split(values, places), [[value] for value in values]), strict=True):
        follow(machine, frames_of(batches, control))
    once, again = machines
    assert once.verdicts == again.verdicts


@pytest.mark.parametrize("places", [[], [1, 2, 3]])
def test_labels_outside_the_identity_are_those_of_who_spoke_last_not_of_who_was_heard_last(places: list[int]) -> None:
    control, minute = CONTROLS["default"], T0 + MINUTE
    said = [
        Item(T0, T0, "db/Down", "firing", "a"),
        Item(T0 + MINUTE // 2, T0 + MINUTE // 2, "db/Down", "firing", "a"),
        Item(minute, minute, "db/Down", "firing", "a"),
        Item(minute - SECOND, minute, "db/Down", "firing", "b"),
    ]
    machine = a_machine(control)
    follow(machine, frames_of(split([item.written() for item in said], places), control))
    (alert,) = machine.lifecycle.alerts.values()
    assert alert.labels["replica"] == "a"


def test_an_index_follows_an_onset_that_moves_back_when_a_hold_is_met() -> None:
    machine = a_machine(CONTROLS["hold"])
    events = [
        an_event("db/Slow", said="0"),
        an_event("db/Down", said="30s"),
        an_event("db/Slow", said="70s"),
        an_event("db/Slow", said="90s"),
    ]
    follow(machine, frames_of([[event] for event in events], CONTROLS["hold"]))
    (incident,) = machine.book.incidents.values()
    assert incident.hits["db"].onset == T0
    places_equal_a_scan(machine)


def test_a_machine_that_a_newer_version_left_is_not_read() -> None:
    machine = a_machine(CONTROLS["default"])
    (row,) = machine.rows()
    newer = [ROW_VERSION + 1, *msgspec.msgpack.decode(row[1] or b"")[1:]]
    with pytest.raises(NewerVersionError, match="needs a newer correlator"):
        a_machine(CONTROLS["default"], {row[0]: msgspec.msgpack.encode(newer)})


def test_a_restart_between_two_ticks_far_ahead_changes_nothing() -> None:
    """The first is ignored, and remembered: the second agrees with it."""
    machine = a_machine(CONTROLS["default"])
    follow(machine, [a_tick("0", source="a"), a_tick("0", source="b"), a_tick("1h", source="a")])
    assert machine.sources.now == T0
    restored = a_machine(CONTROLS["default"], all_rows({}, machine))
    for one in (machine, restored):
        follow(one, [a_tick("1h", source="b")])
        assert one.sources.now == T0 + HOUR


def timers_equal_a_scan(machine: Machine) -> None:
    lifecycle, book = machine.lifecycle, machine.book
    dues = [lifecycle._due(alert) for alert in lifecycle.alerts.values()]  # noqa: SLF001 - the plain scan
    turns = [entry[0] for entry in lifecycle._turns]  # noqa: SLF001
    assert lifecycle.next_instant() == min([*dues, *turns, NEVER])
    assert book.next_due() == min([incident.due for incident in book.incidents.values()], default=NEVER)
    assert lifecycle.next_instant() > machine.position


def places_equal_a_scan(machine: Machine) -> None:
    live = [incident for incident in machine.book.incidents.values() if incident.is_live]
    real = {(incident.id, hit.entity, hit.onset) for incident in live if incident.members for hit in incident.hits.values()}
    guessed = {(incident.id, hit.entity, hit.onset) for incident in live if not incident.members for hit in incident.hits.values()}
    assert places_of(machine._grouper) == real  # noqa: SLF001 - the index under test
    assert places_of(machine._guesser) == guessed  # noqa: SLF001
    for grouper in (machine._grouper, machine._guesser):  # noqa: SLF001
        onsets_equal_a_scan(grouper)


def onsets_equal_a_scan(grouper: Grouper) -> None:
    """The order of onsets, and what each stands for, hold what the places hold, scope by scope, and nothing else."""
    assert grouper._onsets.keys() == grouper._places.keys()  # noqa: SLF001 - the index under test
    for scope, onsets in grouper._onsets.items():  # noqa: SLF001
        found = [
            (hit.onset, entity, name)
            for entity, here in grouper._places[scope].items()  # noqa: SLF001
            for name, (_, hit) in here.items()
        ]
        assert onsets.hits == sorted(found)
        assert onsets.by_hit == {(entity, name): onset for onset, entity, name in found}


def places_of(grouper: Grouper) -> set[tuple[str, str, Instant]]:
    """Answer incident, entity and onset of all hits that a grouper knows, after comparing its two indexes."""
    found = set()
    for scope, places in grouper._places.items():  # noqa: SLF001 - the index under test
        onsets = grouper._onsets[scope]  # noqa: SLF001
        here = {(identifier, entity, onsets.by_hit[entity, identifier]) for entity, known in places.items() for identifier in known}
        assert sorted((onset, entity, identifier) for identifier, entity, onset in here) == onsets.hits
        found |= here
    return found


def counts_equal_a_scan(machine: Machine) -> None:
    alerts = machine.lifecycle.alerts
    for incident in machine.book.incidents.values():
        assert incident.firing == firing_in(machine, incident)
        for fingerprint, effect in incident.guesses.items():
            assert alerts[fingerprint].guess == incident.id
            assert effect > machine.position, "a guess ends when its turn is judged"
    for alert in alerts.values():
        assert alert.waiting == sum(entry[2] == alert.fingerprint for entry in machine.lifecycle._turns)  # noqa: SLF001


def firing_in(machine: Machine, incident: Incident) -> int:
    counted = [alert for alert in machine.lifecycle.alerts.values() if alert.state in ("firing", "kept") and alert.incident == incident.id]
    return len(counted)


def digest_of(frames: list[Frame], control: Control) -> str:
    machine, digest = a_machine(control), hashlib.sha256()
    for frame in frames:
        for body in written(machine.step(frame)):
            digest.update(body)
    for key, value in machine.rows():
        digest.update(key + (value or b""))
    return digest.hexdigest()


_STORY = """
from tests.builders import a_control, an_event, frames_of, resolved
from tests.laws.test_restart import digest_of
services = ["db", "cart", "web", "mail", "payments", "elsewhere"]
events = [
    (an_event if (step * 7) % 5 else resolved)(f"{services[step * step % 6]}/A{step % 9}", f"{step * 3}s") for step in range(400)
]
print(digest_of(frames_of([events[:150], events[150:170], events[170:]], a_control()), a_control()))
"""


def test_the_same_frames_give_the_same_bytes_under_any_hash_seed() -> None:
    digests = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[2]
        done = subprocess.run([sys.executable, "-c", _STORY], env=environment, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
