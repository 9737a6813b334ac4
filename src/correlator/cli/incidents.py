"""`correlator incidents` reads the incidents topic."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from correlator.cli.errors import FailedError, explained
from correlator.cli.service import config_option, embedded_option, opened_log, settings_of
from correlator.cli.sought import Source, find_incident, incident_partitions
from correlator.cli.whole import whole_incident
from correlator.config.settings import Settings
from correlator.model.incident import IncidentDocument, IncidentState
from correlator.runtime.dossier import history_of
from correlator.runtime.ports import Batch, Log, Reader, TopicPartition, Transient
from correlator.runtime.published import PublishedLog
from correlator.runtime.topics import Topics

_RECORDS = 500
_POLL_MS = 250
_AWAY_S = 1.0
_NUMBERS = ("alerts", "firing")
_WIDEST = 10_000


@click.command()
@click.argument("start", metavar="[ID]", required=False)
@config_option
@embedded_option
@click.option("--all", "is_all", is_flag=True, help="List those too that were withdrawn: nothing is left of them.")
@click.option("--follow", is_flag=True, help="Go on with every update, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print whole documents, one a line.")
def incidents(start: str | None, *, config: str | None, embedded: Path | None, is_all: bool, follow: bool, as_json: bool) -> None:
    """Print incidents as they stand, the first opened first; with ID (or how it begins), that one whole, with its evidence and timeline.

    Incidents that were withdrawn are left out, unless --all asks for them. --json prints them in the order of their last updates.
    """
    if start is not None and follow:
        message = "--follow goes on with all incidents: leave it or the ID out"
        raise FailedError(message)
    with explained():
        settings = settings_of(config)
        if start is not None:
            click.echo(asyncio.run(_one(settings, Source(config, embedded, None), start, as_json=as_json)), nl=as_json)
            return
        try:
            if follow:
                asyncio.run(_follow(settings, embedded, as_json=as_json))
            else:
                print_incidents(asyncio.run(_newest(settings, embedded)), is_all=is_all, as_json=as_json)
        except KeyboardInterrupt:
            return


async def _one(settings: Settings, source: Source, start: str, *, as_json: bool) -> str:
    """Answer one incident whole: its text, or its newest document."""
    topics = Topics(settings.prefix)
    async with opened_log(settings, source.embedded, must_exist=True) as log:
        await incident_partitions(log, topics)
        found = await find_incident(PublishedLog(log, topics), start, source)
        if as_json:
            return found.body.decode()
        return whole_incident(msgspec.json.decode(found.body, type=IncidentDocument), await history_of(log, topics, found))


async def _newest(settings: Settings, embedded: Path | None) -> list[bytes]:
    """Answer the newest document of every incident, in the order of their last updates."""
    newest: dict[bytes, bytes] = {}
    async with opened_log(settings, embedded, must_exist=True) as log:
        async for key, body in documents(log, settings, is_endless=False):
            newest.pop(key, None)
            if body is not None:
                newest[key] = body
    return list(newest.values())


def print_incidents(bodies: list[bytes], *, is_all: bool, as_json: bool) -> None:
    """Print documents as they are, or as a table; without those that were withdrawn unless `is_all`."""
    found = [(body, msgspec.json.decode(body, type=IncidentDocument)) for body in bodies]
    shown = [(body, document) for body, document in found if is_all or document.state is not IncidentState.WITHDRAWN]
    if as_json:
        for body, _ in shown:
            click.echo(body)
        return
    print_table([document for _, document in shown])
    if len(shown) < len(found):
        click.echo(f"and {len(found) - len(shown)} withdrawn, which --all lists")


async def _follow(settings: Settings, embedded: Path | None, *, as_json: bool) -> None:
    async with opened_log(settings, embedded, must_exist=True) as log:
        async for _, body in documents(log, settings, is_endless=True):
            if body is not None:
                click.echo(body if as_json else one_line(msgspec.json.decode(body, type=IncidentDocument)))


async def documents(log: Log, settings: Settings, *, is_endless: bool) -> AsyncGenerator[tuple[bytes, bytes | None], None]:
    """Read all partitions of the incidents topic in turn; ends when all are read, unless `is_endless`."""
    topics = Topics(settings.prefix)
    partitions = [TopicPartition(topics.incidents, number) for number in range(await incident_partitions(log, topics))]
    readers = [log.reader(tp) for tp in partitions]
    ends = [(await log.bounds(tp)) for tp in partitions]
    for reader, (first, _) in zip(readers, ends, strict=True):
        reader.seek(first)
    try:
        while True:
            for reader, (_, end) in zip(readers, ends, strict=True):
                if not is_endless and reader.position >= end:
                    continue
                batch = await (_patiently(reader) if is_endless else reader.poll(max_records=_RECORDS, timeout_ms=_POLL_MS))
                for key, body in zip(batch.keys, batch.values, strict=True):
                    yield key or b"", body
            if not is_endless and all(reader.position >= end for reader, (_, end) in zip(readers, ends, strict=True)):
                return
    finally:
        for reader in readers:
            await reader.close()


async def _patiently(reader: Reader) -> Batch:
    """Poll, and wait for a log that went away: whoever follows wants to go on when it is back."""
    is_told = False
    while True:
        try:
            batch = await reader.poll(max_records=_RECORDS, timeout_ms=_POLL_MS)
        except Transient as error:
            if not is_told:
                click.echo(f"{error}; waiting for it", err=True)
            is_told = True
            await asyncio.sleep(_AWAY_S)
            continue
        if is_told:
            click.echo("it is back", err=True)
        return batch


def one_line(document: IncidentDocument) -> str:
    """Write an incident on one line."""
    return f"{document.updated}  {document.id}  r{document.revision:<3} {document.state:<9} {document.priority}  {document.title}"


def one_line_header() -> str:
    """Write what stands in the columns of such a line."""
    return f"{'updated':<24}  {'id':<20}  {'rev':<4} {'state':<9} {'P':<2}  incident"


def print_table(documents: list[IncidentDocument]) -> None:
    """Print incidents as a table: as wide as the terminal, or, into a file or pipe, as wide as the longest line, one line each."""
    if not documents:
        click.echo("no incidents")
        return
    table, console = _table(documents), Console(highlight=False)
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum
    console.print(table)


def _table(documents: list[IncidentDocument]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("opened", "state", "priority", "incident", "alerts", "firing", "owner", "id"):
        table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold", no_wrap=column in ("opened", "id"))
    for document in sorted(documents, key=lambda document: (document.opened, document.id)):
        counts = document.counts
        table.add_row(
            document.opened,
            document.state,
            document.priority,
            document.title,
            str(counts["alerts"] or counts["pending"]),
            str(counts["firing"] if counts["alerts"] else counts["pending"]),  # a guess is one of an alert that fires
            document.owner or "",
            document.id,
        )
    return table
