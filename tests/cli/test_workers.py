"""`run --workers N`: one service of several processes, supervised, with one HTTP for all."""

import asyncio
import os
import re
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from confluent_kafka.admin import AdminClient

from correlator.runtime.control import control_in_force
from correlator.runtime.kafka import Access, KafkaLog
from correlator.runtime.ports import TopicSettings

from loadtest.broker import Broker
from loadtest.company import Load, Service, a_storm, settings_in, topics_of
from tests.cli.program import correlator

pytestmark = pytest.mark.timeout(240)  # several processes and a broker on two cores
ANY_PORT = ("--listen", "127.0.0.1:0")


async def asked(url: str) -> tuple[int, str]:
    """Ask for a page; answer status and text."""

    def ask() -> tuple[int, str]:
        try:
            with urlopen(url) as answer:  # noqa: S310 - our own service
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def ready(url: str) -> None:
    while (await asked(f"{url}/-/ready"))[0] != 200:
        pass


async def received(url: str, least: int = 0) -> int:
    """Wait until at least so many items were received, and answer how many."""
    while True:
        found = re.search(r"^correlator_items_received_total (\d+)", (await asked(f"{url}/metrics"))[1], re.MULTILINE)
        if found is not None and int(found[1]) >= least:
            return int(found[1])


def pids_of(service: Service) -> list[int]:
    """Answer the processes of the workers."""
    listed = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in listed.split()]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def address_of(service: Service) -> str:
    found = re.search(r"http://[0-9.:]+", await service.until("listening"))
    assert found is not None
    return found[0]


async def test_one_service_of_two_processes_counts_for_both_and_never_back(tmp_path: Path, broker: Broker) -> None:
    settings, storm = settings_in(tmp_path, broker.address), a_storm(400, seed=3)
    log = await KafkaLog.open(Access([broker.address]))
    with Service(settings, "--workers", 2, *ANY_PORT) as service:
        url = await address_of(service)
        assert "starting" in (await asked(f"{url}/-/ready"))[1]
        await ready(url)
        await Load(log, topics_of(settings).raw("events"), storm).run()
        assert await received(url, len(storm)) == len(storm)
        victim, other = pids_of(service)
        os.kill(victim, signal.SIGKILL)
        await service.until("ended by signal 9; it is started again in 0.1 s")
        status, reasons = await asked(f"{url}/-/ready")
        assert (status, reasons) in [(503, "worker 0: starting\n"), (503, "worker 1: starting\n")]
        assert await received(url) == len(storm)
        await ready(url)
        assert await received(url) == len(storm)
        assert other in pids_of(service)
        service.process.send_signal(signal.SIGHUP)
        await service.until("was in force already")
        workers = pids_of(service)
        assert await service.stopped() == 0
    assert not any(map(lives, workers))
    await log.close()


async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    with Service(settings, "--workers", 2) as service:
        await service.until("restored; ready", times=2)
        workers = pids_of(service)
        service.process.kill()
        await service.ended()
        assert len(workers) == 2
        while any(map(lives, workers)):
            await asyncio.to_thread(os.sched_yield)


async def test_workers_until_idle_end_together_and_tell_of_all_events(tmp_path: Path, broker: Broker) -> None:
    settings, storm = settings_in(tmp_path, broker.address), a_storm(100, seed=4)
    run = ("run", "--config", settings, "--workers", 2, "--listen", "off", "--until-idle", "--json")
    assert correlator(*run).stdout.startswith('{"events":0,')
    log = await KafkaLog.open(Access([broker.address]))
    await Load(log, topics_of(settings).raw("events"), storm).run()
    await log.close()
    ended = correlator(*run)
    assert (ended.returncode, ended.stdout.split(",")[0]) == (0, '{"events":100'), ended.stderr


