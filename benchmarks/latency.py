"""From a raw event to the first document that lists its alert: `python -m benchmarks.latency [--rates 5000 20000] [--seconds 30]`.

One worker process under live load: alerts that repeat, and twenty times a second a new one, on an island that was quiet. Both topics
are made beforehand so that the broker stamps records when it appends them; what counts is the difference of the two stamps. The time
until a reader of committed records has the document, by this machine's clock, is printed beside it. So is who used the CPU: where worker,
broker and load together want more cores than there are, what is measured is how long they wait for one another.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.brokers import Application, a_broker, an_application
from benchmarks.distinct import CHAIN, FAULTS, write_topology
from benchmarks.rounds import CORRELATOR, ROOT, Target

TARGET = Target(must=600.0, aim=250.0)
RATES = (5_000, 20_000)
PARTITIONS = 8
REPEATING = 2_000
LOUD = 100
"""Islands on which alerts repeat; on the others each new alert is the first."""
NEW_EVERY_S = 0.05
WARM_S, QUIET_S = 5.0, 5.0
_TURN_S = 0.002
_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_STAMPED = {"message.timestamp.type": "LogAppendTime"}


class _Member(msgspec.Struct):
    labels: dict[str, str]


class _Document(msgspec.Struct):
    members: list[_Member]


_DOCUMENT = msgspec.json.Decoder(_Document)


def make_topics(application: Application) -> None:
    """Make the two topics whose records the broker shall stamp."""
    admin = AdminClient({"bootstrap.servers": application.broker.address})
    incidents = {**_STAMPED, "cleanup.policy": "compact", "max.message.bytes": str(16 << 20)}
    topics = [
        NewTopic(application.raw, PARTITIONS, 1, config=_STAMPED),
        NewTopic(f"{application.prefix}.incidents", 1, 1, config=incidents),
    ]
    for made in admin.create_topics(topics).values():
        made.result()


def tail(island: int, rank: int) -> bytes:
    """Write one firing event from behind its time on; the pod names the alert.

    Each island is a cluster: twenty faults a second would be one to whom nobody says that they lie apart, and a document lists 200 members.
    """
    service = f"isle{island:04d}-{CHAIN[rank % len(CHAIN)]}"
    pod, cluster = f"{service}-{rank:04d}", f"isle{island:04d}"
    labels = {"alertname": "HighLatencyP99", "service": service, "severity": "warning", "pod": pod, "cluster": cluster}
    return msgspec.json.encode({"status": "firing", "labels": labels, "annotations": {"summary": f"slow: {service}"}})[1:]


class Usage(msgspec.Struct, frozen=True):
    """Seconds of CPU so far: of the load (this process), of the worker and of all on this machine; and the seconds themselves."""

    load: float
    worker: float
    machine: float
    clock: float

    @classmethod
    def now(cls, worker: int) -> "Usage":
        """Read what the system counts; `worker` is a process id."""
        columns = Path(f"/proc/{worker}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        everyone = list(map(int, Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]))
        idle = sum(everyone[3:5])
        ticks = int(columns[11]) + int(columns[12])
        return cls(time.process_time(), ticks / _TICKS_A_S, (sum(everyone) - idle) / _TICKS_A_S, time.monotonic())

    def since(self, before: "Usage") -> str:
        """Say who used how much of a core since then."""
        seconds = self.clock - before.clock
        load, worker, machine = (
            (mine - theirs) / seconds
            for mine, theirs in zip(msgspec.structs.astuple(self)[:3], msgspec.structs.astuple(before)[:3], strict=True)
        )
        return f"cores used: worker {worker:.2f}, load {load:.2f}, broker and others {machine - worker - load:.2f} of {os.cpu_count()}"


class Scene:
    """Load by the clock, and what became of the new alerts: all times in epoch ms."""

    def __init__(self, application: Application) -> None:
        bootstrap = application.broker.address
        self._raw = application.raw
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, "queue.buffering.max.messages": 1_000_000})
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "isolation.level": "read_committed"})
        self._consumer.assign([TopicPartition(f"{application.prefix}.incidents", 0, OFFSET_BEGINNING)])
        self.raised: dict[str, int] = {}
        self.listed: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.longest_turn_s = 0.0

    def play(self, rate: int, seconds: float) -> None:
        """Keep the load on for so long, then wait until all is listed."""
        tails = [tail(rank % LOUD, rank // LOUD) for rank in range(REPEATING)]
        started, turned, sent, new = time.monotonic(), 0.0, 0, 0
        while (now := time.monotonic() - started) < seconds + WARM_S:
            begin = b'{"at":%d,' % (time.time_ns() // 1_000_000)
            while sent < now * rate:
                sent += 1
                rank = sent % REPEATING
                self._producer.produce(self._raw, begin + tails[rank], partition=rank % PARTITIONS)
            if now >= WARM_S + new * NEW_EVERY_S:
                island, rank = LOUD + new % (FAULTS - LOUD), new // (FAULTS - LOUD)
                self._producer.produce(self._raw, begin + tail(island, rank), partition=new % PARTITIONS, on_delivery=self._note_raised)
                new += 1
            self._producer.poll(0)
            self._look(_TURN_S)
            self.longest_turn_s, turned = max(self.longest_turn_s, now - turned), now
        self._producer.flush(QUIET_S)
        deadline = time.monotonic() + QUIET_S
        while len(self.listed.keys() & self.raised.keys()) < new and time.monotonic() < deadline:
            self._look(_TURN_S)
        self._consumer.close()

    def _note_raised(self, error: KafkaError | None, message: Message) -> None:
        assert error is None, str(error)
        value = message.value()
        assert isinstance(value, bytes)
        self.raised[msgspec.json.decode(value, type=_Member).labels["pod"]] = message.timestamp()[1]

    def _look(self, timeout_s: float) -> None:
        for message in self._consumer.consume(1_000, timeout=timeout_s):
            value = message.value()
            if message.error() is not None or not isinstance(value, bytes):
                continue
            for member in _DOCUMENT.decode(value).members:
                pod = member.labels["pod"]
                if pod not in self.listed:
                    self.listed[pod] = message.timestamp()[1]
                    self.read[pod] = time.time_ns() // 1_000_000


def measure(application: Application, topology: Path, *, rate: int, seconds: float) -> float:
    """Print percentiles of one rate in ms; answers the 99th, infinite when an alert was not listed at all."""
    make_topics(application)
    log = application.settings.with_suffix(".log")
    command = [CORRELATOR, "run", "--config", application.settings, "--topology", topology, "--listen", "off"]
    with log.open("ab") as said:
        worker = subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=said)
    try:
        while b"restored; ready" not in log.read_bytes():
            if worker.poll() is not None:
                raise SystemExit(f"the worker ended:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        scene, before = Scene(application), Usage.now(worker.pid)
        scene.play(rate, seconds)
        used = Usage.now(worker.pid).since(before)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    missing = scene.raised.keys() - scene.listed.keys()
    appended = _percentiles([scene.listed[pod] - at for pod, at in scene.raised.items() if pod in scene.listed])
    read = _percentiles([scene.read[pod] - at for pod, at in scene.raised.items() if pod in scene.read])
    print(f"{rate:>8,} events/s {len(scene.raised):>6} alerts   append to append p50 {appended[49]:.0f} p99 {appended[98]:.0f} ms", end="")
    print(f"   to its reader p50 {read[49]:.0f} p99 {read[98]:.0f} ms{f'   {len(missing)} NEVER LISTED' if missing else ''}")
    print(f"{'':>8} {used}; the load stood still for {scene.longest_turn_s * 1000:.0f} ms at most", flush=True)
    return float("inf") if missing else appended[98]


def _percentiles(figures: list[int]) -> list[float]:
    return quantiles(figures, n=100, method="inclusive")


def main() -> None:
    """Measure each rate; exits 1 when one misses the target."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--rates", type=int, nargs="+", default=RATES)
    command.add_argument("--seconds", type=float, default=30.0)
    chosen = command.parse_args()
    with tempfile.TemporaryDirectory(prefix="correlator-bench-") as folder, a_broker() as broker:
        topology = Path(folder) / "topology.yaml"
        write_topology(topology, split_by=("cluster",))
        worst = 0.0
        for rate in chosen.rates:
            application = an_application(broker, f"at-{rate}", partitions=PARTITIONS, arrival="record")
            worst = max(worst, measure(application, topology, rate=rate, seconds=chosen.seconds))
    print(f"p99 at most {worst:.0f} ms   must {TARGET.must:.0f}   aim {TARGET.aim:.0f}   {TARGET.verdict(worst)}")
    sys.exit(TARGET.exit_code(worst))


if __name__ == "__main__":
    main()
