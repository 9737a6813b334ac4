"""What only the embedded log must stand: killed processes, several at once, a full disk, bad files, and bounds on memory and disk.

As root no permission binds, so a folder that cannot be written is stood in for by a path below a file and a file name that is taken by
a folder; a full disk by SQLite's own page limit, which raises the same error as the disk does.
"""

import asyncio
import itertools
import os
import random
import sqlite3
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from correlator.runtime.database import FILE_NAME, SCHEMA_VERSION, WAL_LIMIT_BYTES, lies_still
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Full, Messages, OffsetOutOfRange, Position, Refused, TopicPartition, TopicSettings, Transient, Writer

EVENTS = TopicPartition("events", 0)
FRAMES = TopicPartition("frames", 0)
STATE = TopicPartition("state", 0)
TOPICS = [TopicSettings("events"), TopicSettings("frames"), TopicSettings("state", compacted=True)]

# Writes the numbers from its position on to two topics, 50 a transaction, and tells each commit; 2 KB each, so that a kill often
# falls into the writing itself.
_ENDLESS_WRITER = """
import asyncio, sys
from pathlib import Path
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Messages, Position, TopicPartition

async def main():
    log = await EmbeddedLog.open(Path(sys.argv[1]))
    writer = log.writer("endless")
    await writer.start()
    events, frames, state = (TopicPartition(name, 0) for name in ("events", "frames", "state"))
    position = (await log.committed("group", events) or Position(0)).offset
    while True:
        numbers = [b"%d" % number + b" " * 2000 for number in range(position, position + 50)]
        position += 50
        await writer.begin()
        await writer.send(events, Messages(numbers))
        await writer.send(frames, Messages(numbers))
        await writer.send(state, Messages([b"%d" % position], keys=[b"position"]))
        await writer.send_offsets("group", {events: Position(position)})
        await writer.commit()
        print(position, flush=True)

asyncio.run(main())
"""

_PUBLISHER = """
import asyncio, sys
from pathlib import Path
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.ports import Messages, Position, TopicPartition

async def main():
    log = await EmbeddedLog.open(Path(sys.argv[1]))
    writer = log.writer(None)
    await writer.start()
    for start in range(0, 4000, 20):
        await writer.begin()
        await writer.send(TopicPartition("events", 0), Messages([b"%d" % number for number in range(start, start + 20)]))
        await writer.commit()
    await writer.close()
    await log.close()

asyncio.run(main())
"""


async def a_log(directory: Path, *, max_bytes: int | None = None, patience_ms: int = 10_000) -> EmbeddedLog:
    log = await EmbeddedLog.open(directory, max_bytes=max_bytes, patience_ms=patience_ms)
    await log.open_topics(TOPICS)
    return log


async def a_writer(log: EmbeddedLog, transactional_id: str | None = None) -> Writer:
    writer = log.writer(transactional_id)
    await writer.start()
    return writer


async def write(writer: Writer, tp: TopicPartition, messages: Messages) -> None:
    await writer.begin()
    await writer.send(tp, messages)
    await writer.commit()


def program(script: str, directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE)


async def write_until_full(log: EmbeddedLog, body: Messages) -> None:
    """Commit the same records with their position again and again."""
    for position in itertools.count(len(body.values), len(body.values)):
        writer = await a_writer(log, "w")
        await writer.begin()
        await writer.send(EVENTS, body)
        await writer.send_offsets("group", {EVENTS: Position(position)})
        await writer.commit()


async def values(log: EmbeddedLog, tp: TopicPartition) -> list[bytes]:
    reader = log.reader(tp)
    found: list[bytes] = []
    while batch := await reader.poll(max_records=1000, timeout_ms=0):
        found += [value for value in batch.values if value is not None]
    return found


def wal_bytes(directory: Path) -> int:
    return (directory / f"{FILE_NAME}-wal").stat().st_size


# ---------------------------------------------------------------------------------------------------- processes


