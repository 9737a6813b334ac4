"""`correlator demo` plays a storm on a shop through the real service, on an embedded log in a temporary folder."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from correlator.cli.errors import FailedError, explained
from correlator.cli.incidents import one_line, one_line_header
from correlator.cli.replay import load_control
from correlator.config.settings import Settings, TopicSettings
from correlator.model.event import Verdict
from correlator.model.incident import IncidentDocument, IncidentState
from correlator.model.instant import MINUTE, Instant
from correlator.runtime import shop
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.files import Records
from correlator.runtime.http import Readiness
from correlator.runtime.ports import Log, Reader, TopicPartition
from correlator.runtime.publish import publish
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics
from correlator.runtime.worker import Worker

TOPOLOGY: Final = "topologies/demo/shop.yaml"
RULES: Final = "rules/default.yaml"
START: Final[Instant] = 1_767_261_600_000
"""The storm begins at 2026-01-01T10:00:00Z, whenever it is played: a demo shows the same each time."""
BATCH_RECORDS: Final = 200
_SHOWN: Final = 12
_POLL_MS: Final = 100
_OPEN_NOW: Final = (IncidentState.OPEN, IncidentState.REOPENED)


@click.command()
@click.option("--seconds", type=click.FloatRange(min=0), default=12.0, show_default=True, help="How long the storm of 40 minutes takes.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed plays another noise.")
@click.option("--save", metavar="FILE", type=click.Path(path_type=Path), help="Only write the storm's events, to replay or publish them.")
@click.option("--json", "as_json", is_flag=True, help="Print only the summary, as one JSON line.")
def demo(*, seconds: float, seed: int, save: Path | None, as_json: bool) -> None:
    """Play a storm: a shop of 30 services, three faults at once, noise and duplicates. Ends by itself with a summary."""
    if save is not None:
        with explained():
            save.write_bytes(b"".join([line + b"\n" for line in _lines(seed)]))
        click.echo(f"events of the storm written to {save}")
        return
    if not Path(TOPOLOGY).exists():
        message = f"{TOPOLOGY} is not here; run the demo in the project's folder"
        raise FailedError(message)
    console = Console(quiet=as_json)
    with explained(), tempfile.TemporaryDirectory(prefix="correlator-demo-") as folder:
        played = asyncio.run(_Demo(console, seed).play(Path(folder), seconds))
    if as_json:
        click.echo(msgspec.json.encode(played.summary()))
    else:
        played.print_summary(console)


class _Demo:
    """One playing of the storm: a publisher, the service, and a reader of what it writes."""

    def __init__(self, console: Console, seed: int) -> None:
        self._console = console
        self._seed = seed
        self._telemetry = Telemetry()
        self._incidents: dict[str, IncidentDocument] = {}
        self._told: set[str] = set()
        self._settings = Settings(topics=(TopicSettings(name="events", arrival="item"),))
        self._topics = Topics(self._settings.prefix)

    async def play(self, folder: Path, seconds: float) -> "_Demo":
        """Run the service over the storm until all of it is judged."""
        log = await EmbeddedLog.open(folder)
        try:
            control = load_control([RULES], [TOPOLOGY])
            worker = Worker(log, self._settings, control, telemetry=self._telemetry, readiness=Readiness())
            service = asyncio.create_task(worker.run())
            await worker.opened.wait()
            publishing = asyncio.create_task(self._publish(log, seconds))
            await self._watch(log, worker, publishing)
            worker.stop.set()
            await service
        finally:
            await log.close()
        return self

    async def _publish(self, log: Log, seconds: float) -> None:
        lines = _lines(self._seed)
        pause = seconds * BATCH_RECORDS / len(lines)
        for batch in _batches(lines):
            await publish(log, self._topics.raw("events"), iter([batch]), marks_end=False)
            await asyncio.sleep(pause)
        await publish(log, self._topics.raw("events"), iter([]), marks_end=True)

    async def _watch(self, log: Log, worker: Worker, publishing: asyncio.Task[None]) -> None:
        reader = log.reader(TopicPartition(self._topics.incidents, 0))
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=8, get_renderable=self._screen):
                async for _ in self._updates(reader, worker, publishing):
                    pass
        else:
            self._console.print("incidents of more than one alert, as they change; times are those of the events", soft_wrap=True)
            self._console.print(one_line_header(), highlight=False, soft_wrap=True)
            async for before, document in self._updates(reader, worker, publishing):
                self._tell(before, document)
        await reader.close()

    async def _updates(
        self, reader: Reader, worker: Worker, publishing: asyncio.Task[None]
    ) -> AsyncIterator[tuple[IncidentDocument | None, IncidentDocument]]:
        """Read incidents as they are written, until everything published is judged and read."""
        while True:
            is_done = publishing.done() and await worker.is_idle()
            batch = await reader.poll(max_records=500, timeout_ms=_POLL_MS)
            decoded = [msgspec.json.decode(body, type=IncidentDocument) for body in batch.values if body is not None]
            for document in sorted(decoded, key=lambda document: document.updated):
                before = self._incidents.get(document.id)
                self._incidents[document.id] = document
                yield before, document
            if is_done and not len(batch):
                publishing.result()
                return

    def _tell(self, before: IncidentDocument | None, document: IncidentDocument) -> None:
        is_news = before is None or before.state is not document.state or document.id not in self._told
        if is_news and document.state in (*_OPEN_NOW, IncidentState.RESOLVED) and document.counts["alerts"] > 1:
            self._told.add(document.id)
            self._console.print(one_line(document), highlight=False, soft_wrap=True)

    # What is shown

    def _screen(self) -> Group:
        table = Table(box=None, pad_edge=False, expand=True)
        for column in ("state", "prio", "incident", "alerts", "firing", "owner"):
            table.add_column(column)
        for document in self._ranked()[:_SHOWN]:
            style = "bold red" if document.state in _OPEN_NOW else "dim"
            table.add_row(
                Text(document.state, style=style),
                document.priority,
                document.title,
                str(document.counts["alerts"]),
                str(document.counts["firing"]),
                document.owner or "",
            )
        return Group(Text(self._funnel_line(), style="bold"), Text(), table)

    def _ranked(self) -> list[IncidentDocument]:
        return sorted(
            self._incidents.values(), key=lambda document: (document.state not in _OPEN_NOW, -document.counts["alerts"], document.id)
        )

    def _count(self, name: str, **labels: str) -> int:
        return int(self._telemetry.registry.get_sample_value(f"correlator_{name}", labels) or 0)

    def _funnel_line(self) -> str:
        new = self._count("items_judged_total", verdict=Verdict.NEW)
        now = sum(bool(document.state in _OPEN_NOW) for document in self._incidents.values())
        return (
            f"{self._count('items_received_total'):,} events → {new:,} alert stretches → {len(self._incidents)} incidents, {now} open now"
        )

    def summary(self) -> dict[str, object]:
        """Answer the figures and the faults played, each with the incident that names its root."""
        verdicts = {verdict: self._count("items_judged_total", verdict=verdict) for verdict in Verdict if verdict is not Verdict.REJECTED}
        documents = [document for document in self._incidents.values() if document.state is not IncidentState.WITHDRAWN]
        return {
            "events": self._count("items_received_total"),
            "rejected": self._count("items_received_total") - self._count("items_forwarded_total"),
            "verdicts": verdicts,
            "incidents": len(documents),
            "with_several_alerts": sum(document.counts["alerts"] > 1 for document in documents),
            "faults": [{"root": fault.root, "name": fault.name, "incident": self._named_by(fault)} for fault in shop.FAULTS],
        }

    def _named_by(self, fault: shop.Fault) -> str | None:
        """Answer the largest incident of the fault's time whose first root cause is the faulty service."""
        named = [document for document in self._ranked_by_size() if document.root_causes and document.root_causes[0].entity == fault.root]
        return named[0].id if named else None

    def _ranked_by_size(self) -> list[IncidentDocument]:
        return sorted(self._incidents.values(), key=lambda document: (-document.counts["alerts"], document.id))

    def print_summary(self, console: Console) -> None:
        """Print the funnel, the largest incidents with their evidence, and what was really broken."""
        summary = self.summary()
        verdicts = summary["verdicts"]
        assert isinstance(verdicts, dict)
        console.print()
        judged = ", ".join([f"{count:,} {verdict}" for verdict, count in verdicts.items() if count])
        console.print(f"{summary['events']:,} events: {judged}", highlight=False, soft_wrap=True)
        console.print(_told_incidents(summary), highlight=False, soft_wrap=True)
        for document in self._ranked_by_size()[:5]:
            console.print(
                f"\n[bold]{document.title}[/bold]  ({document.id}, {document.priority}, owner {document.owner or 'unknown'})",
                highlight=False,
                soft_wrap=True,
            )
            console.print(
                f"  {document.counts['alerts']} alerts at {document.counts['entities']} services", highlight=False, soft_wrap=True
            )
            for cause in document.root_causes[:1]:
                for line in cause.evidence:
                    console.print(f"  {cause.entity} ({cause.confidence:.0%}): {line}", highlight=False, soft_wrap=True)
        self._print_truth(console)

    def _print_truth(self, console: Console) -> None:
        console.print("\nWhat was really broken:")
        for fault in shop.FAULTS:
            incident = self._named_by(fault)
            minutes = f"{fault.start // MINUTE}-{fault.end // MINUTE} min"
            found = f"found as {incident}" if incident else "no incident names it"
            console.print(f"  {fault.root}: {fault.name} ({minutes}): {found}", highlight=False, soft_wrap=True)


def _told_incidents(summary: dict[str, object]) -> str:
    """Say how many incidents name a fault that was played, and how many are the noise beside."""
    total, several, faults = summary["incidents"], summary["with_several_alerts"], summary["faults"]
    assert isinstance(total, int), "counted"
    assert isinstance(several, int), "counted"
    assert isinstance(faults, list), "those of the shop"
    named = len({fault["incident"] for fault in faults} - {None})
    return f"{total} incidents: {named} of the {len(faults)} faults, {total - named} of noise; {total - several} of one alert each"


def _lines(seed: int) -> list[bytes]:
    return [msgspec.json.encode(event) for event in shop.events(seed, START)]


def _batches(lines: list[bytes]) -> Iterator[Records]:
    source, first = iter(lines), 1
    while batch := list(islice(source, BATCH_RECORDS)):
        yield Records(batch, range(first, first + len(batch)))
        first += len(batch)
