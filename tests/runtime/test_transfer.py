"""State moved from log to log: an application that moved goes on as if it never had, and what does not fit is refused.

Stories have one raw partition: what becomes of several depends on which is read first, moved or not.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from correlator.config.settings import CheckpointSettings, Settings, TopicSettings
from correlator.frames.control import Control
from correlator.intake.formats import Format
from correlator.intake.route import Router
from correlator.model.rule import RuleSet
from correlator.model.topology import Node, NodeKind, Topology
from correlator.model.version import NewerVersionError
from correlator.runtime import shop
from correlator.runtime.archive import Archive, ArchiveWriter
from correlator.runtime.caution import Caution
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.files import InputError
from correlator.runtime.http import Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Fenced, Log, Messages, Refused, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import CHECKPOINT_KEY, END_HEADER, IMPORTING, Topics
from correlator.runtime.transfer import Moved, RawStart, export_state, import_state
from correlator.runtime.worker import Worker
from correlator.state.records import ROW_VERSION

from tests.builders import T0, an_event
from tests.runtime.brokers import Storage

TOPICS: Final = Topics("correlator")
RAW: Final = TopicPartition(TOPICS.raw("events"), 0)
TELLS_OF_BATCHES: Final = ("id", "revision", "counts", "why", "count", "lastSeen")
"""What may differ between two runs that cut the same log into other batches."""
_NAMES: Final = sorted({fault.root for fault in shop.FAULTS} | {symptom.service for fault in shop.FAULTS for symptom in fault.symptoms})
TOPOLOGY: Final = Topology(
    nodes=tuple([Node(name, NodeKind.SERVICE, domain="odd" if rank % 2 else None) for rank, name in enumerate(_NAMES)]), edges=()
)
CONTROL: Final = Control(RuleSet(), TOPOLOGY)

Opener = Callable[[], Awaitable[Log]]
Make = Callable[[str], Opener]
Canonical = dict[str, list[dict[str, object]]]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Return a function that makes a fresh storage of a kind; what it returns opens a client of that."""
    numbers = itertools.count()

    def made(kind: str) -> Opener:
        if kind == "kafka":
            return Storage(request.getfixturevalue("broker").address).open
        return partial(EmbeddedLog.open, tmp_path / f"log-{next(numbers)}")

    return made


