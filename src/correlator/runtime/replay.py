"""Replay: recorded events through the whole core, offline, as fast as it goes, into files."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import Stretch
from correlator.frames.control import Control
from correlator.intake.output import DeadLetter, IntakeCounts, IntakeOutput
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Flag, Verdict
from correlator.model.incident import IncidentDocument, encode_document, encode_incident
from correlator.runtime.core import Core
from correlator.runtime.files import Records
from correlator.runtime.limits import Limit, limits_of
from correlator.runtime.metrics import flag_word

BATCH_RECORDS: Final = 32_000


class ReplaySummary(msgspec.Struct, frozen=True):
    """What a replay did. `cpu_s` and `wall_s` leave out start-up and reading of configuration."""

    events: int
    incidents: int
    stretches: int
    dead_letters: int
    funnel: dict[str, object]
    cpu_s: float
    wall_s: float


class Replay:
    """One offline run: records in, files of a folder out. Memory does not grow with the input."""

    def __init__(self, control: Control, out: Path) -> None:
        self._core = Core(control)
        self._intake, self._machines = self._core.intake, self._core.machines
        self._out = out
        self._funnel = _Funnel()
        self._offset = 0
        self._undecided: deque[tuple[int, Records]] = deque()
        self._waiting: list[list[Stretch]] = [[] for _ in self._machines]
        self._incidents = self._stretches = self._letters = 0

    def run(self, batches: Iterator[Records]) -> ReplaySummary:
        """Take all batches, then close the recording. Raises `OSError` when the folder cannot be written."""
        self._out.mkdir(parents=True, exist_ok=True)
        with (
            (self._out / "incidents.jsonl").open("wb") as incidents,
            (self._out / "alerts.jsonl").open("wb") as alerts,
            (self._out / "dead-letters.jsonl").open("wb") as letters,
        ):
            self._files = incidents, alerts, letters
            cpu, wall = time.process_time(), time.perf_counter()
            for batch in batches:
                offsets = range(self._offset, self._offset + len(batch.values))
                self._undecided.append((self._offset, batch))
                self._offset += len(batch.values)
                self._take(self._intake.step(offsets, batch.values))
            self._take(self._intake.end())
            self._finish(incidents, alerts)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        funnel = self._funnel.document(self._machines)
        (self._out / "funnel.json").write_bytes(msgspec.json.format(msgspec.json.encode(funnel), indent=2) + b"\n")
        return ReplaySummary(
            self._funnel.counts.received, self._incidents, self._stretches, self._letters, funnel, round(cpu, 4), round(wall, 4)
        )

    def _take(self, output: IntakeOutput) -> None:
        self._funnel.add(output)
        for letter in output.dead_letters:
            self._letters += 1
            first, batch = next((first, batch) for first, batch in reversed(self._undecided) if first <= letter.offset)
            self._files[2].write(encode_document(dead_letter_row(letter, batch, letter.offset - first)) + b"\n")
        while self._undecided and self._undecided[0][0] + len(self._undecided[0][1].values) <= output.position:
            self._undecided.popleft()
        for partition, effects in self._core.follow(output):
            self._write(partition, effects)

    def _write(self, partition: int, effects: Effects) -> None:
        self._funnel.counts.flagged[Flag.RESOLVED_BEFORE_FIRING] += effects.resolved_early
        self._write_stretches(self._settled(partition, effects), self._files[1])
        for document in effects.incidents.values():
            if document is not None:
                self._write_incident(document, self._files[0])

    def _settled(self, partition: int, effects: Effects) -> list[Stretch]:
        """Answer the stretches that ended, less those whose incident is pending: they go where it goes, should it be absorbed."""
        machine, ended = self._machines[partition], [*self._waiting[partition], *effects.stretches]
        if effects.moved:
            ended = [msgspec.structs.replace(stretch, incident=_moved(stretch.incident, effects.moved)) for stretch in ended]
        waiting, settled = list[Stretch](), list[Stretch]()
        for stretch in ended:
            (waiting if machine.is_pending(stretch.incident or "") else settled).append(stretch)
        self._waiting[partition] = waiting
        return settled

    def _finish(self, incidents: BinaryIO, alerts: BinaryIO) -> None:
        for waiting, machine in zip(self._waiting, self._machines, strict=True):
            self._write_stretches(waiting, alerts)
            for document in machine.open_incidents:
                self._write_incident(document, incidents)
            self._write_stretches(machine.open_stretches, alerts)

    def _write_incident(self, document: IncidentDocument, file: BinaryIO) -> None:
        self._incidents += 1
        self._funnel.incidents[document.state.value] += 1
        file.write(encode_incident(document) + b"\n")

    def _write_stretches(self, stretches: list[Stretch], file: BinaryIO) -> None:
        self._stretches += len(stretches)
        file.writelines([encode_document(_stretch_row(stretch)) + b"\n" for stretch in stretches])


def _moved(incident: str | None, moved: dict[str, str]) -> str | None:
    while incident in moved:
        incident = moved[incident]
    return incident


class _StretchRow(msgspec.Struct):
    fingerprint: str
    labels: dict[str, str]
    startsAt: str  # noqa: N815 - the public contract's name
    endsAt: str | None  # noqa: N815 - the public contract's name
    count: int
    incident: str | None
    reason: str | None


def _stretch_row(stretch: Stretch) -> _StretchRow:
    return _StretchRow(
        stretch.fingerprint.hex(),
        stretch.labels,
        format_rfc3339(stretch.started),
        format_rfc3339(stretch.ended) if stretch.ended is not None else None,
        stretch.count,
        stretch.incident,
        stretch.reason,
    )


def dead_letter_row(letter: DeadLetter, batch: Records, number: int) -> dict[str, object]:
    """Describe a dead letter, the batch's record of that number, for a file: its text (or base64 when it is not UTF-8) and its refusals.

    `position` is that of the first refused item, as `correlator parse` names it. `refused` counts all refusals, of which the first are
    listed; their `item` counts within the record's text.
    """
    kept = letter.kept
    try:
        body: dict[str, object] = {"value": kept.decode()}
    except UnicodeDecodeError:
        body = {"value_base64": kept}
    return {
        "position": batch.place_of(number, letter.refusals[0].item),
        "length": len(letter.value),
        "xxh3_128": letter.digest,
        "refused": len(letter.refusals),
        "refusals": letter.reasons,
        **body,
    }


class _Funnel:
    """Counts of a run, and the law that they add up."""

    def __init__(self) -> None:
        self.counts = IntakeCounts()
        self.incidents: Counter[str] = Counter()

    def add(self, output: IntakeOutput) -> None:
        self.counts.absorb(output.counts)

    @property
    def flagged(self) -> Counter[str]:
        flagged: Counter[str] = Counter()
        for flags, number in self.counts.flagged.items():
            for flag in Flag(flags):
                flagged[flag_word(flag)] += number
        return flagged

    def document(self, machines: list[Machine]) -> dict[str, object]:
        verdicts = {verdict.value: sum(machine.verdicts[verdict] for machine in machines) for verdict in Verdict}
        verdicts[Verdict.REJECTED.value] = sum(self.counts.rejected.values())
        waiting = sum(machine.waiting for machine in machines)
        assert self.counts.received == sum(verdicts.values()) + waiting, "every item has exactly one verdict"
        return {
            "items": self.counts.received,
            "forwarded": self.counts.forwarded,
            "verdicts": verdicts,
            "waiting": waiting,
            "rejected": {reason.value: number for reason, number in sorted(self.counts.rejected.items())},
            "flagged": dict(sorted((+self.flagged).items())),
            "incidents": dict(sorted(self.incidents.items())),
            "limits": {limit.value: times for limit, times in self._limits_met(machines).items() if times},
        }

    def _limits_met(self, machines: list[Machine]) -> dict[Limit, int]:
        evicted = [machine.evicted for machine in machines]
        forgotten = {Limit.ALERTS: sum(alerts for alerts, _ in evicted), Limit.INCIDENTS: sum(incidents for _, incidents in evicted)}
        return {**limits_of(self.counts), **forgotten}
