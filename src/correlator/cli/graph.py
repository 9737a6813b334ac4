"""`correlator graph` draws an incident's part of the dependency graph."""

import asyncio
from pathlib import Path
from typing import Final

import click

from correlator.cli.errors import FailedError, explained
from correlator.cli.service import config_option, embedded_option
from correlator.cli.sought import Source, find_incident, opened, replay_option
from correlator.explain.part import Part, part_of
from correlator.explain.scene import scene_of
from correlator.explain.svg import as_svg
from correlator.explain.tree import drawn_as_text
from correlator.runtime.cases import Cases

_KINDS: Final = (".svg", ".png")


@click.command()
@click.argument("incident", metavar="INCIDENT")
@config_option
@embedded_option
@replay_option
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Draw into FILE.svg or FILE.png; without, as text."
)
def graph(incident: str, *, config: str | None, embedded: Path | None, folder: Path | None, out: Path | None) -> None:
    """Draw INCIDENT (its id, or how that begins): its part of the dependency graph with root, way of the fault, times and owners.

    PNG needs Pillow: pip install 'correlator[pictures]'. SVG and text need nothing.
    """
    kind = out.suffix.lower() if out is not None else ""
    if out is not None and kind not in _KINDS:
        message = f"{out}: the name must end in .svg or .png, which says what to draw; without --out it is drawn as text"
        raise FailedError(message)
    with explained(out):
        part = asyncio.run(_part(incident, Source(config, embedded, folder)))
        if out is None:
            click.echo(drawn_as_text(part), nl=False)
            return
        out.write_bytes(_png(part) if kind == ".png" else as_svg(scene_of(part)).encode())
    click.echo(f"drawn into {out}")


async def _part(incident: str, source: Source) -> Part:
    async with opened(source) as published:
        told = await Cases(published).incident(await find_incident(published, incident, source))
    if told.case.control is None:
        message = "the topology that judged it is not kept here: replay again with --decisions, or look into the log of the service"
        raise FailedError(message)
    if not told.explanation.members:
        message = f"incident {told.explanation.id} has no alerts to draw. {' '.join(told.explanation.answer[:1])}"
        raise FailedError(message)
    return part_of(told.explanation, told.case)


def _png(part: Part) -> bytes:
    try:
        from correlator.explain.png import as_png
    except ImportError as error:
        message = "PNG needs Pillow, which is not installed: pip install 'correlator[pictures]', or draw an .svg"
        raise FailedError(message) from error
    return as_png(scene_of(part))
