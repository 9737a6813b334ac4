"""Judges what a run left: `python -m loadtest.checker LOG --storm DIR [--replay DIR]`.

LOG is the folder of an embedded log, or `HOST:PORT/PREFIX` for topics on Kafka. Nothing here shares code with the correlator: the log
is read by SQL, or by confluent-kafka (committed records only), and what should be there comes from the generator's truth and from the
published lines, by the plain rule of a stretch (it starts with a firing, ends with a resolve or 15 minutes of silence).

- `events`: the published lines, each once and in order, then one end mark; on Kafka in any order, an end mark to each partition.
- `frames`: every item once, by alert and status.
- `decisions`: every firing stretch begins exactly once, at its time, in one incident, and ends exactly once, at its time.
- `alerts`: one document a series, with start, end and number of items of its last stretch; the topic is compacted.
- `incidents`: one document an incident, whose number of alerts is what the decisions say; on Kafka no revision comes twice.
- with `--replay`: stretches fall into the same incidents as in an undisturbed replay, and each incident reads the same.

The last line is `lost N, double M`, with `, wrong K` for what is there once but is not right. Exit code 0 only when all are zero.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from loadtest.outcome import Document, Outcome, Topics, items_of
from loadtest.outcome_kafka import KafkaOutcome
from loadtest.truth import read_truth

EXPIRY_MS: Final = 15 * 60_000
SHOWN_MOST: Final = 8
BEGINNINGS: Final = ("new_fault", "joined", "returned")
MOVED: Final = "moved"
ENDS: Final = ("cleared", "expired")

Labels = tuple[tuple[str, str], ...]
Saying = tuple[int, bool]
"""When (epoch ms), and whether it resolves."""


class _Event(msgspec.Struct):
    labels: dict[str, str]
    at: int
    status: str


_EVENT: Final = msgspec.json.Decoder(_Event)


class Stretch(NamedTuple):
    """A firing stretch as it should be: `end` is None while it lasts; times in epoch ms."""

    labels: Labels
    start: int
    end: int | None
    items: int


class Findings:
    """What is not as it should be, by kind, with the first few in words."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.lines: list[str] = []

    def add(self, kind: str, what: str, number: int = 1) -> None:
        """Note `number` findings of one kind: `lost`, `double` or `wrong`."""
        self.count[kind] += number
        if self.count[kind] <= SHOWN_MOST:
            self.lines.append(f"{kind}: {what}")

    def compare(self, name: str, wanted: Counter[Any], found: Counter[Any]) -> None:
        """Note what is missing from, and what is too much in, a counted collection."""
        unlike = [key for key in wanted.keys() | found.keys() if found[key] != wanted[key]]
        for key in sorted(unlike, key=repr):
            difference = found[key] - wanted[key]
            self.add("double" if difference > 0 else "lost", f"{name} {key}: {found[key]} times, not {wanted[key]}", abs(difference))

    @property
    def last_line(self) -> str:
        """The verdict in a line."""
        wrong = f", wrong {self.count['wrong']}" if self.count["wrong"] else ""
        return f"lost {self.count['lost']}, double {self.count['double']}{wrong}"


# ---------------------------------------------------------------------------------------------------- what should be there


def read_lines(path: Path) -> list[bytes]:
    """Read the published lines."""
    return path.read_bytes().splitlines()


def series_of(lines: Iterable[bytes]) -> dict[Labels, list[Saying]]:
    """Sort what a recording says by series, each in order of time."""
    series: dict[Labels, list[Saying]] = {}
    for line in lines:
        event = _EVENT.decode(line)
        series.setdefault(identity(event.labels), []).append((event.at, event.status == "resolved"))
    for sayings in series.values():
        sayings.sort()
    return series


def stretches_of(series: Mapping[Labels, list[Saying]]) -> list[Stretch]:
    """Find all firing stretches of a recording by the plain rule, in order of labels and start."""
    newest = max((sayings[-1][0] for sayings in series.values()), default=0)
    return [stretch for labels in sorted(series) for stretch in _of_series(labels, series[labels], newest)]


def _of_series(labels: Labels, turns: list[Saying], newest: int) -> Iterable[Stretch]:
    start, last, items = None, 0, 0
    for at, is_resolved in turns:
        if start is not None and at - last > EXPIRY_MS:
            yield Stretch(labels, start, last + EXPIRY_MS, items)
            start = None
        if is_resolved and start is not None:
            yield Stretch(labels, start, at, items + 1)
            start = None
        elif not is_resolved:
            start, items = (at, 1) if start is None else (start, items + 1)
        last = at
    if start is not None:
        yield Stretch(labels, start, last + EXPIRY_MS if last + EXPIRY_MS < newest else None, items)


def identity(labels: dict[str, str]) -> Labels:
    """Write labels so that their order does not matter."""
    return tuple(sorted(labels.items()))


