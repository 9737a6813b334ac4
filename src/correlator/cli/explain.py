"""`correlator explain` says why: of an incident, of an alert, or of what a file holds."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from correlator.cli.errors import FailedError, explained
from correlator.cli.service import config_option, embedded_option
from correlator.cli.sought import INCIDENTS_FILE, Sought, Source, find_in_file, find_labelled, find_named, opened, replay_option
from correlator.cli.told import alert_told, incident_told
from correlator.model.explanation import AlertTold, IncidentTold
from correlator.runtime.cases import Cases
from correlator.runtime.published import Published


@click.command()
@click.argument("subject", metavar="INCIDENT|FINGERPRINT|LABEL=VALUE...|FILE", nargs=-1, required=True)
@config_option
@embedded_option
@replay_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an incident or alert; docs/schemas/explanation.schema.json.")
def explain(subject: Sequence[str], *, config: str | None, embedded: Path | None, folder: Path | None, as_json: bool) -> None:
    """Say why: the root and what it affects, and why each alert joined, was held, moved, came back or ended.

    INCIDENT is an id and FINGERPRINT an alert's, or how it begins. LABEL=VALUE names alerts by their labels. FILE holds events, or
    documents of incidents or alerts (- for standard input); the folder of a replay stands for all its incidents. Of several, only the
    answers are told.
    """
    with explained():
        source, path = _source_of(subject, Source(config, embedded, folder))
        click.echo(asyncio.run(_answer(subject, source, path, as_json=as_json)), nl=False)


def _source_of(subject: Sequence[str], source: Source) -> tuple[Source, Path | None]:
    """Tell where to look, and the file that is asked about if it is one: what a replay wrote is looked up beside it."""
    path = Path(subject[0])
    if len(subject) > 1 or (not path.exists() and subject[0] != "-"):
        return source, None
    folder = path if path.is_dir() else path.parent
    is_alone = subject[0] != "-" and source.config is None and source.embedded is None and source.folder is None
    if is_alone and (folder / INCIDENTS_FILE).exists():
        return Source(None, None, folder), path
    return source, path


async def _answer(subject: Sequence[str], source: Source, path: Path | None, *, as_json: bool) -> str:
    async with opened(source) as published:
        sought = await _sought(published, subject, source, path=path)
        cases = Cases(published)
        if len(sought.incidents) == 1:
            incidents = [(await cases.incident(sought.incidents[0])).explanation]
        else:
            incidents = [told.explanation for told in await cases.incidents(sought.incidents)] if sought.incidents else []
        told: list[IncidentTold | AlertTold] = [
            *sorted(incidents, key=lambda one: (one.opened, one.id)),
            *await cases.alerts(sought.alerts),
        ]
    if as_json:
        return "".join([msgspec.json.encode(one).decode() + "\n" for one in told])
    return "\n".join([_text(one, is_brief=len(told) > 1) for one in told])


def _text(told: IncidentTold | AlertTold, *, is_brief: bool) -> str:
    return incident_told(told, is_brief=is_brief) if isinstance(told, IncidentTold) else alert_told(told, is_brief=is_brief)


async def _sought(published: Published, subject: Sequence[str], source: Source, *, path: Path | None) -> Sought:
    if path is not None and path == source.folder:
        return Sought(await published.incidents(""))
    if path is not None:
        return await find_in_file(published, path)
    if all("=" in word for word in subject):
        return await find_labelled(published, subject)
    if len(subject) > 1:
        message = f"'{subject[0]}' and '{subject[1]}': name one incident, alert or file, or an alert by labels only (service=checkout)"
        raise FailedError(message)
    return await find_named(published, subject[0], source)
