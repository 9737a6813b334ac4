"""A broker for benchmarks, and an application on it: settings of its own, so that one broker serves many rounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson

from benchmarks.rounds import CORRELATOR, ROOT, Line, last_line
from loadtest.broker import Broker, BrokerError, running

RAW = "events"


class Application(msgspec.Struct, frozen=True):
    """One application on a broker: a prefix, and the settings file that names it."""

    broker: Broker
    prefix: str
    settings: Path

    @property
    def raw(self) -> str:
        """The raw topic as Kafka names it."""
        return f"{self.prefix}.{RAW}"

    def publish(self, events: Path) -> int:
        """Publish a recording, with the mark of its end; answers how many records."""
        count = last_line([CORRELATOR, "publish", "--config", self.settings, "--json", events])["records"]
        assert isinstance(count, int)
        return count

    def run_until_idle(self, topology: Path | None) -> Line:
        """Run one worker until all is judged; answers what it prints, its CPU seconds without start-up among it."""
        shown: list[str | Path] = [] if topology is None else ["--topology", topology]
        return last_line([CORRELATOR, "run", "--config", self.settings, *shown, "--listen", "off", "--until-idle", "--json"])


def an_application(broker: Broker, prefix: str, *, partitions: int = 1, arrival: str = "item", **sections: Any) -> Application:  # noqa: ANN401 - settings are YAML
    """Write settings below the broker's folder; JSON is YAML too. `sections` replace settings, `rules` among them."""
    content: dict[str, Any] = {
        "prefix": prefix,
        "kafka": {"bootstrap": [broker.address]},
        "rules": [str(ROOT / "rules")],
        "topology": [],
        "topics": [{"name": RAW, "partitions": partitions, "arrival": arrival}],
        **sections,
    }
    path = broker.folder / f"{prefix}.settings.yaml"
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return Application(broker, prefix, path)


@contextmanager
def a_broker() -> Iterator[Broker]:
    """Run a broker for as long as the block lasts; ends the benchmark with a message when it cannot be had."""
    try:
        with running() as broker:
            yield broker
    except BrokerError as error:
        raise SystemExit(str(error)) from error
