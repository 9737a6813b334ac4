"""What is put in force, and what is not."""

import asyncio

import msgspec
import pytest

from correlator.frames.codec import decode_frame
from correlator.frames.control import CONTROL_VERSION, Control, read_control
from correlator.frames.frame import FrameError
from correlator.model.incident import AlertDocument
from correlator.model.rule import RuleSet
from correlator.model.topology import Node, NodeKind, Topology
from correlator.model.version import NewerVersionError
from correlator.runtime.control import ControlReader, newest_control, put_in_force
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Fenced, Messages, Refused, TopicPartition
from correlator.runtime.topics import Topics

TOPICS = Topics("test")


def a_control(domain: str | None) -> Control:
    node = Node("checkout", NodeKind.SERVICE, domain=domain)
    return Control(RuleSet(), Topology((node, Node("cart", NodeKind.SERVICE, domain="shop"))))


async def test_a_topology_that_moves_a_service_to_another_domain_is_refused() -> None:
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 2))
    await put_in_force(log, TOPICS, a_control(None), domains=2)
    with pytest.raises(Refused, match="moves 'checkout' from domain 'default' to 'shop'"):
        await put_in_force(log, TOPICS, a_control("shop"), domains=2)
    assert await newest_control(log, TOPICS) == a_control(None)


async def test_what_is_in_force_is_not_put_in_force_again() -> None:
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 2))
    await put_in_force(log, TOPICS, a_control(None), domains=2)
    before = await log.bounds(TOPICS.partition(TOPICS.frames))
    await put_in_force(log, TOPICS, a_control(None), domains=2)
    assert await log.bounds(TOPICS.partition(TOPICS.frames)) == before


def with_services(**domain_by_name: str | None) -> Control:
    return Control(RuleSet(), Topology(tuple([Node(name, NodeKind.SERVICE, domain=domain) for name, domain in domain_by_name.items()])))


async def a_log(control: Control) -> MemoryLog:
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 2))
    assert await put_in_force(log, TOPICS, control, domains=2)
    return log


async def write_alert(log: MemoryLog, state: str) -> None:
    """Write the document of an alert of `db`, which the default domain knows."""
    document = an_alert_document(state)
    writer = log.writer(None)
    await writer.begin()
    await writer.send(TopicPartition(TOPICS.alerts, 0), Messages([msgspec.json.encode(document)], keys=[b"00"]))
    await writer.commit()


def an_alert_document(state: str) -> AlertDocument:
    began = "2026-01-05T00:00:00Z"
    labels = {"alertname": "Down", "service": "db"}
    return AlertDocument("00", labels, {}, None, state, began, None, began, 1, None, None)


async def no_rest(_: float) -> None:
    """Try again at once."""


async def control_digests(log: MemoryLog, partition: int) -> list[str]:
    batch = await log.reader(TopicPartition(TOPICS.frames, partition)).poll(max_records=99, timeout_ms=0)
    return [decode_frame(value or b"").digest for value in batch.values]


async def test_of_two_that_change_the_rules_together_each_gets_its_turn_and_the_newest_wins() -> None:
    before = with_services(cart="shop")
    log = await a_log(before)
    rivals = [with_services(cart="shop", **{name: None}) for name in ("a", "b")]
    done = await asyncio.gather(*[put_in_force(log, TOPICS, rival, domains=2, rest=no_rest) for rival in rivals])
    assert done == [True, True]
    orders = [await control_digests(log, partition) for partition in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted([before.digest, *[rival.digest for rival in rivals]])
    newest = await newest_control(log, TOPICS)
    assert newest is not None
    assert newest.digest == orders[0][-1]


async def test_one_that_is_fenced_again_and_again_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    log = await a_log(with_services(cart="shop"))

    def overtake(call: str) -> None:
        if call == "begin:before":
            log.fence(f"{TOPICS.prefix}-control")

    log.on_call = overtake
    with pytest.raises(Fenced):
        await put_in_force(log, TOPICS, with_services(cart="shop", a=None), domains=2, rest=no_rest)
    assert len(await control_digests(log, 0)) == 1
    assert not caplog.records, "it is no warning that two start together"


async def test_a_reader_tells_what_is_in_force_and_then_only_news() -> None:
    first, second, third = [with_services(cart="shop", **dict.fromkeys(names)) for names in ("", "a", "ab")]
    log = await a_log(first)
    reader = ControlReader(log, TOPICS)
    assert await reader.in_force() == first
    assert await reader.news() is None
    for control in (second, third, first):
        await put_in_force(log, TOPICS, control, domains=2)
    assert await reader.news() == first
    assert await reader.news() is None


async def test_without_any_rules_in_force_it_says_what_to_do() -> None:
    log = MemoryLog()
    await log.open_topics(TOPICS.settings({"events": 1}, 1))
    with pytest.raises(Refused, match="holds no rules: start `correlator run` again"):
        await ControlReader(log, TOPICS).in_force()


async def test_a_topology_with_other_domains_is_refused() -> None:
    log = await a_log(with_services(cart="shop"))
    with pytest.raises(Refused, match="names the domains default, store, and this log was made for default, shop"):
        await put_in_force(log, TOPICS, with_services(stock="store"), domains=2)


@pytest.mark.parametrize("state", ["firing", "held", "kept"])
async def test_a_new_service_is_not_taken_to_another_domain_while_its_alert_is_active(state: str) -> None:
    log = await a_log(with_services(cart="shop"))
    await write_alert(log, state)
    wanted = with_services(cart="shop", db="shop")
    with pytest.raises(Refused, match="moves 'db' from domain 'default' to 'shop' while its alert Down fires: wait until it is resolved"):
        await put_in_force(log, TOPICS, wanted, domains=2)
    assert await put_in_force(log, TOPICS, with_services(cart="shop", db=None), domains=2)
    await write_alert(log, "resolved")
    assert await put_in_force(log, TOPICS, with_services(cart="shop", mail="shop"), domains=2)


def test_rules_of_a_newer_format_are_told_from_damaged_ones() -> None:
    newer = msgspec.msgpack.encode({"version": CONTROL_VERSION + 1, "rules": 7})
    with pytest.raises(NewerVersionError, match="rules of format 2 need a newer correlator"):
        read_control(newer)
    with pytest.raises(FrameError, match="not a control payload"):
        read_control(b"\xc1")
