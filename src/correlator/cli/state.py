"""`correlator state` moves the state of a whole application: out of its log into a file, and from a file into another log."""

import asyncio
from pathlib import Path

import click
import msgspec

from correlator.cli.errors import FailedError, explained
from correlator.cli.plural import counted
from correlator.cli.replay import load_control
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.config.files import STDIN
from correlator.config.settings import Settings
from correlator.frames.control import Control
from correlator.runtime.archive import Archive, ArchiveWriter
from correlator.runtime.embedded import EmbeddedLog
from correlator.runtime.transfer import Moved, RawStart, export_state, fitting_control, import_state


def _named(_context: click.Context, _parameter: click.Parameter, value: Path) -> Path:
    """Refuse `-`: a file is moved to its place when it is whole, and read twice."""
    if str(value) == STDIN:
        message = "state is moved through a file, not through a pipe: name one"
        raise FailedError(message)
    return value


file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), callback=_named)
json_option = click.option("--json", "as_json", is_flag=True, help="Print what was moved as one JSON line.")


@click.group("state")
def state() -> None:
    """Move the state of a whole application: a copy to keep, another log, other partitions."""


@state.command("export")
@file_argument
@config_option
@embedded_option
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
def export(file: Path, *, config: str | None, embedded: Path | None, force: bool, as_json: bool) -> None:
    """Write rules in force, state, incidents and alerts as they stand, and positions into FILE.

    Stop the service first; afterwards it goes on as if nothing had been. An embedded one that still runs is stopped by this (code 2). On
    Kafka its workers take their places back, and this is refused where they come between. FILE is written whole or not at all. Raw records,
    decisions and dead letters are not in it.
    """
    if not file.parent.is_dir():
        message = f"{file}: there is no folder {file.parent} to write it into; make it first"
        raise FailedError(message)
    if file.exists() and not force:
        message = f"{file}: it is there already: name another file, or replace it with --force"
        raise FailedError(message)
    with explained(file.parent):
        settings = settings_of(config)
        moved = asyncio.run(_export(settings, embedded, file))
    _tell(f"written to {file}", moved, as_json=as_json)


async def _export(settings: Settings, embedded: Path | None, file: Path) -> Moved:
    async with opened_log(settings, embedded, must_exist=True) as log:
        with ArchiveWriter(file) as writer:
            return await export_state(log, settings, writer, is_still=isinstance(log, EmbeddedLog) and log.is_still)


@state.command("import")
@file_argument
@config_option
@embedded_option
@click.option("--topology", multiple=True, metavar="PATH", help="Topology instead of the settings' own.")
@click.option("--rules", multiple=True, metavar="PATH", help="Rules instead of the settings' own.")
@click.option(
    "--raw",
    type=click.Choice([start.value for start in RawStart]),
    default=RawStart.SAME.value,
    show_default=True,
    help="Where raw partitions are read on: where the file says, if they are the same; at their beginning; or behind all there is.",
)
@click.option("--force", is_flag=True, help="Replace the state that the log has.")
@json_option
def import_(
    file: Path,
    *,
    config: str | None,
    embedded: Path | None,
    topology: tuple[str, ...],
    rules: tuple[str, ...],
    raw: str,
    force: bool,
    as_json: bool,
) -> None:
    """Put the state of FILE into an empty log, before `run` starts there with the same settings.

    Refused, before anything is made: a damaged file or one of a newer version, another prefix, other domains. Refused, before any state is
    written: a log that is in use, raw partitions that are not those that were read; the folder or the topics are there then. Stop
    a service that runs there first: embedded this stops it (code 2), on Kafka its workers take their places back, and this is refused.
    """
    with explained():
        settings = settings_of(config)
        control = load_control(rules or settings.rules, topology or settings.topology)
        archive = Archive(file)
        fitting_control(archive, settings, control)  # before the log is opened, which makes a folder
        moved = asyncio.run(_import(settings, embedded, archive, control=control, start=RawStart(raw), is_forced=force))
    _tell(f"read from {file}", moved, as_json=as_json)


async def _import(
    settings: Settings, embedded: Path | None, archive: Archive, *, control: Control, start: RawStart, is_forced: bool
) -> Moved:
    async with opened_log(settings, embedded) as log:
        return await import_state(log, settings, archive, control=control, start=start, is_forced=is_forced)


def _tell(what: str, moved: Moved, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_line(msgspec.to_builtins(moved)))
        return
    documents = counted(moved.incidents + moved.alerts, "document")
    click.echo(f"{counted(moved.rows, 'row')} of state, {documents} and {counted(moved.frames, 'frame')} {what}")