def instant(text: str | None) -> int | None:
    """Read RFC 3339 text as epoch milliseconds."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return round((moment - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000)


# ---------------------------------------------------------------------------------------------------- judgement


class Checker:
    """Compares one log with what should be in it."""

    def __init__(self, outcome: Topics, lines: list[bytes]) -> None:
        self.findings = Findings()
        self._outcome = outcome
        self._lines = lines
        self._series = series_of(lines)
        self.stretches = stretches_of(self._series)
        self._alerts = [document for _, document in outcome.kept("alerts")]
        self._labels_by_fingerprint = {alert["fingerprint"]: identity(alert["labels"]) for alert in self._alerts}
        self.incidents = [document for _, document in outcome.kept("incidents")]
        self.begun = self._beginnings()
        self.ended = list(self._ends())

    def check(self) -> Findings:
        """Judge all topics."""
        self._check_raw()
        self._check_frames()
        self._check_beginnings()
        self._check_ends()
        self._check_alerts()
        self._check_incidents()
        return self.findings

    def _beginnings(self) -> list[tuple[Labels, int | None, str]]:
        """Answer when each stretch began, and in which incident it is: what an alert had in one that was absorbed went on with it."""
        begun: list[tuple[Labels, int | None, str]] = []
        places: dict[Labels, list[int]] = {}
        for labels, decision in self._decisions((*BEGINNINGS, MOVED)):
            mine = places.setdefault(labels, [])
            if decision["why"] != MOVED:
                mine.append(len(begun))
                begun.append((labels, instant(decision["at"]), decision["incident"]))
                continue
            left = begun[mine[-1]][2]
            for place in mine:
                _, at, incident = begun[place]
                begun[place] = labels, at, decision["incident"] if incident == left else incident
        return begun

    def _ends(self) -> Iterable[tuple[Labels, int | None]]:
        for labels, decision in self._decisions(ENDS):
            yield labels, instant(decision["at"])

    def _decisions(self, reasons: Collection[str]) -> Iterable[tuple[Labels, Document]]:
        for value in self._outcome.appended("decisions"):
            decision: Document = msgspec.json.decode(value or b"")
            if decision["why"] in reasons:
                fingerprint = decision["fingerprint"]
                yield self._labels_by_fingerprint.get(fingerprint, (("fingerprint", fingerprint),)), decision

    def _check_raw(self) -> None:
        """The published lines in order, and one end mark, which is empty, behind them; on Kafka only how often each is there."""
        if isinstance(self._outcome, KafkaOutcome):
            wanted = Counter(map(hash, self._lines)) + Counter({hash(b""): self._outcome.partitions("events")})
            self.findings.compare("record of the raw topic", wanted, Counter(map(hash, self._outcome.appended("events"))))
            return
        for number, (line, found) in enumerate(zip_longest([*self._lines, b""], self._outcome.appended("events")), 1):
            if line != found:
                kind = "double" if line is None else "lost" if found is None else "wrong"
                self.findings.add(kind, f"record {number} of the raw topic")

    def _check_frames(self) -> None:
        wanted: Counter[tuple[Labels, bool]] = Counter()
        for labels, sayings in self._series.items():
            resolves = sum(is_resolved for _, is_resolved in sayings)
            wanted.update({(labels, True): resolves, (labels, False): len(sayings) - resolves})
        found: Counter[tuple[Labels, bool]] = Counter()
        for (fingerprint, is_resolved), count in items_of(self._outcome.appended("frames")).items():
            found[self._labels_by_fingerprint.get(fingerprint, (("fingerprint", fingerprint),)), is_resolved] += count
        self.findings.compare("item", wanted, found)
        letters = sum(1 for _ in self._outcome.appended("dead-letters"))
        if letters:
            self.findings.add("lost", f"{letters} dead letters, of a recording without a fault", letters)

    def _check_beginnings(self) -> None:
        wanted = Counter((stretch.labels, stretch.start) for stretch in self.stretches)
        self.findings.compare("stretch", wanted, Counter((labels, at) for labels, at, _ in self.begun))

    def _check_ends(self) -> None:
        wanted = Counter((stretch.labels, stretch.end) for stretch in self.stretches if stretch.end is not None)
        self.findings.compare("end", wanted, Counter(self.ended))

    def _check_alerts(self) -> None:
        last = {stretch.labels: stretch for stretch in self.stretches}
        incident_by_labels = {labels: incident for labels, _, incident in self.begun}
        self.findings.compare("alert", Counter(list(last)), Counter(identity(alert["labels"]) for alert in self._alerts))
        for alert in self._alerts:
            stretch = last.get(identity(alert["labels"]))
            if stretch is None:
                continue
            self._expect(alert, "startsAt", instant(alert["startsAt"]), wanted=stretch.start)
            self._expect(alert, "endsAt", instant(alert["endsAt"]), wanted=stretch.end)
            self._expect(alert, "incident", alert["incident"], wanted=incident_by_labels.get(stretch.labels))
            if stretch.end is not None:  # a document is written at a turn: repeats since are not in it
                self._expect(alert, "count", alert["count"], wanted=stretch.items)

    def _check_incidents(self) -> None:
        members: dict[str, set[Labels]] = {}
        for labels, _, incident in self.begun:
            members.setdefault(incident, set()).add(labels)
        living = Counter(incident["id"] for incident in self.incidents if incident["state"] != "withdrawn")
        self.findings.compare("incident", Counter(list(members)), living)
        for document in self.incidents:
            if document["state"] != "withdrawn":
                self._expect(document, "alerts", document["counts"]["alerts"], wanted=len(members.get(document["id"], ())))
                self._expect(document, "pending", document["counts"]["pending"], wanted=0)
        if isinstance(self._outcome, KafkaOutcome):
            for key, revision in self._outcome.revised_twice("incidents"):
                self.findings.add("double", f"incident {key} has a revision {revision} after one as high")

    def _expect(self, document: Document, name: str, found: object, *, wanted: object) -> None:
        if found != wanted:
            self.findings.add("wrong", f"{name} is {found}, not {wanted}, in {msgspec.json.encode(document).decode()[:300]}")

    def check_truth(self, path: Path) -> None:
        """Every stretch that the generator tells of begins exactly once, and ends when the generator says where it was resolved."""
        truth = read_truth(path)
        raised = [*truth.noise, *(alert for fault in truth.faults for alert in fault.alerts)]
        begun = Counter((labels, at) for labels, at, _ in self.begun)
        self.findings.compare("stretch of the truth", Counter((identity(alert.labels), alert.at) for alert in raised), begun)
        end_by_start = {(stretch.labels, stretch.start): stretch.end for stretch in self.stretches}
        resolved = {(labels, at) for labels, sayings in self._series.items() for at, is_resolved in sayings if is_resolved}
        for alert in raised:
            labels = identity(alert.labels)
            if (labels, alert.end) in resolved and end_by_start.get((labels, alert.at)) != alert.end:
                self.findings.add("wrong", f"the published lines do not end {labels} at {alert.end}")

    def check_replay(self, folder: Path) -> None:
        """Stretches fall into the same incidents as in an undisturbed replay, and each incident reads the same."""
        rows = [msgspec.json.decode(line) for line in read_lines(folder / "alerts.jsonl")]
        theirs = [(identity(row["labels"]), instant(row["startsAt"]), row["incident"]) for row in rows]
        documents = [msgspec.json.decode(line) for line in read_lines(folder / "incidents.jsonl")]
        self.findings.compare("incident of the replay", canonical(documents, theirs), canonical(self.incidents, self.begun))


def canonical(incidents: Iterable[Document], begun: Iterable[tuple[Labels, int | None, str]]) -> Counter[Hashable]:
    """Count incidents by all that must be the same in any run: no id, revision, count or `why`, and none that was withdrawn."""
    members: dict[str, list[tuple[Labels, int | None]]] = {}
    for labels, at, incident in begun:
        members.setdefault(incident, []).append((labels, at))
    return Counter(_form(incident, members.get(incident["id"], [])) for incident in incidents if incident["state"] != "withdrawn")


def _form(incident: Document, members: list[tuple[Labels, int | None]]) -> Hashable:
    causes = [(cause["entity"], cause["kind"], cause.get("condition"), cause["confidence"]) for cause in incident["root_causes"]]
    kept = tuple(incident[key] for key in ("state", "opened", "updated", "category", "priority", "owner", "title"))
    return kept, tuple(causes), incident["counts"]["alerts"], incident["counts"]["firing"], tuple(sorted(members, key=repr))


def opened(log: str) -> Outcome | KafkaOutcome:
    """Open the log that the command line names."""
    address, _, prefix = log.rpartition("/")
    return Outcome(Path(log)) if Path(log).is_dir() or ":" not in address else KafkaOutcome(address, prefix)


def main() -> None:
    """Judge the log that the command line names; exits 1 unless nothing is lost, double or wrong."""
    parser = argparse.ArgumentParser(prog="loadtest.checker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", metavar="LOG", help="the folder of the embedded log, or HOST:PORT/PREFIX")
    parser.add_argument("--storm", type=Path, required=True, metavar="DIR", help="folder of events.jsonl and truth.json")
    parser.add_argument("--replay", type=Path, metavar="DIR", help="results of `correlator replay` of the same events")
    chosen = parser.parse_args()
    with opened(chosen.log) as outcome:
        checker = Checker(outcome, read_lines(chosen.storm / "events.jsonl"))
        findings = checker.check()
        checker.check_truth(chosen.storm / "truth.json")
        if chosen.replay is not None:
            checker.check_replay(chosen.replay)
    for line in findings.lines:
        print(line)
    print(f"{len(checker.stretches)} firing stretches, {len(checker.incidents)} incidents")
    print(findings.last_line)
    sys.exit(1 if findings.count.total() else 0)


if __name__ == "__main__":
    main()
