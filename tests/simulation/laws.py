"""The laws of a run, read from what its log holds in the end."""

from collections import Counter
from typing import Final, NamedTuple

from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import alert_document
from correlator.frames.codec import decode_frame
from correlator.frames.frame import FrameKind
from correlator.model.incident import encode_document, encode_incident
from correlator.runtime.ports import Position, TopicPartition
from correlator.runtime.topics import CHECKPOINT_KEY

from tests.builders import Outcome
from tests.laws.canonical import Canonical, canonical
from tests.simulation.play import RAW, TOPICS, Play
from tests.simulation.story import Story, items_of
from tests.simulation.world import HistoryLog, law

Record = tuple[bytes | None, bytes | None]
Rows = dict[bytes, bytes]
_OUTPUTS: Final = (TOPICS.incidents, TOPICS.alerts, TOPICS.decisions)


class Verdict(NamedTuple):
    """What a run came to, in the form in which runs are compared: a canonical form and the decisions of each domain."""

    forms: list[Canonical]
    decisions: list[Counter[tuple[object, ...]]]


class Reference:
    """A machine that never stopped, over the frames that a run left behind."""

    def __init__(self, log: HistoryLog, partition: int, *, domain: str) -> None:
        self.frames = values_of(log, TopicPartition(TOPICS.frames, partition))
        self.machine = Machine(domain=domain)
        self.rows: Rows = {}
        self.written: dict[str, list[Record]] = {topic: [] for topic in _OUTPUTS}
        self.outcome = Outcome({}, [], [], [], [])
        for value in self.frames:
            self._note(self.machine.step(decode_frame(value)))
        self.outcome.open_stretches = self.machine.open_stretches
        _apply(self.rows, self.machine)

    def _note(self, effects: Effects) -> None:
        for identifier, document in effects.incidents.items():
            body = None if document is None else encode_incident(document)
            self.written[TOPICS.incidents].append((identifier.encode(), body))
            if document is not None:
                self.outcome.incidents[identifier] = document
        for fingerprint, alert in effects.alerts.items():
            body = None if alert is None else encode_document(alert_document(alert))
            self.written[TOPICS.alerts].append((fingerprint.hex().encode(), body))
        self.written[TOPICS.decisions] += [(None, encode_document(decision)) for decision in effects.decisions]
        self.outcome.stretches += effects.stretches
        self.outcome.decisions += effects.decisions


def judge(play: Play) -> Verdict:
    """Hold a finished run against every law that needs no other run; answer what to compare with others."""
    log, story = play.world.log, play.story
    _writers_take_turns(log)
    _positions_only_grow(log)
    _all_is_read(log, story)
    references = [Reference(log, partition, domain=domain) for partition, domain in enumerate(story.domains)]
    _each_change_is_in_force_once(log, story)
    for partition in range(len(story.domains)):
        _rows_follow_their_rules(log, partition, story)
    for partition in range(story.partitions):
        _every_item_has_one_verdict(log, partition)
    for partition, reference in enumerate(references):
        _each_judgement_is_written_once(log, partition, reference)
        _judged_are_all_items(reference)
        _restored_is_the_same(log, partition, reference, domain=story.domains[partition])
    for reference in references:
        _nothing_waits(reference)
    return Verdict([canonical(one.outcome) for one in references], [_decisions(one.outcome) for one in references])


def values_of(log: HistoryLog, tp: TopicPartition) -> list[bytes]:
    """Answer the values of a partition, all that were ever committed, in order."""
    return [value or b"" for where, _, value in log.records(tp.topic) if where == tp]


def _writers_take_turns(log: HistoryLog) -> None:
    """No writer commits when a newer one of its id has."""
    newest: dict[str, int] = {}
    for commit in log.history:
        if commit.writer is not None:
            law(commit.epoch >= newest.get(commit.writer, 0), f"{commit.writer}: a fenced writer has committed")
            newest[commit.writer] = commit.epoch


