"""Very many alerts that expire in one tick, through the embedded service: 20,000 here, a million at night (HYPOTHESIS_PROFILE=night).

All of it is one transaction: what `kill -9` leaves is the whole tick or nothing of it, and whoever goes on ends each alert once.
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from correlator.model.calendar import format_rfc3339
from correlator.model.instant import MINUTE
from correlator.runtime.database import FILE_NAME

from loadtest.outcome import Outcome
from tests.builders import T0
from tests.cli.program import CORRELATOR, Running, peak_kib, running
from tests.profile import IS_NIGHT

ALERTS = 1_000_000 if IS_NIGHT else 20_000
LONGEST_S = 3_000 if IS_NIGHT else 100
EXPIRY = 15 * MINUTE
SPREAD = 10 * MINUTE
KIB_MOST = 120 * 1024 + 4 * ALERTS
"""What a run may have resident: the program, and 4 KiB an alert for its state, its last document and its decision."""
AMID_BYTES = 64 * ALERTS
"""So much on the write-ahead log is more than intake's commit, and less than half of the tick's."""

pytestmark = pytest.mark.timeout(2 * LONGEST_S + 100)


def onset(number: int) -> int:
    return T0 + number * SPREAD // ALERTS


def publish(log: Path, events: Iterator[bytes]) -> None:
    with subprocess.Popen([CORRELATOR, "publish", "--embedded", log, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None, "started with a pipe"
        process.stdin.writelines(events)
    assert process.returncode == 0


def an_event(at: int, name: str, pod: int) -> bytes:
    return (
        msgspec.json.encode({"at": at, "status": "firing", "labels": {"alertname": name, "service": f"s{pod % 50}", "pod": f"p{pod}"}})
        + b"\n"
    )


def peak_kib_until_idle(log: Path) -> int:
    """Run the service until all is judged; answer its largest resident size in KiB."""
    return peak_kib("run", "--embedded", log, "--listen", "off", "--until-idle")


def ended(log: Path) -> Counter[str | None]:
    """Count the alerts by when they ended, and check that each that did has exactly one decision of it."""
    with Outcome(log) as outcome:
        ends = {key.decode(): document["endsAt"] for key, document in outcome.kept("alerts")}
        decisions = (msgspec.json.decode(value or b"{}") for value in outcome.appended("decisions"))
        expired = Counter(decision["fingerprint"] for decision in decisions if decision["why"] == "expired")
    assert expired == Counter([fingerprint for fingerprint, end in ends.items() if end is not None]), "a commit is not whole"
    return Counter(ends.values())


def is_whole(ends: Counter[str | None]) -> bool:
    """Answer whether all alerts ended or none did; the one that came later may be there in either case."""
    return ends[None] >= ALERTS or ends.total() - ends[None] == ALERTS


def wal_bytes(log: Path) -> int:
    file = log / f"{FILE_NAME}-wal"
    return file.stat().st_size if file.exists() else 0


def kill_amid_its_commit(service: Running, log: Path) -> None:
    service.until("restored")
    while wal_bytes(log) < AMID_BYTES and service.process.poll() is None:
        os.sched_yield()
    service.process.kill()


def test_very_many_alerts_that_expire_in_one_tick_end_once_each_whatever_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    publish(log, (an_event(onset(number), "down", number) for number in range(ALERTS)))
    assert peak_kib_until_idle(log) < KIB_MOST
    assert ended(log) == {None: ALERTS}
    publish(log, iter([an_event(T0 + SPREAD + EXPIRY + 5 * MINUTE, "later", 0)]))
    with running(log, "--listen", "off", longest_s=LONGEST_S) as service:
        service.until("restored")
        service.process.kill()
    assert is_whole(ended(log))
    with running(log, "--listen", "off", longest_s=LONGEST_S) as service:
        kill_amid_its_commit(service, log)
    assert is_whole(ended(log))
    assert peak_kib_until_idle(log) < KIB_MOST
    assert ended(log) == Counter([format_rfc3339(onset(number) + EXPIRY) for number in range(ALERTS)]) + Counter([None])
