"""`correlator publish` puts recorded events onto a topic."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from correlator.cli.errors import FailedError, explained
from correlator.cli.progress import progress
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.config.settings import Settings
from correlator.runtime.files import Records, check_readable, input_bytes, read_merged
from correlator.runtime.publish import publish as publish_batches
from correlator.runtime.topics import Topics

BATCH_RECORDS = 8_000


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@config_option
@embedded_option
@click.option("--topic", metavar="NAME", help="The raw topic; the first of the settings when left out.")
@click.option("--more", is_flag=True, help="More of this recording follows: leave out the mark of its end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def publish(files: Sequence[str], *, config: str | None, embedded: Path | None, topic: str | None, more: bool, as_json: bool) -> None:
    """Publish the events of FILE (JSON lines or one document; - for standard input), in order."""
    with explained():
        settings = settings_of(config)
        name = _known_topic(settings, topic)
        check_readable(files)
        with progress("publish", input_bytes(files)) as advance:
            cpu = time.process_time()
            batches = read_merged(list(files), size=BATCH_RECORDS, advance=advance)
            records = asyncio.run(_publish(settings, embedded, name, batches=batches, marks_end=not more and _is_recording(settings, name)))
            cpu = time.process_time() - cpu
    click.echo(
        json_line({"records": records, "topic": name, "cpu_s": round(cpu, 4)}) if as_json else f"{records} records published to {name}"
    )


def _known_topic(settings: Settings, name: str | None) -> str:
    """Answer the topic to publish to: the one asked for, if the settings know it, else their first."""
    known = [topic.name for topic in settings.topics]
    if name is not None and name not in known:
        message = f"the settings have no topic '{name}'; they have {', '.join(known)}"
        raise FailedError(message)
    return name if name is not None else known[0]


def _is_recording(settings: Settings, name: str) -> bool:
    """Answer whether a topic takes recordings: only these have an end, live topics go on by the clock."""
    return any(topic.name == name and topic.arrival == "item" for topic in settings.topics)


async def _publish(settings: Settings, embedded: Path | None, topic: str, *, batches: Iterator[Records], marks_end: bool) -> int:
    topics = Topics(settings.prefix)
    async with opened_log(settings, embedded) as log:
        raw = {known.name: known.partitions for known in settings.topics}
        await log.open_topics([known for known in topics.settings(raw, 1) if known.name in {topics.raw(name) for name in raw}])
        return await publish_batches(log, topics.raw(topic), batches, marks_end=marks_end)
