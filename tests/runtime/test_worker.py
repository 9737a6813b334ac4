"""The worker: what it makes anew, what it sets aside, what stops it, and how it follows the rules in force."""

import asyncio
import logging
from collections.abc import Iterable

import msgspec
import pytest

from correlator.config.settings import BatchSettings, Settings, TopicSettings
from correlator.frames.codec import decode_frame, encode_frame
from correlator.frames.control import Control
from correlator.frames.frame import FrameKind
from correlator.model.instant import SECOND, Instant
from correlator.runtime.fatal import StoppedError
from correlator.runtime.http import Readiness
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Batch, Messages, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.worker import Worker

from tests.builders import T0, a_control, a_tick, an_event

TOPICS = Topics("correlator")
EVENTS = TopicPartition(TOPICS.raw("events"), 0)
FRAMES = TopicPartition(TOPICS.frames, 0)
LETTERS = TopicPartition(TOPICS.dead_letters, 0)
FAILURES = 2


class Service:
    """A worker over a log in memory, made anew as often as a test likes."""

    def __init__(self, *, records: int = 16_000, arrival: str = "record") -> None:
        topic = TopicSettings.model_validate({"name": "events", "arrival": arrival})
        self.settings = Settings(topics=(topic,), batch=BatchSettings(records=records))
        self.log = MemoryLog()
        self.telemetry = Telemetry()
        self.worker = self.made(a_control())

    def made(self, control: Control) -> Worker:
        return Worker(self.log, self.settings, control, telemetry=self.telemetry, readiness=Readiness())

    async def opened(self) -> "Service":
        await self.log.open_topics(TOPICS.settings({"events": 1}, 1))
        return self

    async def write(self, tp: TopicPartition, values: Iterable[bytes], stamps: list[Instant] | None = None) -> None:
        writer = self.log.writer(None)
        await writer.begin()
        await writer.send(tp, Messages(list(values), timestamps=stamps))
        await writer.commit()

    async def events(self, count: int, *, first: int = 0) -> None:
        """Publish one event a second."""
        seconds = range(first, first + count)
        await self.write(EVENTS, [an_event(said=f"{second}s") for second in seconds], [T0 + second * SECOND for second in seconds])

    async def judge(self) -> None:
        """Run a new worker until all is judged."""
        await self.made(a_control()).run(until_idle=True)

    async def read(self, tp: TopicPartition) -> Batch:
        return await self.log.reader(tp).poll(max_records=10_000, timeout_ms=0)

    def count(self, name: str, **labels: str) -> int:
        return int(self.telemetry.registry.get_sample_value(f"correlator_{name}", labels) or 0)


class _NoTime(int):
    """An arrival that can be told from no other: judging it makes the program fail, looking how old it is does not."""

    def _fail(self, other: object) -> bool:
        raise TypeError(f"no order with {other!r}")

    __lt__ = __le__ = __gt__ = __ge__ = _fail


NO_TIME = _NoTime(0)
"""A record's time that no log may give: it makes the program fail on that record, as a fault of ours would."""


@pytest.mark.parametrize("records", [1, 7, 16_000])
async def test_a_record_on_which_the_program_fails_becomes_a_dead_letter_and_the_rest_goes_on(records: int) -> None:
    service = await Service(records=records).opened()
    await service.events(30)
    await service.write(EVENTS, [an_event(said="30s")], [NO_TIME])
    await service.events(20, first=31)
    await service.judge()
    letters = await service.read(LETTERS)
    assert letters.values == (an_event(said="30s"),)
    headers = dict((letters.headers or [])[0])
    assert (headers["reason"], headers["offset"]) == (b"fault", b"30")
    assert "TypeError" in msgspec.json.decode(headers["refusals"])[0]["detail"]
    assert service.count("items_received_total") == 51
    assert (service.count("items_forwarded_total"), service.count("items_rejected_total", reason="fault")) == (50, 1)


async def test_when_every_record_makes_the_program_fail_it_stops_and_says_so() -> None:
    service = await Service().opened()
    await service.write(EVENTS, [an_event()] * 150, [NO_TIME] * 150)
    with pytest.raises(StoppedError, match=r"intake .* stopped at .*events-0 offset \d+: TypeError: .*; this is a fault of the program"):
        await service.judge()


async def test_a_frame_that_is_none_stops_it_with_its_place() -> None:
    service = await Service().opened()
    await service.events(3)
    await service.judge()
    end = (await service.log.bounds(FRAMES))[1]
    await service.write(FRAMES, [b"?"])
    with pytest.raises(StoppedError, match=rf"correlate default stopped at correlator.frames-0 offset {end}: not a frame: .*; .* restore"):
        await service.judge()


async def test_a_frame_of_a_newer_version_stops_it() -> None:
    service = await Service().opened()
    await service.write(FRAMES, [msgspec.msgpack.encode([99, "other"])])
    with pytest.raises(StoppedError, match=r"a frame of format 99 needs a newer correlator; .*; start that version again"):
        await service.judge()


