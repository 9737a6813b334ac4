"""Transfer: the state of a whole application out of a log into an archive, and from there into a log of any kind.

What travels: the rules in force, rows of state, incidents and alerts as they stand, frames that no checkpoint covers, and positions. What
stays behind: raw records, decisions and dead letters, which are history. Offsets of frames differ from log to log: the archive says
which frames are judged, and the import where these end in their new place.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from xxhash import xxh3_128_hexdigest

from correlator.config.settings import Settings
from correlator.frames.control import Control, read_control
from correlator.intake.route import Router
from correlator.runtime.archive import Archive, ArchiveWriter, Header, RawPlace, Records, Witness
from correlator.runtime.control import newest_control, refuse_moves
from correlator.runtime.custody import Custody
from correlator.runtime.files import InputError
from correlator.runtime.ports import Batch, Log, Messages, Position, Refused, TopicPartition
from correlator.runtime.restore import read_all, read_until
from correlator.runtime.topics import CHECKPOINT_KEY, IMPORTING, Topics, complete_up_to

_RECORDS: Final = 5_000
_KEYED: Final = ("checkpoints", "incidents", "alerts")
_OURS: Final = ("control", "frames", *_KEYED, "decisions")


class RawStart(StrEnum):
    """Where raw partitions are read from after an import."""

    SAME = "same"
    BEGINNING = "beginning"
    END = "end"


class Moved(msgspec.Struct):
    """How many records of each kind travelled."""

    rows: int = 0
    incidents: int = 0
    alerts: int = 0
    frames: int = 0

    def count(self, topic: str, records: int) -> None:
        """Count records of a topic."""
        if topic in ("checkpoints", *self.__struct_fields__):
            name = "rows" if topic == "checkpoints" else topic
            setattr(self, name, getattr(self, name) + records)


# Export


async def export_state(log: Log, settings: Settings, writer: ArchiveWriter, *, is_still: bool = False) -> Moved:
    """Stop whoever writes, unless nobody can (`is_still`), and put the application's state into an archive.

    Raises Refused where there is none or a part of it is gone, Fenced when a service took its place back meanwhile, Transient; Full.
    """
    topics, moved = Topics(settings.prefix), Moved()
    control = await newest_control(log, topics)
    if control is None:
        raise Refused(f"{topics.control} holds no rules: no `correlator run` ever started here")
    domains = Router(control.topology).domains
    raw = [tp for topic in settings.topics for tp in await _partitions_of(log, topics.raw(topic.name))]
    custody = Custody(log, topics, raw=raw, domains=len(domains))
    try:
        if not is_still:
            await custody.take()
        control = await newest_control(log, topics)
        assert control is not None, "it was there, and nobody deletes it"
        judged = [await _judged(log, topics, number) for number in range(len(domains))]
        places = {tp: await _place(log, topics, tp) for tp in raw}
        writer.header(Header(topics.prefix, list(domains), list(places.values()), judged))
        writer.add(Records("control", 0, [0], [control.digest.encode()], [msgspec.msgpack.encode(control)]))
        for number in range(len(domains)):
            async for records in _state_of(log, topics, number, judged=judged[number]):
                moved.count(records.topic, len(records.offsets))
                writer.add(records)
        if not is_still:
            await _prove(log, custody, places, judged=judged)
    finally:
        await custody.close()
    return moved


async def _partitions_of(log: Log, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in range(await log.partitions(topic))]


async def _prove(log: Log, custody: Custody, places: dict[TopicPartition, RawPlace], *, judged: Sequence[int]) -> None:
    """Commit all positions once more: this fails when anybody wrote since they were read, and moves nobody otherwise."""
    for tp, place in places.items():
        offset = place.offset if place.offset is not None else (await log.bounds(tp))[0]
        await custody.stand(tp, Position(offset, place.note))
    for number, offset in enumerate(judged):
        await custody.write(number, {}, judged=offset)


async def _judged(log: Log, topics: Topics, domain: int) -> int:
    tp = TopicPartition(topics.frames, domain)
    committed = await log.committed(topics.correlate_group, tp)
    return committed.offset if committed is not None else (await log.bounds(tp))[0]


async def _place(log: Log, topics: Topics, tp: TopicPartition) -> RawPlace:
    name, committed = tp.topic.removeprefix(f"{topics.prefix}."), await log.committed(topics.intake_group, tp)
    if committed is None:
        return RawPlace(name, tp.partition, None)
    return RawPlace(name, tp.partition, committed.offset, committed.note, await _witness(log, tp, committed.offset))


async def _witness(log: Log, tp: TopicPartition, before: int) -> Witness | None:
    """Answer the last record below an offset, None where there is none any more. Offsets may have holes, so we look ever further back."""
    first, end = await log.bounds(tp)
    before, back, found = min(before, end), 1, None
    while found is None and before > first:
        start = max(first, before - back)
        found = await _last(log, tp, start, end=before)
        if start == first:
            break
        back *= 4
    return found


async def _last(log: Log, tp: TopicPartition, start: int, *, end: int) -> Witness | None:
    reader, found = log.reader(tp), None
    reader.seek(start)
    async for batch in read_until(reader, tp, end=end, most=_RECORDS):
        for number, offset in enumerate(batch.offsets):
            found = _witness_of(batch, number) if offset < end else found
    await reader.close()
    return found


def _witness_of(batch: Batch, number: int) -> Witness:
    content = (batch.timestamps[number], batch.keys[number], batch.values[number])
    return Witness(batch.offsets[number], xxh3_128_hexdigest(msgspec.msgpack.encode(content)))


async def _state_of(log: Log, topics: Topics, domain: int, *, judged: int) -> AsyncIterator[Records]:
    """Yield a domain's rows, documents, and the frames that no checkpoint covers."""
    marker: bytes | None = None
    for topic in _KEYED:
        async for batch in read_all(log, TopicPartition(_full(topics, topic), domain), most=_RECORDS):
            found = Records.of(topic, domain, batch)
            if topic == "checkpoints":
                marker = next((value for key, value in _newest_first(batch) if key == CHECKPOINT_KEY), marker)
                found = found.kept([number for number, key in enumerate(found.keys) if key != CHECKPOINT_KEY])
            if found.offsets:
                yield found
    start, tp = complete_up_to(marker), TopicPartition(topics.frames, domain)
    first, end = await log.bounds(tp)
    if first > start:
        raise Refused(f"{tp.topic}-{tp.partition} begins at {first}, and the state is complete up to {start} only: frames are gone")
    assert start <= judged, "a checkpoint is written with the position that it covers"
    reader = log.reader(tp)
    reader.seek(start)
    async for batch in read_until(reader, tp, end=end, most=_RECORDS):
        yield Records.of("frames", domain, batch)
    await reader.close()