def _positions_only_grow(log: HistoryLog) -> None:
    known: dict[tuple[str, TopicPartition], Position] = {}
    for commit in log.history:
        for key, position in commit.positions.items():
            before = known.get(key, Position(0)).offset
            law(position.offset >= before, f"{key[0]} went back in {key[1]} from {before} to {position.offset}")
            known[key] = position


def _all_is_read(log: HistoryLog, story: Story) -> None:
    """Every position stands at the end of its input."""
    stands: dict[TopicPartition, int] = {}
    for commit in log.history:
        stands.update({tp: position.offset for (_, tp), position in commit.positions.items()})
    inputs = [TopicPartition(RAW, number) for number in range(story.partitions)]
    inputs += [TopicPartition(TOPICS.frames, number) for number in range(len(story.domains))]
    for tp in inputs:
        end = len(values_of(log, tp))
        law(stands.get(tp, 0) == end, f"{tp.topic}-{tp.partition} was read to {stands.get(tp, 0)} of {end}")


def _each_change_is_in_force_once(log: HistoryLog, story: Story) -> None:
    """One record and one frame a domain for each change of the rules, in one order, however often a process began."""
    expected = [story.control.digest, story.later.digest]
    records = [(key or b"").decode() for _, key, _ in log.records(TOPICS.control)]
    law(records == expected, f"the rules were put in force as {records}, not {expected}")
    for partition in range(len(story.domains)):
        frames = [decode_frame(value) for value in values_of(log, TopicPartition(TOPICS.frames, partition))]
        digests = [frame.digest for frame in frames if frame.kind is FrameKind.CONTROL]
        law(digests == expected, f"control frames {digests} in domain {partition}, not {expected}")


def _rows_follow_their_rules(log: HistoryLog, partition: int, story: Story) -> None:
    """No row was routed by rules whose control frame comes later; a source never goes back to older ones; all end with the newest."""
    known, last = [], dict[str, int]()
    for offset, value in enumerate(values_of(log, TopicPartition(TOPICS.frames, partition))):
        frame = decode_frame(value)
        if frame.kind is FrameKind.CONTROL:
            known.append(frame.digest)
            continue
        law(frame.digest in known, f"frame {offset} of domain {partition} was routed by {frame.digest}, before its control frame")
        rank = known.index(frame.digest)
        law(rank >= last.get(frame.source, 0), f"{frame.source} went back to older rules at frame {offset} of domain {partition}")
        last[frame.source] = rank
    old = [source for source, rank in last.items() if rank < 1]
    law(not old, f"{old} still route by the rules before, in domain {partition} of {len(story.domains)}")


def _every_item_has_one_verdict(log: HistoryLog, partition: int) -> None:
    """The items of a raw partition are those in its frames and those in its dead letters."""
    tp = TopicPartition(RAW, partition)
    ends = _end_marks(log, tp)
    items = sum(items_of(value) for number, value in enumerate(values_of(log, tp)) if number not in ends)
    frames = [decode_frame(value) for _, _, value in log.records(TOPICS.frames) if value]
    forwarded = sum(frame.items for frame in frames if frame.source == f"{RAW}-{partition}")
    refused, offsets = _dead_letters(log, partition)
    law(items == forwarded + refused, f"{RAW}-{partition}: {items} items came, {forwarded} went on and {refused} were refused")
    twice = [offset for offset, count in offsets.items() if count > 1]
    law(not twice, f"{RAW}-{partition}: records {twice} are dead letters more than once")


def _end_marks(log: HistoryLog, tp: TopicPartition) -> list[int]:
    records = [record for commit in log.history for where, sent in commit.sent if where == tp for record in sent]
    return [number for number, record in enumerate(records) if record[3]]


def _dead_letters(log: HistoryLog, partition: int) -> tuple[int, Counter[bytes]]:
    """Count the refused items of a raw partition, and its letters by offset."""
    refused, offsets = 0, Counter[bytes]()
    for commit in log.history:
        for tp, records in commit.sent:
            for record in records if tp.topic == TOPICS.dead_letters else ():
                headers = dict(record[3])
                if headers["partition"] == str(partition).encode():
                    refused += int(headers["refused"])
                    offsets[headers["offset"]] += 1
    return refused, offsets


