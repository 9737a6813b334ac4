"""What is put in force, and what is not."""

import pytest

from correlator.frames.control import Control
from correlator.model.rule import RuleSet
from correlator.model.topology import Node, NodeKind, Topology
from correlator.runtime.control import newest_control, put_in_force
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Refused
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
