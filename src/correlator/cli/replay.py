"""`correlator replay` runs recorded events through the whole core, offline."""

import json
from collections.abc import Sequence
from pathlib import Path

import click

from correlator.cli.errors import FailedError, explained
from correlator.cli.plural import counted
from correlator.cli.progress import progress
from correlator.cli.service import settings_of
from correlator.config.load import load_rules, load_topology
from correlator.frames.control import Control
from correlator.runtime.allocation import settle_memory
from correlator.runtime.files import check_readable, input_bytes, read_merged
from correlator.runtime.replay import BATCH_RECORDS, Replay, ReplaySummary


@click.command()
@click.argument("events", nargs=-1, required=True)
@click.option("--topology", multiple=True, metavar="PATH", help="Topology: a file or folder, or several; `topologies` here when left out.")
@click.option("--rules", multiple=True, metavar="PATH", help="Rules: a file or folder, or several; `rules` here when left out.")
@click.option("--out", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder for the results.")
@click.option(
    "--decisions", is_flag=True, help="Write decisions.jsonl and control.json too, for `explain` and `graph`; costs a tenth more."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON line.")
def replay(events: Sequence[str], *, topology: Sequence[str], rules: Sequence[str], out: Path, decisions: bool, as_json: bool) -> None:
    """Replay EVENTS (JSON lines or one document; - for standard input) and write what they come to.

    DIR gets incidents.jsonl, alerts.jsonl, dead-letters.jsonl and funnel.json. Exits 0 whatever the events' verdicts.

    Goes by the folders rules and topologies that are here, as `run` and `check` do, unless told otherwise; `--topology /dev/null` is none.

    incidents.jsonl has one document of every incident, its last. A replay publishes nothing in between and no guesses: `revision` is 1,
    `why` holds all that happened to the incident. See docs/formats.md.
    """
    if out.exists() and not out.is_dir():
        message = f"{out}: is a file; --out names the folder for the results"
        raise FailedError(message)
    with explained(out), progress("replay", input_bytes(events)) as advance:
        settings = settings_of(None)
        control = load_control(rules or settings.rules, topology or settings.topology)
        check_readable(events)
        settle_memory()
        summary = Replay(control, out, decisions=decisions).run(read_merged(list(events), size=BATCH_RECORDS, advance=advance))
    click.echo(json.dumps(as_document(summary)) if as_json else _text(summary, out))


def load_control(rules: Sequence[str], topology: Sequence[str]) -> Control:
    """Load rules and topology, printing warnings on standard error. Raises `ConfigError`."""
    rule_set, rule_problems = load_rules(list(rules))
    graph, graph_problems = load_topology(list(topology))
    for problem in (*rule_problems, *graph_problems):
        click.echo(str(problem), err=True)
    return Control(rule_set, graph)


def as_document(summary: ReplaySummary) -> dict[str, object]:
    """Answer a summary as plain values."""
    return {name: getattr(summary, name) for name in summary.__struct_fields__}


def _text(summary: ReplaySummary, out: Path) -> str:
    flags = _counts(summary, "flagged")
    flagged = f"flagged: {flags}\n" if flags else ""
    return (
        f"{counted(summary.events, 'item')}: {_counts(summary, 'verdicts') or 'nothing to judge'}\n"
        f"{flagged}{counted(summary.stretches, 'firing stretch', 'firing stretches')} in {counted(summary.incidents, 'incident')}, "
        f"{counted(summary.dead_letters, 'dead letter')}, {summary.cpu_s:.2f} CPU-s\n"
        f"results in {out}"
    )


def _counts(summary: ReplaySummary, part: str) -> str:
    """Write the counts of a part of the funnel that are not zero."""
    counts = summary.funnel[part]
    assert isinstance(counts, dict)
    return ", ".join([f"{count} {name}" for name, count in counts.items() if count])