def _newest_first(batch: Batch) -> Iterator[tuple[bytes | None, bytes | None]]:
    return zip(reversed(batch.keys), reversed(batch.values), strict=True)


def _full(topics: Topics, topic: str) -> str:
    return f"{topics.prefix}.{topic}"


# Import


def fitting_control(archive: Archive, settings: Settings, control: Control) -> Control:
    """Answer the rules that an archive holds; `control` are those that the service will be started with. Raises Refused where they part."""
    header = archive.header
    if header.prefix != settings.prefix:
        raise Refused(f"the file holds the state of the application '{header.prefix}': set `prefix: {header.prefix}` in the settings")
    found = _control_of(archive)
    _refuse_other_domains(header, control)
    refuse_moves(found, control)
    return found


async def import_state(log: Log, settings: Settings, archive: Archive, *, control: Control, start: RawStart, is_forced: bool) -> Moved:
    """Put an archive's state into a log, whose service must not run; `control` are the rules and topology it will be started with.

    Raises Refused, before any state was written, where the archive does not fit. What interrupts it leaves a log on which the service
    refuses to start, until an import by force.
    """
    found = fitting_control(archive, settings, control)
    topics, header = Topics(settings.prefix), archive.header
    raw = {topic.name: topic.partitions for topic in settings.topics}
    await log.open_topics(topics.settings(raw, len(header.domains), settings.log_retention))
    if not is_forced:
        await _refuse_if_used(log, topics, len(header.domains))
    positions = await _positions(log, settings, header, start=start)
    custody = Custody(log, topics, raw=list(positions), domains=len(header.domains))
    try:
        await custody.take()
        return await _Import(log, topics, custody, is_forced=is_forced).run(archive, found, positions)
    finally:
        await custody.close()


def _control_of(archive: Archive) -> Control:
    for records in archive.records():
        if records.topic == "control":
            return read_control(records.values[0] or b"")
    raise InputError("the file holds no rules: export again")


def _refuse_other_domains(header: Header, control: Control) -> None:
    domains = list(Router(control.topology).domains)
    if domains != header.domains:
        raise Refused(
            f"the file was made for the domains {', '.join(header.domains)}, and the topology of the settings names {', '.join(domains)}: "
            "state cannot move between domains; import it with the topology that it was made with"
        )


async def _refuse_if_used(log: Log, topics: Topics, domains: int) -> None:
    for topic in _OURS:
        for number in range(1 if topic == "control" else domains):
            first, end = await log.bounds(TopicPartition(_full(topics, topic), number))
            if first < end:
                raise Refused(
                    f"{_full(topics, topic)} is not empty: import into a new log or folder; --force replaces the state that is there"
                )


async def _positions(log: Log, settings: Settings, header: Header, *, start: RawStart) -> dict[TopicPartition, Position | None]:
    """Answer from where each raw partition will be read, None for the first record there is."""
    topics, found = Topics(settings.prefix), dict[TopicPartition, Position | None]()
    places = {(place.topic, place.partition): place for place in header.raw}
    for topic in settings.topics:
        for number in range(topic.partitions):
            tp, place = TopicPartition(topics.raw(topic.name), number), places.pop((topic.name, number), None)
            found[tp] = await _position(log, tp, place, start=start)
    gone = [f"{topic}-{number}" for (topic, number), place in places.items() if place.offset is not None]
    if gone and start is RawStart.SAME:
        raise Refused(
            f"the file says how far {', '.join(gone[:5])} was read, and the settings have no such partition: what was not read there "
            "would be lost; say --raw beginning or --raw end"
        )
    return found