async def test_what_a_person_must_mend_never_starts_workers(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    log = await KafkaLog.open(Access([broker.address]))
    await log.open_topics([TopicSettings(topics_of(settings).frames, 5)])
    await log.close()
    ended = correlator("run", "--config", settings, "--workers", 2, "--listen", "off")
    assert ended.returncode == 2
    assert "frames has 5 partitions and needs 2, one for each domain of the topology: go back to the topology" in ended.stderr


async def test_what_a_person_must_mend_stops_all_workers(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    with Service(settings, "--workers", 2) as service:
        await service.until("restored; ready", times=2)
        admin = AdminClient({"bootstrap.servers": broker.address})
        [deleting] = admin.delete_topics([topics_of(settings).frames]).values()
        await asyncio.to_thread(deleting.result)
        assert await service.ended() == 2
        assert service.said[-1].endswith("stopped and said why, and all were stopped\n")


async def test_a_worker_that_dies_while_files_are_half_edited_comes_back_with_what_is_in_force(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    topology, written = tmp_path / "topology.yaml", settings.read_text()
    whole = topology.read_text()
    with Service(settings, "--workers", 2, *ANY_PORT) as service:
        url = await address_of(service)
        await service.until("restored; ready", times=2)
        first = await in_force(broker, settings)
        for text in ("services: {web: [", whole + "  wiki: {}\n"):
            restored = sum("restored; ready" in line for line in service.said)
            topology.write_text(text)
            settings.write_text("topics: [")
            os.kill(pids_of(service)[0], signal.SIGKILL)
            await service.until("restored; ready", times=restored + 1)
            settings.write_text(written)
            assert await in_force(broker, settings) == first
        topology.write_text("services: {web: [")
        service.process.send_signal(signal.SIGHUP)
        await service.until("reload refused, what was in force stays")
        topology.write_text(whole + "  wiki: {}\n")
        service.process.send_signal(signal.SIGHUP)
        await service.until("is in force now")
        assert await in_force(broker, settings) != first
        reloads = re.findall(r'^correlator_reloads_total{outcome="(\w+)"} (\d)', (await asked(f"{url}/metrics"))[1], re.MULTILINE)
        assert sorted(reloads) == [("accepted", "1"), ("refused", "1"), ("unchanged", "0")]
        assert await service.stopped() == 0


async def in_force(broker: Broker, settings: Path) -> str:
    """Answer the digest of what is in force."""
    log = await KafkaLog.open(Access([broker.address]))
    control = await control_in_force(log, topics_of(settings))
    await log.close()
    return control.digest


async def test_sighup_to_a_worker_of_a_supervisor_changes_nothing(tmp_path: Path, broker: Broker) -> None:
    with Service(settings_in(tmp_path, broker.address), "--workers", 2) as service:
        await service.until("restored; ready", times=2)
        os.kill(pids_of(service)[1], signal.SIGHUP)
        await service.until("SIGHUP is for the supervisor, which reads rules and topology; nothing was done")
        assert await service.stopped() == 0


async def test_workers_may_have_their_settings_from_standard_input(tmp_path: Path, broker: Broker) -> None:
    settings = settings_in(tmp_path, broker.address)
    run = ("run", "--config", "-", "--workers", 2, "--listen", "off", "--until-idle", "--json")
    ended = await asyncio.to_thread(correlator, *run, given=settings.read_text(), cwd=tmp_path)
    assert (ended.returncode, ended.stdout.split(",")[0]) == (0, '{"events":0'), ended.stderr


@pytest.mark.parametrize("workers", [1, 2])
async def test_whoever_asks_a_service_that_waits_for_its_broker_hears_why_it_is_not_ready(tmp_path: Path, workers: int) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("kafka: {bootstrap: ['127.0.0.1:1']}\n")
    with Service(settings, "--workers", workers, *ANY_PORT) as service:
        url = await address_of(service)
        await service.until("trying again in")
        status, reasons = await asked(f"{url}/-/ready")
        assert (status, "no Kafka broker answers at 127.0.0.1:1: " in reasons) == (503, True)
        assert (await asked(f"{url}/-/healthy"))[0] == 200
        assert await service.stopped() == -signal.SIGTERM