async def test_a_writer_killed_amid_transactions_loses_and_doubles_nothing(tmp_path: Path) -> None:
    await (await a_log(tmp_path)).close()
    told = 0
    for commits in (1, 17, 3, 40, 8):
        with program(_ENDLESS_WRITER, tmp_path) as child:
            assert child.stdout is not None
            for line in itertools.islice(child.stdout, commits):
                told = int(line)
            child.kill()
        log = await a_log(tmp_path)
        committed = await log.committed("group", EVENTS)
        assert committed is not None
        position = committed.offset
        assert position >= told, "a commit that was told is lost"
        numbers = [int(value) for value in await values(log, EVENTS)]
        assert numbers == list(range(position))
        assert [int(value) for value in await values(log, FRAMES)] == numbers
        assert await values(log, STATE) == [b"%d" % position]
        await log.close()


async def test_a_publisher_and_a_runner_in_two_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer, reader = await a_writer(log, "runner"), log.reader(EVENTS)
    with program(_PUBLISHER, tmp_path) as child:
        while reader.position < 4000:
            batch = await reader.poll(max_records=300, timeout_ms=20_000)
            assert batch, "the publisher's records do not come"
            await writer.begin()
            await writer.send(FRAMES, Messages(batch.values))
            await writer.send_offsets("group", {EVENTS: Position(reader.position)})
            await writer.commit()
    assert child.returncode == 0
    assert [int(value) for value in await values(log, FRAMES)] == list(range(4000))
    assert await log.committed("group", EVENTS) == Position(4000)
    await log.close()


async def test_many_processes_may_make_the_same_file_at_once(tmp_path: Path) -> None:
    logs = await asyncio.gather(*(a_log(tmp_path / "new") for _ in range(8)))
    for log in logs:
        await write(await a_writer(log), EVENTS, Messages([b"x"]))
    assert await values(logs[0], EVENTS) == [b"x"] * 8
    for log in logs:
        await log.close()


@pytest.mark.parametrize("same_process", [True, False])
async def test_a_waiting_poll_wakes_when_somebody_commits(tmp_path: Path, *, same_process: bool) -> None:
    log = await a_log(tmp_path)
    other = log if same_process else await a_log(tmp_path)
    poll = asyncio.create_task(log.reader(EVENTS).poll(max_records=5, timeout_ms=50_000))
    await write(await a_writer(other), STATE, Messages([b"not for us"], keys=[b"k"]))
    assert not poll.done()
    await write(await a_writer(other), EVENTS, Messages([b"x"]))
    async with asyncio.timeout(10):
        assert list((await poll).values) == [b"x"]
    await other.close()
    await log.close()


async def test_a_commit_waits_for_another_process_without_stopping_the_loop(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    commit = asyncio.create_task(write(writer, EVENTS, Messages([b"x"])))
    assert await values(log, EVENTS) == []  # the loop runs, and readers are not held up
    assert not commit.done()
    other.execute("ROLLBACK")
    async with asyncio.timeout(10):
        await commit
    assert await values(log, EVENTS) == [b"x"]
    other.close()
    await log.close()


async def test_a_file_that_stays_locked_is_transient(tmp_path: Path) -> None:
    log = await a_log(tmp_path, patience_ms=0)
    writer = await a_writer(log)
    other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="other processes kept it locked"):
        await write(writer, EVENTS, Messages([b"x"]))
    other.execute("ROLLBACK")
    other.close()
    await writer.close()
    assert await values(log, EVENTS) == []
    await log.close()


# ---------------------------------------------------------------------------------------------------- limits


async def test_a_full_disk_raises_full_writes_nothing_and_is_got_over(tmp_path: Path) -> None:
    log = await a_log(tmp_path, max_bytes=3_000_000)
    body = Messages([b"x" * 10_000] * 50)
    with pytest.raises(Full, match=r"full: make room, but leave correlator\.db-wal, .* the last write was undone"):
        await write_until_full(log, body)
    committed = len(await values(log, EVENTS))
    assert committed > 0
    assert await log.committed("group", EVENTS) == Position(committed)
    await log.trim(EVENTS, committed)
    await write(await a_writer(log, "w"), EVENTS, body)
    assert await log.bounds(EVENTS) == (committed, committed + 50)
    await log.close()