@lru_cache(maxsize=1)
def a_storm() -> tuple[list[bytes], list[bytes]]:
    """The demo's storm in two halves, the second of which ends what the first began."""
    events = [msgspec.json.encode(event) for event in shop.events(7, T0)][::6]
    return events[: len(events) // 2], events[len(events) // 2 :]


def settings(*, rows: int = 50_000, partitions: int = 2) -> Settings:
    topic = TopicSettings.model_validate({"name": "events", "arrival": "item", "partitions": partitions})
    return Settings(topics=(topic,), checkpoint=CheckpointSettings(rows=rows))


def worker(log: Log, made: Settings) -> Worker:
    return Worker(log, made, CONTROL, telemetry=Telemetry(), readiness=Readiness())


async def publish(log: Log, events: Sequence[bytes], *, ends: bool = False, partitions: int = 2) -> None:
    """Put one recording's events onto the raw partitions in turn."""
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    for number in range(partitions):
        await writer.send(TopicPartition(TOPICS.raw("events"), number), Messages(events[number::partitions]))
        if ends:
            await writer.send(TopicPartition(TOPICS.raw("events"), number), Messages([b""], headers=[END_HEADER]))
    await writer.commit()
    await writer.close()


async def prepare(log: Log, made: Settings) -> None:
    raw = {topic.name: topic.partitions for topic in made.topics}
    await log.open_topics(TOPICS.settings(raw, len(Router(TOPOLOGY).domains)))


async def judge(log: Log, made: Settings) -> None:
    await worker(log, made).run(until_idle=True)


async def canonical(log: Log) -> Canonical:
    """Answer incidents and alerts as they stand, without what tells of batches; an incident is named by its place among them."""
    found: Canonical = {}
    names: dict[object, int] = {}
    for topic in (TOPICS.incidents, TOPICS.alerts):
        newest: dict[bytes | None, bytes | None] = {}
        for number in range(await log.partitions(topic)):
            async for batch in read_all(log, TopicPartition(topic, number), most=5_000):
                newest.update(zip(batch.keys, batch.values, strict=True))
        documents = [msgspec.json.decode(body) for _, body in sorted(newest.items(), key=repr) if body is not None]
        kept = [
            ({key: value for key, value in document.items() if key not in TELLS_OF_BATCHES}, document.get("id")) for document in documents
        ]
        kept.sort(key=repr)
        names |= {name: place for place, (_, name) in enumerate(kept)}
        found[topic] = [document | {"incident": names.get(document.get("incident"))} for document, _ in kept]
    return found


async def unmoved(opener: Opener) -> Canonical:
    """Answer what comes of a storm on a log that nobody touched."""
    log, storm = await opener(), a_storm()
    await prepare(log, settings(partitions=1))
    await publish(log, storm[0], partitions=1)
    await judge(log, settings(partitions=1))
    await publish(log, storm[1], ends=True, partitions=1)
    await judge(log, settings(partitions=1))
    found = await canonical(log)
    await log.close()
    return found


async def export(log: Log, path: Path, made: Settings) -> Moved:
    with ArchiveWriter(path) as writer:
        return await export_state(log, made, writer)


async def put(
    log: Log, path: Path, made: Settings, *, start: RawStart = RawStart.SAME, control: Control = CONTROL, is_forced: bool = False
) -> Moved:
    return await import_state(log, made, Archive(path), control=control, start=start, is_forced=is_forced)


@pytest.mark.parametrize(
    "way",
    [(*kinds, rows) for kinds in (("embedded", "embedded"), ("embedded", "kafka"), ("kafka", "embedded")) for rows in (1, 50_000)],
    ids=lambda way: "-".join(map(str, way)),
)
async def test_an_application_that_moved_goes_on_as_if_it_never_had(make: Make, tmp_path: Path, way: tuple[str, str, int]) -> None:
    rows, storm = way[2], a_storm()
    made, source, target = settings(rows=rows, partitions=1), await make(way[0])(), await make(way[1])()
    await prepare(source, made)
    await publish(source, storm[0], partitions=1)
    await judge(source, made)
    exported = await export(source, tmp_path / "state", made)
    assert exported.frames == 0 or rows > 1
    assert exported.alerts > 100
    assert await put(target, tmp_path / "state", made, start=RawStart.BEGINNING) == exported
    assert await canonical(target) == await canonical(source)
    await publish(target, storm[1], ends=True, partitions=1)
    await judge(target, made)
    assert await canonical(target) == await unmoved(make("embedded"))
    await source.close()
    await target.close()


@given(cut=st.integers(25, 500), rows=st.sampled_from([1, 30, 50_000]))
@hypothesis_settings(max_examples=20, deadline=None)
@example(cut=476, rows=1)
def test_wherever_a_recording_is_cut_moving_there_changes_nothing(cut: int, rows: int) -> None:
    """Not within its first 20 records: the time of a recording is in doubt until then, and nothing is read for good."""
    events = [event for half in a_storm() for event in half][::6]
    assert asyncio.run(moved_at(cut, events, rows=rows)) == asyncio.run(moved_at(None, events, rows=rows))


async def moved_at(cut: int | None, events: Sequence[bytes], *, rows: int) -> Canonical:
    made, log = settings(rows=rows, partitions=1), MemoryLog()
    await prepare(log, made)
    if cut is not None:
        await publish(log, events[:cut], partitions=1)
        await judge(log, made)
        with TemporaryDirectory() as folder:
            await export(log, Path(folder) / "state", made)
            log = MemoryLog()
            await put(log, Path(folder) / "state", made, start=RawStart.BEGINNING)
    await publish(log, events[cut or 0 :], ends=True, partitions=1)
    await judge(log, made)
    return await canonical(log)


async def test_frames_that_nobody_judged_yet_are_judged_in_their_new_place(make: Make, tmp_path: Path) -> None:
    storm = a_storm()
    made, source, target = settings(rows=1, partitions=1), await make("embedded")(), await make("embedded")()
    await prepare(source, made)
    await judge(source, made)
    await publish(source, storm[0], partitions=1)
    await take_in(source, RAW)
    moved = await export(source, tmp_path / "state", made)
    assert (moved.alerts, moved.frames > 2) == (0, True)
    await put(target, tmp_path / "state", made, start=RawStart.BEGINNING)
    await publish(target, storm[1], ends=True, partitions=1)
    await judge(target, made)
    assert await canonical(target) == await unmoved(make("embedded"))


async def take_in(log: Log, tp: TopicPartition) -> None:
    """Have intake alone read a raw partition to its end."""
    task = IntakeTask(log, TOPICS, tp, form=Format.AUTO, is_recording=True, caution=Caution(500), telemetry=Telemetry())
    running = asyncio.create_task(task.run())
    _, end = await log.bounds(tp)
    frames = log.reader(TopicPartition(TOPICS.frames, 0))
    while task.position < end and not running.done():
        await frames.poll(max_records=1, timeout_ms=50)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await task.close()


@pytest.mark.parametrize("kind", ["embedded", "kafka"])
async def test_a_copy_put_back_by_force_goes_on_where_it_was_made(make: Make, tmp_path: Path, kind: str) -> None:
    storm = a_storm()
    made, log = settings(rows=1, partitions=1), await make(kind)()
    await prepare(log, made)
    await publish(log, storm[0], partitions=1)
    await judge(log, made)
    await export(log, tmp_path / "state", made)
    then = await canonical(log)
    await publish(log, storm[1], ends=True, partitions=1)
    await judge(log, made)
    now = await canonical(log)
    await put(log, tmp_path / "state", made, is_forced=True)
    assert await canonical(log) == then
    await judge(log, made)
    assert await canonical(log) == now
    await log.close()


async def test_a_raw_partition_that_never_held_a_record_fits_where_it_came_from(tmp_path: Path) -> None:
    """The first export commits its position; the second one finds no record before it, and the import asked for that."""
    log, made = MemoryLog(), settings()
    await prepare(log, made)
    await publish(log, [an_event()] * 3, partitions=1, ends=True)
    await judge(log, made)
    for name in ("first", "second"):
        await export(log, tmp_path / name, made)
    await publish(log, [an_event()])
    await put(log, tmp_path / "second", made, is_forced=True)
    found = await log.committed(TOPICS.intake_group, TopicPartition(TOPICS.raw("events"), 1))
    assert found is not None
    assert found.offset == 0


async def test_more_raw_partitions_are_read_from_their_beginning_or_end_as_is_asked(make: Make, tmp_path: Path) -> None:
    source = await make("embedded")()
    await prepare(source, settings())
    await publish(source, [an_event()] * 10, ends=True)
    await judge(source, settings())
    await export(source, tmp_path / "state", settings())
    made = settings(partitions=4)
    for start, places in ((RawStart.BEGINNING, [0] * 4), (RawStart.END, [3, 3, 2, 2])):
        target = await make("embedded")()
        await prepare(target, made)
        await publish(target, [an_event()] * 10, partitions=4)
        with pytest.raises(Refused, match=r"does not hold the records that were read up to 6: .*say --raw beginning .* or --raw end"):
            await put(target, tmp_path / "state", made)
        await put(target, tmp_path / "state", made, start=start)
        found = [await target.committed(TOPICS.intake_group, TopicPartition(TOPICS.raw("events"), number)) for number in range(4)]
        assert [position.offset for position in found if position is not None] == places
        assert [position.note != "" for position in found if position is not None] == [True, True, False, False]


# What is refused


@pytest.fixture
async def judged(tmp_path: Path) -> Log:
    """A log with some state, and its archive `state`."""
    log = MemoryLog()
    await prepare(log, settings())
    await publish(log, [an_event()] * 10, ends=True)
    await judge(log, settings())
    await export(log, tmp_path / "state", settings())
    return log


async def test_a_log_that_was_never_judged_has_no_state(tmp_path: Path) -> None:
    log = MemoryLog()
    await prepare(log, settings())
    with pytest.raises(Refused, match=r"correlator\.control holds no rules: no `correlator run` ever started here"):
        await export(log, tmp_path / "state", settings())
    assert not list(tmp_path.iterdir())  # noqa: ASYNC240 - a test may wait for a disk


async def test_a_log_in_use_is_refused_without_force(judged: Log, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"correlator\.control is not empty: import into a new log or folder; --force replaces"):
        await put(judged, tmp_path / "state", settings())


@pytest.mark.usefixtures("judged")
async def test_other_domains_are_refused(tmp_path: Path) -> None:
    control = Control(RuleSet(), Topology(nodes=(Node("a", NodeKind.SERVICE, domain="far"),), edges=()))
    with pytest.raises(Refused, match="was made for the domains default, odd, and the topology of the settings names default, far"):
        await put(MemoryLog(), tmp_path / "state", settings(), control=control)


@pytest.mark.usefixtures("judged")
async def test_a_service_in_another_domain_is_refused(tmp_path: Path) -> None:
    moved = msgspec.structs.replace(TOPOLOGY.nodes[1], domain=None)
    control = Control(RuleSet(), Topology(nodes=(TOPOLOGY.nodes[0], moved, *TOPOLOGY.nodes[2:]), edges=()))
    with pytest.raises(Refused, match=f"moves '{moved.name}' from domain 'odd' to 'default'"):
        await put(MemoryLog(), tmp_path / "state", settings(), control=control)


@pytest.mark.usefixtures("judged")
async def test_another_prefix_is_refused(tmp_path: Path) -> None:
    made = settings().model_copy(update={"prefix": "other"})
    with pytest.raises(Refused, match="holds the state of the application 'correlator': set `prefix: correlator`"):
        await put(MemoryLog(), tmp_path / "state", made)


@pytest.mark.usefixtures("judged")
async def test_fewer_raw_partitions_are_refused_unless_it_is_said_where_to_begin(tmp_path: Path) -> None:
    made = settings(partitions=1)
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 2))
    await publish(log, [], partitions=1)
    with pytest.raises(Refused, match="events-0 does not hold"):
        await put(log, tmp_path / "state", made)
    await put(log, tmp_path / "state", made, start=RawStart.END)


