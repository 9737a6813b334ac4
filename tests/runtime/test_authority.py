"""Who puts rules in force, and how it learns that another application did so under the same prefix."""

import asyncio
import logging

import pytest

from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.model.rule import RuleSet
from correlator.model.topology import Node, NodeKind, Topology
from correlator.runtime.authority import Authority
from correlator.runtime.control import ControlReader
from correlator.runtime.memory import MemoryLog
from correlator.runtime.ports import Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics

SETTINGS = Settings()
TOPICS = Topics(SETTINGS.prefix)


def a_company(*names: str) -> Control:
    return Control(RuleSet(), Topology(tuple([Node(name, NodeKind.SERVICE) for name in names])))


SHOP, BANK = a_company("cart", "checkout"), a_company("ledger")


async def an_authority(log: MemoryLog, control: Control) -> tuple[Authority, Telemetry]:
    telemetry = Telemetry()
    authority = Authority(log, SETTINGS, domains=1, telemetry=telemetry)
    await authority.open(None)
    await authority.put_in_force(control)
    return authority, telemetry


def counted(telemetry: Telemetry) -> float | None:
    return telemetry.registry.get_sample_value("correlator_others_rules_total")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_another_application_under_the_same_prefix_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    ours, telemetry = await an_authority(log, SHOP)
    reader = ControlReader(log, TOPICS)
    await ours.look(reader)
    assert (counted(telemetry), warnings(caplog)) == (0, [])
    _, others = await an_authority(log, BANK)
    for _ in range(3):
        await ours.look(reader)
    [warning] = warnings(caplog)
    assert warning.startswith(f"another service put its rules and topology (1 services, hosts and others) in force: {BANK.digest} instead")
    assert warning.endswith("two applications share the prefix 'correlator': stop one, and give it a `prefix` of its own")
    assert (counted(telemetry), counted(others)) == (1, 0)


async def test_what_another_put_in_force_before_the_first_look_is_seen_too(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    ours, telemetry = await an_authority(log, SHOP)
    await an_authority(log, BANK)
    await ours.look(ControlReader(log, TOPICS))
    assert (counted(telemetry), len(warnings(caplog))) == (1, 1)


async def test_our_own_changes_and_those_alike_are_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    ours, telemetry = await an_authority(log, SHOP)
    await an_authority(log, SHOP)
    reader = ControlReader(log, TOPICS)
    await ours.look(reader)
    assert await ours.put_in_force(BANK)
    await ours.look(reader)
    assert (counted(telemetry), warnings(caplog)) == (0, [])


async def test_a_log_that_is_away_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    ours, telemetry = await an_authority(log, SHOP)
    await an_authority(log, BANK)
    rests = 0

    def away(call: str) -> None:
        if call == "poll:before" and rests < 2:
            raise Transient("no broker answers")

    async def rest(_: float) -> None:
        nonlocal rests
        rests += 1
        if rests == 4:
            watching.cancel()

    log.on_call = away
    watching = asyncio.create_task(ours.watch(rest))
    await asyncio.gather(watching, return_exceptions=True)
    assert (counted(telemetry), len(warnings(caplog))) == (1, 1)
