"""`correlator parse` says what becomes of each item of a file, before anything is correlated."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click
import msgspec

from correlator.cli.errors import DONE, FINDINGS, explained
from correlator.cli.plural import counted
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
@click.option("--json", "as_json", is_flag=True, help="Leave out the summary on standard error; the output is JSON lines anyway.")
@click.pass_context
def parse(context: click.Context, files: Sequence[str], *, form: str, as_json: bool) -> None:
    """Read FILE (JSON lines or one document; - for standard input) and print a JSON line for each item.

    `position` names the line where the item's record begins, and the item's place in it from 0; the items of one document all lie in the
    record that begins in its first line, so of a rejected one `detail` says line and column. `format` is as what the record was read.
    Exits 1 when an item was rejected. Sums up on standard error.
    """
    accepted, rejected = 0, Counter[str]()
    with explained():
        check_readable(files)
        for path in files:
            inspector = Inspector(Format(form))
            for item in _items(path, inspector):
                click.echo(msgspec.json.encode(item))
            accepted += inspector.accepted
            rejected += inspector.rejected
    if not as_json:
        click.echo(_summary(accepted, rejected), err=True)
    context.exit(FINDINGS if rejected else DONE)


def _items(path: str, inspector: Inspector) -> Iterator[Item]:
    for batch in read_records(path, size=_BATCH_RECORDS):
        for number in range(len(batch.values)):
            yield from inspector.inspect(batch, number)
    yield from inspector.end()


def _summary(accepted: int, rejected: Counter[str]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    total = counted(accepted + rejected.total(), "item")
    return f"{total}: {accepted} accepted, {rejected.total()} rejected" + (f" ({reasons})" if reasons else "")
