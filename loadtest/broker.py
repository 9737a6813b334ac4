"""A real Kafka broker without Docker: one node (KRaft) from Maven's jars, started, waited for and stopped by whoever needs it.

`python -m loadtest.broker` (`make kafka`) runs one until Ctrl-C. Tests and load tests use `Broker` or `running()`.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from loadtest.leash import Leash

ROOT: Final = Path(__file__).resolve().parent.parent
POM: Final = ROOT / "deploy" / "kafka" / "pom.xml"
CACHE: Final = ROOT / ".kafka"
CLUSTER_ID: Final = "Y29ycmVsYXRvci10ZXN0MQ"  # any 16 bytes; storage is formatted anew for every broker
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_PACKAGES: Final = {"java": "default-jre-headless", "mvn": "maven"}
_JAVA_LEAST: Final = 17
_HEAP: Final = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info")
_BRIEF: Final = ("-XX:TieredStopAtLevel=1",)
"""Compile quickly rather than well: a third of the CPU of a start, and slower where it works for long."""
_STARTED: Final = "Kafka Server started"
_PAUSE_S: Final = 0.05
USUAL_PORT: Final = 9092
"""Where commands look for a broker without settings."""
SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # A broker that was killed registers again only when its session from before is over: nine seconds by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # One node: what Kafka keeps for itself has one replica, and few partitions to open at every start.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # How often transactions are looked at that are open for too long: nobody wants to wait Kafka's ten seconds for that.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}


class BrokerError(Exception):
    """The broker cannot be had on this machine; the text says what is missing."""


def jars() -> Path:
    """Answer the folder of the broker's jars; Maven resolves them when it is not there. Raises `BrokerError`."""
    folder = CACHE / f"jars-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    need("mvn")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as unfinished:
        resolved = Path(unfinished) / "jars"
        command: list[str | Path] = ["mvn", "-q", "-B", "-f", POM, _PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={resolved}"]
        _checked(command, "Maven could not resolve the broker's jars")
        with suppress(OSError):
            resolved.rename(folder)
    assert folder.exists(), "ours, or that of another process that was quicker"
    return folder


def need(program: str) -> None:
    """Make sure of a program: Debian's package is installed where we may, else `BrokerError` names it."""
    if shutil.which(program) is not None:
        return
    package = _PACKAGES[program]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        message = f"'{program}' is missing: install {package} (Java {_JAVA_LEAST} or newer, and Maven) and try again"
        raise BrokerError(message)
    _checked(["apt-get", "update", "-qq"], "apt-get update failed")
    _checked(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], f"{package} could not be installed")


def _checked(command: list[str | Path], complaint: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        message = f"{complaint}: {(done.stdout + done.stderr).strip()[-2_000:]}"
        raise BrokerError(message)


def free_port(wanted: int = 0) -> int:
    """Answer a port of the loopback address that nobody listens on just now: the one that is wanted, if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a broker that stopped linger for a minute
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


class Broker:
    """One broker in a folder of its own. Its port stays the same when it is killed and started again."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        secure: str = "",
        users: tuple[str, ...] = (),
        is_brief: bool = False,
    ) -> None:
        """`port` is taken when it is free, else any other. `settings` are the broker's own, beside or instead of `SETTINGS`.

        `secure` names the security protocol of a second listener, at `secure_port`, where one is wanted; what that needs stands in
        `settings`. `users` are SCRAM credentials as Kafka's StorageTool takes them. One that `is_brief` starts quickly, for tests, and is
        not measured.
        """
        self.folder = folder
        self.port, self.secure_port, self._controller_port = free_port(port), free_port(), free_port()
        self._secure = secure
        self._settings = {**SETTINGS, **(settings or {})}
        self._users = users
        self._is_brief = is_brief
        self._server: subprocess.Popen[bytes] | None = None
        self._leash: Leash

    @property
    def address(self) -> str:
        """Host and port, as clients name it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "broker.log"

    def prepare(self) -> None:
        """Write the broker's settings and format its storage. Raises `BrokerError`."""
        need("java")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in self._all_settings().items()))
        command = [*self._java("kafka.tools.StorageTool", *_BRIEF), "format", "--standalone", "-t", CLUSTER_ID, "-c", self._properties]
        for user in self._users:
            command += ["--add-scram", user]
        _checked(command, "the broker's storage could not be formatted")

    @property
    def _properties(self) -> str:
        return str(self.folder / "server.properties")

    def _java(self, main: str, *flags: str) -> list[str | Path]:
        return ["java", *_HEAP, *flags, "-cp", f"{jars()}/*", main]

    def _all_settings(self) -> dict[str, str]:
        ports = {"PLAINTEXT": self.port, "CONTROLLER": self._controller_port}
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        if self._secure:
            ports[self._secure], protocols[self._secure] = self.secure_port, self._secure
        return {
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "log.dirs": str(self.folder / "storage"),
            **self._settings,
        }

    def start(self, *, patience_s: float = 60.0) -> None:
        """Start the broker and wait until it serves. Raises `BrokerError` with the end of its log."""
        if not (self.folder / "storage").exists():
            self.prepare()
        said = self.log.stat().st_size if self.log.exists() else 0
        command = [*self._java("kafka.Kafka", *(_BRIEF if self._is_brief else ())), self._properties]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._leash = Leash(self._server.pid)
        deadline = time.monotonic() + patience_s
        while _STARTED not in self._said_since(said):
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"the broker did not start; the end of {self.log}: {self._said_since(said)[-2_000:]}"
                raise BrokerError(message)
            time.sleep(_PAUSE_S)

    def _said_since(self, place: int) -> str:
        with self.log.open("rb") as log:
            log.seek(place)
            return log.read().decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send the broker a signal, such as SIGSTOP; it must be running."""
        assert self._server is not None, "the broker does not run"
        self._server.send_signal(number)

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._server is not None and self._server.poll() is None

    def kill(self) -> None:
        """End the broker's process at once; `start` brings it back with what it wrote: its system keeps that, as no power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut the broker down in good order; it is killed when that takes longer than 10 s."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._server is None:
            return
        self._server.send_signal(number)
        try:
            self._server.wait(10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._leash.end()
        self._server = None


@contextmanager
def running(folder: Path | None = None, *, port: int = 0, is_brief: bool = False) -> Iterator[Broker]:
    """Run a broker in `folder`, or in a temporary one that is deleted afterwards; the rest as of `Broker`. Raises `BrokerError`."""
    with tempfile.TemporaryDirectory(prefix="correlator-kafka-") as temporary:
        broker = Broker(folder if folder is not None else Path(temporary), port=port, is_brief=is_brief)
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


def main() -> None:
    """Run a broker until Ctrl-C or SIGTERM, where the service looks for one unless that port is taken; its topics go with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with running(port=USUAL_PORT) as broker:
            print(told(broker), flush=True)
            signal.pause()
    except BrokerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        return


def told(broker: Broker) -> str:
    """Say where a broker answers, and what to write into the settings where that is not the usual address."""
    lines = [f"Kafka answers at {broker.address}; Ctrl-C stops it and deletes its topics ({broker.folder})"]
    if broker.port != USUAL_PORT:
        lines.append(f"port {USUAL_PORT} is taken: give each command these settings (--config FILE), or others that name this broker:")
        lines.append(f"kafka: {{bootstrap: ['{broker.address}']}}")
        lines.append("topics: [{name: events, arrival: item}]  # for recordings; without this line live alerts are expected")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