def _each_judgement_is_written_once(log: HistoryLog, partition: int, reference: Reference) -> None:
    """The outputs are, byte for byte and in order, those of a machine that never stopped."""
    for topic in _OUTPUTS:
        written = [(key, value) for tp, key, value in log.records(topic) if tp.partition == partition]
        expected = reference.written[topic]
        pairs = enumerate(zip(written, expected, strict=False))
        place = next((number for number, (ours, theirs) in pairs if ours != theirs), min(len(written), len(expected)))
        ours, theirs = written[place : place + 1], expected[place : place + 1]
        name, sizes = f"{topic}-{partition}", f"{len(written)} records, {len(expected)} expected"
        law(written == expected, f"{name}: {sizes}; record {place} is {ours} and should be {theirs}")


def _judged_are_all_items(reference: Reference) -> None:
    """What frames brought is judged or waits."""
    items = sum(decode_frame(value).items for value in reference.frames)
    judged, waiting = sum(reference.machine.verdicts.values()), reference.machine.waiting
    law(items == judged + waiting, f"{items} items in frames, {judged} judged and {waiting} waiting")


def _nothing_waits(reference: Reference) -> None:
    """When all input is over and time has moved on, all is judged."""
    waiting = reference.machine.waiting
    law(waiting == 0, f"{waiting} items are not judged though all input is over")


def _restored_is_the_same(log: HistoryLog, partition: int, reference: Reference, *, domain: str) -> None:
    """The checkpoint and the frames after it give the rows of the machine that never stopped."""
    rows: Rows = {}
    for tp, key, value in log.records(TOPICS.checkpoints):
        if tp.partition == partition and key is not None:
            _put(rows, key, value)
    start = int(rows.pop(CHECKPOINT_KEY, b"0"))
    machine = Machine(domain=domain)
    machine.restore(rows)
    for value in reference.frames[start:]:
        machine.step(decode_frame(value))
    _apply(rows, machine)
    odd = [key for key in sorted({*rows, *reference.rows}) if rows.get(key) != reference.rows.get(key)]
    first = f"{odd[0]!r}: {rows.get(odd[0])!r} and should be {reference.rows.get(odd[0])!r}" if odd else ""
    law(not odd, f"domain {partition}: {len(odd)} rows differ after a restore from frame {start}, the first is {first}")


def _apply(rows: Rows, machine: Machine) -> None:
    for key, value in machine.rows():
        _put(rows, key, value)


def _put(rows: Rows, key: bytes, value: bytes | None) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value


def _decisions(outcome: Outcome) -> Counter[tuple[object, ...]]:
    """Count decisions by content, without the names of incidents, which guesses choose."""
    return Counter([(one.at, str(one.why), one.fingerprint, tuple(one.path)) for one in outcome.decisions])


def same(disturbed: Verdict, calm: Verdict) -> None:
    """Hold a disturbed run against an undisturbed one of the same input."""
    for domain, (left, right) in enumerate(zip(disturbed.forms, calm.forms, strict=True)):
        for name, ours, theirs in (("stretches", left[0], right[0]), ("incidents", left[1], right[1])):
            law(ours == theirs, f"domain {domain}: {name} differ from the undisturbed run: {_difference(ours, theirs)}")
    for domain, (mine, other) in enumerate(zip(disturbed.decisions, calm.decisions, strict=True)):
        more, fewer = list((mine - other).items())[:3], list((other - mine).items())[:3]
        law(mine == other, f"domain {domain}: decisions differ from the undisturbed run: more {more}, fewer {fewer}")


def _difference(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]]) -> str:
    only = [entry for entry in ours if entry not in theirs][:2]
    missing = [entry for entry in theirs if entry not in ours][:2]
    return f"{len(ours)} and {len(theirs)}; only here {only}; missing {missing}"
