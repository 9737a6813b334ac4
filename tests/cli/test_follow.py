"""`incidents --follow` on a log that goes away and comes back."""

import pytest

from correlator.cli.incidents import documents
from correlator.config.settings import Settings
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Messages, TopicPartition, Transient
from correlator.runtime.topics import Topics

TOPICS = Topics("correlator")


async def a_log() -> MemoryLog:
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    writer = log.writer(None)
    await writer.start()
    await writer.begin()
    await writer.send(TopicPartition(TOPICS.incidents, 0), Messages([b"document"], keys=[b"id"]))
    await writer.commit()
    return log


def goes_away(log: MemoryLog, *, polls: int) -> None:
    left = polls

    def fail(call: str) -> None:
        nonlocal left
        if call == "poll:before" and left:
            left -= 1
            raise Transient("reading incidents: no broker answers")

    log.on_call = fail


async def test_who_follows_waits_for_a_log_that_went_away_and_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = await a_log()
    goes_away(log, polls=2)
    following = documents(log, Settings(), is_endless=True)
    assert await anext(following) == (b"id", b"document")
    await following.aclose()
    assert capsys.readouterr().err == "reading incidents: no broker answers; waiting for it\nit is back\n"


async def test_who_only_lists_does_not_wait() -> None:
    log = await a_log()
    goes_away(log, polls=1)
    with pytest.raises(Transient):
        await anext(documents(log, Settings(), is_endless=False))