@pytest.mark.usefixtures("judged")
async def test_nothing_is_written_where_an_import_is_refused(tmp_path: Path) -> None:
    log = MemoryLog()
    with pytest.raises(Refused, match="does not hold the records"):
        await put(log, tmp_path / "state", settings())
    assert [await log.bounds(TopicPartition(topic, 0)) for topic in (TOPICS.control, TOPICS.checkpoints, TOPICS.frames)] == [(0, 0)] * 3


async def test_a_service_whose_state_is_exported_is_fenced_and_one_that_fences_the_export_spoils_it(judged: Log, tmp_path: Path) -> None:
    writer = judged.writer(TOPICS.correlate_writer(0))
    await writer.start()
    before = (tmp_path / "state").read_bytes()
    await export(judged, tmp_path / "state", settings())
    await writer.begin()
    await writer.send(TopicPartition(TOPICS.frames, 0), Messages([b""]))
    with pytest.raises(Fenced):
        await writer.commit()
    rival = Rival(judged)
    with pytest.raises(Fenced):
        await export(rival.log, tmp_path / "state", settings())
    assert (tmp_path / "state").read_bytes() == before
    assert not (tmp_path / "state.partial").exists()


class Rival:
    """A service that takes its place back while an export reads."""

    def __init__(self, log: Log) -> None:
        assert isinstance(log, MemoryLog)
        self.log = log
        log.on_call = self._on_call

    def _on_call(self, call: str) -> None:
        if call == "poll:after":
            self.log.fence(TOPICS.correlate_writer(1))