async def test_a_large_topic_costs_a_reader_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    for _ in range(16):
        await write(writer, EVENTS, Messages([b"x" * 1000] * 4000))
    keys = [b"%d" % number for number in range(16_000)]
    await write(writer, STATE, Messages([b"x" * 2000] * len(keys), keys=keys))
    for tp, expected in ((EVENTS, 64_000), (STATE, 16_000)):
        reader, found = log.reader(tp), 0
        tracemalloc.start()
        while batch := await reader.poll(max_records=100_000, timeout_ms=0):
            found += len(batch)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == expected
        assert peak < 24_000_000
    await log.close()


async def test_rows_stay_small_whatever_is_sent_and_a_huge_record_passes(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    payload = [b"x"] * 40_000 + [b"y" * 3_000_000] * 4 + [b"z" * 9_000_000]
    await write(await a_writer(log), EVENTS, Messages(payload))
    assert await values(log, EVENTS) == payload
    await log.close()
    file = sqlite3.connect(tmp_path / FILE_NAME)
    sizes = [size for (size,) in file.execute("SELECT length(body) FROM segments")]
    file.close()
    assert sorted(size > 4 * 1024 * 1024 for size in sizes) == [False] * (len(sizes) - 1) + [True]


async def test_the_write_ahead_log_shrinks_once_a_slow_reader_lets_go_of_it(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    slow = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    slow.execute("BEGIN")
    slow.execute("SELECT count(*) FROM segments").fetchone()
    body = Messages([b"x" * 10_000] * 1000)
    while wal_bytes(tmp_path) < WAL_LIMIT_BYTES + 10_000_000:
        await write(writer, EVENTS, body)
    slow.execute("ROLLBACK")
    slow.close()
    await write(writer, EVENTS, body)
    assert wal_bytes(tmp_path) <= WAL_LIMIT_BYTES
    await log.close()


async def test_the_write_ahead_log_is_merged_while_writing(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    for _ in range(10):
        await write(writer, EVENTS, Messages([b"x" * 10_000] * 1000))
        assert wal_bytes(tmp_path) < 60_000_000
    await log.close()


# ---------------------------------------------------------------------------------------------------- retention


async def test_trimming_drops_whole_segments_and_a_reader_below_is_told(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    for value in (b"a", b"b", b"c"):
        await write(writer, EVENTS, Messages([value] * 10))
    await log.trim(EVENTS, 15)
    assert await log.bounds(EVENTS) == (10, 30)
    reader = log.reader(EVENTS)
    with pytest.raises(OffsetOutOfRange, match="events-0 has offsets 10 to 30, and 0 was asked for"):
        await reader.poll(max_records=1, timeout_ms=0)
    reader.seek(10)
    assert list((await reader.poll(max_records=1, timeout_ms=0)).values) == [b"b"]
    await log.trim(EVENTS, 1_000_000)
    assert await log.bounds(EVENTS) == (30, 30)
    await write(writer, EVENTS, Messages([b"d"]))
    assert await log.bounds(EVENTS) == (30, 31)
    await log.close()


async def test_trimming_a_compacted_topic_drops_old_tombstones_alone(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    await write(await a_writer(log), STATE, Messages([b"kept", None, None], keys=[b"a", b"b", b"c"]))
    await log.trim(STATE, 2)
    batch = await log.reader(STATE).poll(max_records=9, timeout_ms=0)
    assert dict(zip(batch.keys, batch.values, strict=True)) == {b"a": b"kept", b"c": None}
    await log.close()


async def test_a_compacted_topic_keeps_one_row_a_key(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    writer = await a_writer(log)
    order = random.Random(1)
    for number in range(20):
        keys = [b"%d" % order.randrange(50) for _ in range(100)]
        await write(writer, STATE, Messages([b"%d" % number] * 100, keys=keys))
    batch = await log.reader(STATE).poll(max_records=1000, timeout_ms=0)
    assert len(set(batch.keys)) == len(batch) <= 50
    await log.close()


# ---------------------------------------------------------------------------------------------------- bad places, bad files


async def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made a folder"):
        await EmbeddedLog.open(tmp_path / "file" / "below")


async def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(Refused, match="cannot be opened: check that the folder exists, may be written"):
        await EmbeddedLog.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Refused, match="may be written"):
        asyncio.run(EmbeddedLog.open(tmp_path))


async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    log._db.execute("PRAGMA query_only = ON")  # noqa: SLF001 - SQLite's own way to the error of a read-only disk
    with pytest.raises(Refused, match="cannot be written: give this user write permission"):
        await write(await a_writer(log), EVENTS, Messages([b"x"]))
    await log.close()


# ---------------------------------------------------------------------------------------------------- a disk that nobody can write


async def written(directory: Path, *, is_merged: bool) -> EmbeddedLog:
    """Write a record, and close the log unless the record is to stay in the WAL."""
    log = await a_log(directory)
    await write(await a_writer(log), EVENTS, Messages([b"x"]))
    if is_merged:
        await log.close()
    return log


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def read_still(directory: Path) -> list[bytes | None]:
    still = EmbeddedLog.open_still(directory)
    try:
        return list((await still.reader(EVENTS).poll(max_records=10, timeout_ms=0)).values)
    finally:
        await still.close()


async def test_a_log_that_lies_still_is_read_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    await written(tmp_path, is_merged=True)
    assert await read_still(tmp_path) == [b"x"]
    assert names_in(tmp_path) == [FILE_NAME]


async def test_what_lies_in_the_wal_of_a_log_that_lies_still_is_read_too(tmp_path: Path) -> None:
    log = await written(tmp_path, is_merged=False)
    assert await read_still(tmp_path) == [b"x"]
    await log.close()


async def test_a_log_that_lies_still_takes_nothing(tmp_path: Path) -> None:
    await written(tmp_path, is_merged=True)
    still = EmbeddedLog.open_still(tmp_path)
    with pytest.raises(Refused, match="its disk is read-only: mount it for writing"):
        await write(await a_writer(still), EVENTS, Messages([b"y"]))
    await still.close()


def test_a_disk_that_can_be_written_does_not_lie_still(tmp_path: Path) -> None:
    assert not lies_still(tmp_path)


# ---------------------------------------------------------------------------------------------------- other versions, other programs


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    await (await a_log(tmp_path)).close()
    file = sqlite3.connect(tmp_path / FILE_NAME)
    file.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    file.close()
    with pytest.raises(Refused, match="was written by a newer version \\(schema 3, this one knows 2\\): use that version"):
        await EmbeddedLog.open(tmp_path)


async def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / FILE_NAME)
    file.execute("CREATE TABLE songs (title TEXT)")
    file.close()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(Refused, match="is a database of another program: choose another folder"):
        await EmbeddedLog.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Refused, match="is not a database, or damaged: move it away"):
        await EmbeddedLog.open(tmp_path)


async def test_a_damaged_file_is_refused_when_the_damage_is_met(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    await write(await a_writer(log), EVENTS, Messages([b"x" * 1000] * 1000))
    await log.close()
    whole = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(whole[:100_000] + b"\xff" * (len(whole) - 100_000))

    async def read_and_write() -> None:
        damaged = await EmbeddedLog.open(tmp_path)
        try:
            await values(damaged, EVENTS)
            await write(await a_writer(damaged), EVENTS, Messages([b"x"]))
        finally:
            await damaged.close()

    with pytest.raises(Refused, match="damaged: move it away"):
        await read_and_write()


async def test_damage_inside_a_segment_is_refused_too(tmp_path: Path) -> None:
    log = await a_log(tmp_path)
    await write(await a_writer(log), EVENTS, Messages([b"x"]))
    log._db.execute("UPDATE segments SET body = x'94c1'")  # noqa: SLF001 - damage that SQLite cannot see
    with pytest.raises(Refused, match="damaged: move it away"):
        await values(log, EVENTS)
    await log.close()
