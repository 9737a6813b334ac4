"""`correlator publish` puts recorded events onto a topic."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from correlator.cli.errors import FailedError, explained
from correlator.cli.plural import counted
from correlator.cli.progress import progress
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.config.settings import Settings, TopicSettings
from correlator.intake.formats import Format, read_items
from correlator.intake.normalise import AHEAD_MOST, BEHIND_MOST
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Refusal
from correlator.model.instant import MINUTE, Instant, format_duration
from correlator.runtime.collector import settle_collector
from correlator.runtime.embedded import wall_clock
from correlator.runtime.files import Records, check_readable, input_bytes, read_merged
from correlator.runtime.publish import publish as publish_batches
from correlator.runtime.topics import Topics

BATCH_RECORDS = 8_000
_LOOKED_AT = 100
"""Records of each batch whose times are looked at: a wrong topic shows in any of them, and reading all would double the cost."""


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@config_option
@embedded_option
@click.option("--topic", metavar="NAME", help="The raw topic; the first of the settings when left out.")
@click.option("--more", is_flag=True, help="More of this recording follows: leave out the mark of its end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line.")
def publish(files: Sequence[str], *, config: str | None, embedded: Path | None, topic: str | None, more: bool, as_json: bool) -> None:
    """Publish the events of FILE (JSON lines or one document; - for standard input), in order.

    Warns once when events bear times far from now and the topic takes the time of publishing as their arrival: that is for live events.
    """
    with explained():
        settings = settings_of(config)
        name = _known_topic(settings, topic)
        check_readable(files)
        with progress("publish", input_bytes(files)) as advance:
            settle_collector()
            cpu = time.process_time()
            batches = _watched(read_merged(list(files), size=BATCH_RECORDS, advance=advance), _settings_of_topic(settings, name))
            records = asyncio.run(_publish(settings, embedded, name, batches=batches, marks_end=not more and _is_recording(settings, name)))
            cpu = time.process_time() - cpu
    click.echo(
        json_line({"records": records, "topic": name, "cpu_s": round(cpu, 4)})
        if as_json
        else f"{counted(records, 'record')} published to {name}"
    )


def _known_topic(settings: Settings, name: str | None) -> str:
    """Answer the topic to publish to: the one asked for, if the settings know it, else their first."""
    known = [topic.name for topic in settings.topics]
    if name is not None and name not in known:
        message = f"the settings have no topic '{name}'; they have {', '.join(known)}"
        raise FailedError(message)
    return name if name is not None else known[0]


def _settings_of_topic(settings: Settings, name: str) -> TopicSettings:
    return next(topic for topic in settings.topics if topic.name == name)


def _is_recording(settings: Settings, name: str) -> bool:
    """Answer whether a topic takes recordings: only these have an end, live topics go on by the clock."""
    return _settings_of_topic(settings, name).arrival == "item"


def _watched(batches: Iterator[Records], topic: TopicSettings) -> Iterator[Records]:
    """Pass batches on; warn at the first event whose time a live topic would hold to be implausible, before its batch is published."""
    is_watching = topic.arrival == "record"
    for batch in batches:
        far = _far_from_now(batch, Format(topic.format)) if is_watching else None
        if far is not None:
            is_watching = False
            click.echo(_warning(topic.name, far), err=True)
        yield batch


def _far_from_now(batch: Records, form: Format) -> Instant | None:
    """Answer the first event time that intake would hold to be implausible if it arrived now."""
    now = wall_clock()
    for value in batch.values[:_LOOKED_AT]:
        for event in read_items(value, form):
            if not isinstance(event, Refusal) and event.at is not None and not -AHEAD_MOST <= now - event.at <= BEHIND_MOST:
                return event.at
    return None


def _warning(topic: str, at: Instant) -> str:
    apart = abs(wall_clock() - at)
    distance = f"{format_duration(apart - apart % MINUTE)} from now"
    return (
        f"warning: an event is dated {format_rfc3339(at)}, {distance}; topic '{topic}' is live (`arrival: record`), "
        "so such times are flagged implausible and the time of publishing is used instead: "
        "publish a recording to a topic with `arrival: item`, in a folder of its own"
    )


async def _publish(settings: Settings, embedded: Path | None, topic: str, *, batches: Iterator[Records], marks_end: bool) -> int:
    topics = Topics(settings.prefix)
    async with opened_log(settings, embedded) as log:
        raw = {known.name: known.partitions for known in settings.topics}
        await log.open_topics(
            [known for known in topics.settings(raw, 1, settings.log_retention) if known.name in {topics.raw(name) for name in raw}]
        )
        return await publish_batches(log, topics.raw(topic), batches, marks_end=marks_end)