async def _position(log: Log, tp: TopicPartition, place: RawPlace | None, *, start: RawStart) -> Position | None:
    first, end = await log.bounds(tp)
    note = place.note if place is not None else ""
    if start is RawStart.END:
        return Position(end, note)
    if start is RawStart.BEGINNING:
        return Position(first, note)
    if place is None or place.offset is None:
        return None
    if place.offset == 0:
        return Position(0, note)  # nothing was read of it: it has no record to be known by, and needs none
    if place.witness is None or not first <= place.witness.offset < end or await _witness(log, tp, place.offset) != place.witness:
        raise Refused(
            f"{tp.topic}-{tp.partition} does not hold the records that were read up to {place.offset}: this is another topic, or they are "
            "gone; say --raw beginning to read all that lies there, or --raw end to begin with what comes next"
        )
    return Position(place.offset, note)


class _Import:
    """One import, from the first write to the last. Until that, every domain is marked as unfinished."""

    def __init__(self, log: Log, topics: Topics, custody: Custody, *, is_forced: bool) -> None:
        self._log = log
        self._topics = topics
        self._custody = custody
        self._is_forced = is_forced
        self._moved = Moved()
        self._old: dict[TopicPartition, dict[bytes, None]] = {}
        self._judged: dict[int, int] = {}

    async def run(self, archive: Archive, control: Control, positions: dict[TopicPartition, Position | None]) -> Moved:
        domains = range(len(archive.header.domains))
        for number in domains:
            await self._custody.write(number, {self._checkpoints(number): Messages([IMPORTING], keys=[CHECKPOINT_KEY])})
        if self._is_forced:
            await self._list_old(domains)
        starts = {number: await self._end_of_frames(number) for number in domains}
        for records in archive.records():
            await self._put(records, archive.header)
        await self._put_control(control)
        for tp, position in positions.items():
            first, _ = await self._log.bounds(tp)
            await self._custody.stand(tp, position if position is not None else Position(first))
        for number in domains:
            await self._drop_old(number)
        for number, start in starts.items():
            sent = {self._checkpoints(number): Messages([str(start).encode()], keys=[CHECKPOINT_KEY])}
            await self._custody.write(number, sent, judged=self._judged.get(number, start))
        return self._moved

    def _checkpoints(self, number: int) -> TopicPartition:
        return TopicPartition(self._topics.checkpoints, number)

    async def _end_of_frames(self, number: int) -> int:
        return (await self._log.bounds(TopicPartition(self._topics.frames, number)))[1]

    async def _put(self, records: Records, header: Header) -> None:
        if records.topic == "frames":
            await self._put_frames(records, header.judged[records.partition])
        elif records.topic in _KEYED:
            await self._put_keyed(records)

    async def _put_keyed(self, records: Records) -> None:
        tp = TopicPartition(_full(self._topics, records.topic), records.partition)
        old = self._old.get(tp, {})
        for key, value in zip(records.keys, records.values, strict=True):
            if value is not None and key is not None:
                old.pop(key, None)
        await self._custody.write(records.partition, {tp: Messages(records.values, keys=records.keys, headers=records.headers)})
        self._moved.count(records.topic, len(records.offsets))

    async def _put_frames(self, records: Records, judged: int) -> None:
        """Append frames; where the judged ones end is asked of the log in between, since transactions leave holes."""
        numbers = range(len(records.offsets))
        for part, is_judged in (
            ([number for number in numbers if records.offsets[number] < judged], True),
            ([number for number in numbers if records.offsets[number] >= judged], False),
        ):
            if part:
                tp = TopicPartition(self._topics.frames, records.partition)
                await self._custody.write(records.partition, {tp: Messages(records.kept(part).values)})
                self._moved.count("frames", len(part))
            if part and is_judged:
                self._judged[records.partition] = await self._end_of_frames(records.partition)

    async def _put_control(self, control: Control) -> None:
        writer = self._custody.control
        await writer.begin()
        body = Messages([msgspec.msgpack.encode(control)], keys=[control.digest.encode()])
        await writer.send(TopicPartition(self._topics.control, 0), body)
        await writer.commit()

    async def _list_old(self, domains: range) -> None:
        """Remember the keys that are there: those that the archive lacks are deleted at the end."""
        for number in domains:
            for topic in _KEYED:
                tp = TopicPartition(_full(self._topics, topic), number)
                keys = self._old.setdefault(tp, {})
                async for batch in read_all(self._log, tp, most=_RECORDS):
                    keys.update(dict.fromkeys([key for key in batch.keys if key is not None]))
        for number in domains:
            self._old[self._checkpoints(number)].pop(CHECKPOINT_KEY, None)

    async def _drop_old(self, number: int) -> None:
        for topic in _KEYED:
            tp = TopicPartition(_full(self._topics, topic), number)
            keys = list(self._old.get(tp, {}))
            for first in range(0, len(keys), _RECORDS):
                part = keys[first : first + _RECORDS]
                await self._custody.write(number, {tp: Messages([None] * len(part), keys=part)})