def break_off(left: Iterator[int], call: str) -> None:
    """Fail at a commit when none is left."""
    if call == "commit:before" and next(left, None) is None:
        raise ConnectionResetError


async def test_an_import_that_broke_off_leaves_a_log_that_no_service_starts_on(judged: Log, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "state")
    for broken_at in itertools.count(1):
        log = MemoryLog()
        log.on_call = partial(break_off, iter(range(broken_at)))
        made = settings()
        try:
            await import_state(log, made, archive, control=CONTROL, start=RawStart.BEGINNING, is_forced=False)
        except ConnectionResetError:
            log.on_call = lambda _: None
            with pytest.raises(Refused, match="an import of state was not finished here: run `correlator state import --force` again"):
                await judge(log, made)
            await put(log, tmp_path / "state", made, start=RawStart.BEGINNING, is_forced=True)
            assert await canonical(log) == await canonical(judged)
            await judge(log, made)
            continue
        assert broken_at > 6, "an import takes a commit for each of its parts"
        return


async def test_amid_an_import_there_is_nothing_to_export(judged: Log, tmp_path: Path) -> None:
    writer = judged.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(TopicPartition(TOPICS.checkpoints, 1), Messages([IMPORTING], keys=[CHECKPOINT_KEY]))
    await writer.commit()
    with pytest.raises(Refused, match="an import of state was not finished here"):
        await export(judged, tmp_path / "other", settings())
    assert not (tmp_path / "other").exists()


# The file


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("place", [25, 200, 2_000, -1, -13])
async def test_a_file_with_another_byte_is_never_imported(tmp_path: Path, place: int) -> None:
    body = bytearray((tmp_path / "state").read_bytes())
    body[place] ^= 0xFF
    (tmp_path / "state").write_bytes(body)
    with pytest.raises(InputError, match="damaged near byte"):
        Archive(tmp_path / "state")


@pytest.mark.usefixtures("judged")
async def test_a_file_without_its_end_is_never_imported(tmp_path: Path) -> None:
    body = (tmp_path / "state").read_bytes()
    for end in (len(body) - 1, len(body) - 12, len(body) - 13, len(body) // 2):
        (tmp_path / "state").write_bytes(body[:end])
        with pytest.raises(InputError, match="damaged near byte"):
            Archive(tmp_path / "state")


@pytest.mark.usefixtures("judged")
async def test_a_file_of_a_newer_version_says_so(tmp_path: Path) -> None:
    body = (tmp_path / "state").read_bytes()
    for old, new, what, known in (
        (b"state 1\n", b"state 9\n", "file", 1),
        (b'"rows":%d' % ROW_VERSION, b'"rows":9', "rows", ROW_VERSION),
        (b'"frames":1', b'"frames":9', "frames", 1),
    ):
        (tmp_path / "state").write_bytes(body.replace(old, new, 1))
        told = f"was written by a newer correlator .format 9 of its {what}; this one reads up to {known}."
        with pytest.raises(NewerVersionError, match=told):
            Archive(tmp_path / "state")


def test_a_file_of_something_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"PNG\n")
    with pytest.raises(InputError, match="is no state of the correlator; `correlator state export` writes one"):
        Archive(tmp_path / "state")
