"""`correlator parse` says what becomes of each item of a file, before anything is correlated."""

from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from correlator.cli.errors import DONE, FINDINGS, explained
from correlator.intake.formats import Format
from correlator.runtime.files import check_readable, read_records
from correlator.runtime.inspect import Inspector, Item

_BATCH_RECORDS: Final = 1_000


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice([form.value for form in Format]),
    default=Format.AUTO.value,
    show_default=True,
    help="The shape of all records; auto tells it record by record.",
)
@click.option("--json", "as_json", is_flag=True, hidden=True, help="Accepted for symmetry: the output is JSON lines anyway.")
@click.pass_context
def parse(context: click.Context, files: Sequence[str], *, form: str, as_json: bool) -> None:  # noqa: ARG001 - every command takes --json
    """Read FILE (JSON lines or one document; - for standard input) and print a JSON line for each item.

    Exits 1 when an item was rejected.
    """
    is_clean = True
    with explained():
        check_readable(files)
        for item in _items(files, Format(form)):
            is_clean = is_clean and item.verdict == "accepted"
            click.echo(msgspec.json.encode(item))
    context.exit(DONE if is_clean else FINDINGS)


def _items(files: Sequence[str], form: Format) -> Iterator[Item]:
    for path in files:
        inspector = Inspector(path, form)
        for batch in read_records(path, size=_BATCH_RECORDS):
            for number, (line, value) in enumerate(zip(batch.lines, batch.values, strict=True), batch.item):
                yield from inspector.inspect(value, line, item=number if batch.is_document else 0)
        yield from inspector.end()