async def test_rules_in_force_that_cannot_be_read_stop_it() -> None:
    service = await Service().opened()
    writer = service.log.writer(None)
    await writer.begin()
    await writer.send(TopicPartition(TOPICS.control, 0), Messages([b"?"], keys=[b"digest"]))
    await writer.commit()
    with pytest.raises(
        StoppedError, match=r"putting rules in force stopped at correlator.control: not a control payload: .* restore a copy"
    ):
        await service.judge()


async def test_frames_that_are_gone_stop_it() -> None:
    service = await Service().opened()
    await service.events(3)
    await service.judge()
    await service.log.trim(FRAMES, 10_000)
    await service.events(3, first=5)
    with pytest.raises(StoppedError, match="these records are gone, or this is another log"):
        await service.judge()


async def test_a_position_beyond_the_end_stops_it() -> None:
    service, other = await Service().opened(), await Service().opened()
    await service.events(9)
    await service.judge()
    other.log._positions = service.log._positions  # noqa: SLF001 - positions of another log, as after a topic was made anew
    with pytest.raises(StoppedError, match=r"events-0 has offsets 0 to 0, and 9 was asked for; these records are gone"):
        await other.judge()


async def test_input_that_was_deleted_unread_is_counted_and_the_rest_goes_on() -> None:
    service = await Service().opened()
    await service.events(3)
    await service.judge()
    await service.events(6, first=3)
    await service.log.trim(EVENTS, 7)
    await service.judge()
    assert service.count("records_lost_total") == 4
    assert service.count("items_received_total") == 5


async def test_a_task_that_fails_for_a_passing_reason_is_made_anew_and_tells_of_it_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = await Service().opened()
    await service.events(3)
    failures = iter([Transient("busy")] * FAILURES)

    def fail(call: str) -> None:
        if call == "send_offsets:before" and (error := next(failures, None)) is not None:
            raise error

    service.log.on_call = fail
    await service.judge()
    assert service.count("items_received_total") == 3
    failed = [message.removesuffix(" failed: busy; it is made anew until it works") for message in caplog.messages if "failed" in message]
    again = dict([message.split(" works again, after ") for message in caplog.messages if "works again" in message])
    assert sorted(failed) == sorted(again)
    assert sum(int(times.split()[0]) for times in again.values()) == FAILURES


async def test_a_log_that_cannot_be_opened_yet_is_tried_again() -> None:
    service = await Service().opened()
    failures = iter([Transient("busy")] * 2)

    def fail(call: str) -> None:
        if call == "open_topics:before" and (error := next(failures, None)) is not None:
            raise error

    await service.events(3)
    service.log.on_call = fail
    await service.judge()
    assert service.count("items_received_total") == 3


async def test_intake_follows_rules_that_are_put_in_force_while_it_runs() -> None:
    service = await Service().opened()
    await service.events(3)
    running = asyncio.create_task(service.worker.run())
    await service.worker.opened.wait()
    later = msgspec.structs.replace(a_control(), rules=msgspec.structs.replace(a_control().rules, time=ANOTHER_TIME))
    assert await service.worker.put_in_force(later)
    assert not await service.worker.put_in_force(later)
    await service.events(3, first=3)
    async with asyncio.timeout(20):
        while not await service.worker.is_idle():
            await service.read(FRAMES)
    service.worker.stop.set()
    await running
    frames = [decode_frame(value or b"") for value in (await service.read(FRAMES)).values]
    kinds = [(frame.kind, frame.digest) for frame in frames if frame.kind is not FrameKind.TICK]
    place = kinds.index((FrameKind.CONTROL, later.digest))
    assert {digest for _, digest in kinds[:place]} == {a_control().digest}
    assert kinds[-1] == (FrameKind.ROWS, later.digest)
    assert frames[-1].news or any(frame.news for frame in frames[place:]), "labels travel again"


async def test_a_raw_topic_that_left_the_settings_does_not_make_time_stand_still() -> None:
    """Nobody was left to agree with the ticks of the one that stayed: live time stood still for ever."""
    service = await Service().opened()
    await service.write(FRAMES, [encode_frame(a_tick("0", source=f"{TOPICS.raw('gone')}-0"))])
    await service.events(1)
    running = asyncio.create_task(service.worker.run())
    async with asyncio.timeout(20):
        while not service.count("items_judged_total", verdict="new"):
            await service.read(FRAMES)
    assert (service.count("sources", standing="live"), service.count("sources", standing="fallen_out")) == (1, 0)
    assert service.count("ticks_ignored_total") == 0
    service.worker.stop.set()
    await running
    again = Service()
    again.log = service.log
    again.worker = again.made(a_control())
    await again.judge()
    assert again.count("sources", standing="live") == 1, "a restore knows it too"


ANOTHER_TIME = msgspec.structs.replace(a_control().rules.time, reorder=5 * SECOND)
