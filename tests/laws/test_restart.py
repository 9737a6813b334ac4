"""Laws of state: restarts change nothing, every item has one verdict, equal frames give equal bytes, indexes equal plain scans."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.group import Grouper
from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import alert_document
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.model.incident import encode_document, encode_incident
from correlator.model.instant import NEVER, Instant
from correlator.state.records import Incident

from tests.builders import frames_of
from tests.laws.streams import Item, controls, streams
from tests.laws.test_same import LONG, cuts, split


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


@given(streams(gaps=LONG), cuts, controls)
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
