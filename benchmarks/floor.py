"""The floor: a loop written by hand that parses, deduplicates and groups the same events and keeps nothing; the yardstick of every figure.

`python -m benchmarks.floor EVENTS` prints one JSON line. Start-up is left out: the clock of the CPU runs around the loop alone.
"""

import sys
import time
from pathlib import Path

import msgspec
import orjson

CHUNK = 4 << 20
SESSION_GAP = 300_000
STALE = 900_000

LONG_AGO = -(10**18)

Identity = tuple[str, str, str | None, str | None]


class FloorResult(msgspec.Struct, frozen=True):
    """What one run found and cost; times in seconds, `cpu_s` is user and system time of this process."""

    events: int
    cpu_s: float
    wall_s: float
    alerts: int
    turns: int
    sessions: int

    @property
    def cpu_s_per_million(self) -> float:
        """CPU seconds for a million events."""
        return self.cpu_s / self.events * 1e6


class Alert:
    """A firing or a resolved stretch; changes in place."""

    __slots__ = ("count", "last", "status")

    def __init__(self, status: str, last: int) -> None:
        self.status = status
        self.last = last
        self.count = 1


class Floor:
    """Alerts by (alertname, service, host, cluster), sessions by (cluster, service) that end after 5 minutes without a new alert."""

    def __init__(self) -> None:
        self.alerts: dict[Identity, Alert] = {}
        self.last_by_session: dict[tuple[str | None, str], int] = {}
        self.turns = 0
        self.sessions = 0

    def take(self, lines: list[bytes]) -> None:
        """Take lines in order; each must be a native event with a service."""
        loads, find = orjson.loads, self.alerts.get
        for line in lines:
            event = loads(line)
            at, status, labels = event["at"], event["status"], event["labels"]
            identity = labels["alertname"], labels["service"], labels.get("host"), labels.get("cluster")
            alert = find(identity)
            if alert is None or alert.status != status or at - alert.last > STALE:
                self._turn(identity, status, at)
                continue
            alert.count += 1
            if at > alert.last:  # noqa: PLR1730 - calling max() would make the floor slower than it need be
                alert.last = at

    def _turn(self, identity: Identity, status: str, at: int) -> None:
        self.turns += 1
        self.alerts[identity] = Alert(status, at)
        if status != "firing":
            return
        session = identity[3], identity[1]
        self.sessions += at - self.last_by_session.get(session, LONG_AGO) > SESSION_GAP
        self.last_by_session[session] = at


def run(path: Path) -> FloorResult:
    """Run the loop over a file of JSON lines."""
    floor, events = Floor(), 0
    cpu, wall = time.process_time(), time.perf_counter()
    with path.open("rb") as file:
        while lines := file.readlines(CHUNK):
            events += len(lines)
            floor.take(lines)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return FloorResult(events=events, cpu_s=cpu, wall_s=wall, alerts=len(floor.alerts), turns=floor.turns, sessions=floor.sessions)


def main() -> None:
    """Run the floor over the file named on the command line."""
    result = run(Path(sys.argv[1]))
    print(orjson.dumps({**msgspec.to_builtins(result), "cpu_s_per_million": round(result.cpu_s_per_million, 3)}).decode())


if __name__ == "__main__":
    main()
