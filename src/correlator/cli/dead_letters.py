"""`correlator dead-letters` shows what was refused, and gives its bytes back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from correlator.cli.errors import FailedError, explained
from correlator.cli.plural import counted
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.config.settings import Settings
from correlator.runtime.letters import Letter, read_letter, read_letters
from correlator.runtime.ports import Log, Refused
from correlator.runtime.topics import Topics

BYTES_SHOWN: Final = 100
REASONS_SHOWN: Final = 3


@click.command("dead-letters")
@config_option
@embedded_option
@click.option("--raw", type=click.IntRange(min=0), metavar="N", help="Write the bytes of letter N, and nothing else, to standard output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a letter.")
def dead_letters(*, config: str | None, embedded: Path | None, raw: int | None, as_json: bool) -> None:
    """Print the records that were refused, oldest first: where each lay, why, how long it is, and how it begins.

    The number of a letter is its offset in the topic `dead-letters`: it never changes, and on Kafka some numbers are no letter's.

    To mend one: `--raw N > FILE`, edit FILE, `correlator publish` it. Good items of the same record went on the first time; published
    again they only raise the counts of their alerts. A letter stays in the list when it was mended, until its retention ends.
    """
    if raw is not None and as_json:
        message = "--raw writes the bytes as they came: leave --json out"
        raise FailedError(message)
    with explained():
        settings = settings_of(config)
        asyncio.run(_print(settings, embedded, as_json=as_json) if raw is None else _write_raw(settings, embedded, raw))


@asynccontextmanager
async def _opened(settings: Settings, embedded: Path | None) -> AsyncIterator[tuple[Log, Topics]]:
    """Open a log that has dead letters, or could have some. Raises `FailedError` where nothing ever ran on it."""
    topics = Topics(settings.prefix)
    async with opened_log(settings, embedded, must_exist=True) as log:
        try:
            await log.partitions(topics.dead_letters)
        except Refused as error:
            message = f"no dead letters can be read; did `correlator run` ever start with the same options? ({error})"
            raise FailedError(message) from error
        yield log, topics


async def _print(settings: Settings, embedded: Path | None, *, as_json: bool) -> None:
    count = 0
    async with _opened(settings, embedded) as (log, topics):
        async for letter in read_letters(log, topics):
            count += 1
            click.echo(json_line(_entry(letter, settings.prefix)) if as_json else "\n".join(_lines(letter, settings.prefix)))
    if not as_json:
        words = "no dead letters" if not count else f"{count} dead letter{'s' if count > 1 else ''}; --raw N writes the bytes of letter N"
        click.echo(words)


async def _write_raw(settings: Settings, embedded: Path | None, number: int) -> None:
    async with _opened(settings, embedded) as (log, topics):
        letter = await read_letter(log, topics, number)
    if letter is None:
        message = f"there is no dead letter {number}; `correlator dead-letters` with the same options lists them"
        raise FailedError(message)
    click.echo(letter.value, nl=False)
    if len(letter.value) < letter.length:
        click.echo(f"warning: only the first {len(letter.value)} of {letter.length} bytes were kept", err=True)


def _lines(letter: Letter, prefix: str) -> Iterator[str]:
    about = letter.about
    where = f"{about.get('topic', '').removeprefix(f'{prefix}.')}-{about.get('partition', '')} offset {about.get('offset', '')}"
    yield f"{letter.number}  {where}, {letter.length} bytes: {_escaped(letter.value[:BYTES_SHOWN], is_cut=letter.length > BYTES_SHOWN)}"
    for refusal in letter.refusals[:REASONS_SHOWN]:
        yield f"   item {refusal.item}: {refusal.reason}: {_escaped(refusal.detail.encode())}"
    others = int(about.get("refused", len(letter.refusals))) - min(len(letter.refusals), REASONS_SHOWN)
    if others:
        yield f"   and {counted(others, 'more item')}; --json lists the first {len(letter.refusals)} of all"


def _entry(letter: Letter, prefix: str) -> dict[str, object]:
    about = {name: text for name, text in letter.about.items() if name not in ("topic", "partition", "offset", "length", "refused")}
    return {
        "number": letter.number,
        "position": {
            "topic": letter.about.get("topic", "").removeprefix(f"{prefix}."),
            "partition": int(letter.about.get("partition", 0)),
            "offset": int(letter.about.get("offset", 0)),
        },
        **about,
        "refused": int(letter.about.get("refused", len(letter.refusals))),
        "refusals": msgspec.to_builtins(letter.refusals),
        "length": letter.length,
        "kept": len(letter.value),
        "begins": _escaped(letter.value[:BYTES_SHOWN]),
    }


def _escaped(value: bytes, *, is_cut: bool = False) -> str:
    """Write bytes as text that no terminal can take for a command: what is no printable UTF-8 is escaped."""
    text = value.decode("utf-8", "backslashreplace")
    return "".join([sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text]) + ("…" if is_cut else "")
