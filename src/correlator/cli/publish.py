"""`correlator publish` puts recorded events onto a topic."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from correlator.cli.errors import FailedError, explained
from correlator.cli.plural import counted
from correlator.cli.progress import progress
from correlator.cli.service import config_option, embedded_option, json_line, opened_log, settings_of
from correlator.config.settings import Settings, TopicSettings
from correlator.intake.formats import Format, read_items
from correlator.intake.normalise import AHEAD_MOST, BEHIND_MOST, Normaliser
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Event, Refusal
from correlator.model.instant import MINUTE, format_duration
from correlator.runtime.allocation import settle_memory
from correlator.runtime.embedded import wall_clock
from correlator.runtime.files import Records, check_readable, input_bytes, read_merged
from correlator.runtime.pace import check_arrival
from correlator.runtime.ports import TopicPartition
from correlator.runtime.publish import Closed, closed_recording
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

    Warns once of events whose times a topic cannot use: far from now on a live one (`arrival: record`, the time of publishing is their
    arrival), none at all on one for recordings (`arrival: item`).
    """
    with explained():
        settings = settings_of(config)
        name = _known_topic(settings, topic)
        check_readable(files)
        with progress("publish", input_bytes(files)) as advance:
            settle_memory()
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
    """Pass batches on; warn once, before its batch is published, of an event whose time is of no use to the topic.

    All batches for a live topic are looked at. A recording that names no times shows at once.
    """
    doubt, is_watching = _DOUBTS[topic.arrival], True
    for batch in batches:
        warning = doubt(batch, topic) if is_watching else None
        is_watching = is_watching and warning is None and topic.arrival == "record"
        if warning is not None:
            click.echo(f"warning: {warning}", err=True)
        yield batch


def _events(batch: Records, topic: TopicSettings) -> Iterator[Event]:
    items = (item for value in batch.values[:_LOOKED_AT] for item in read_items(value, Format(topic.format)))
    return (item for item in items if not isinstance(item, Refusal))


def _far_from_now(batch: Records, topic: TopicSettings) -> str | None:
    """Tell of the first event time that intake would hold to be implausible if it arrived now."""
    now = wall_clock()
    times = (event.at for event in _events(batch, topic) if event.at is not None)
    at = next((at for at in times if not -AHEAD_MOST <= now - at <= BEHIND_MOST), None)
    if at is None:
        return None
    apart = abs(now - at)
    return (
        f"an event is dated {format_rfc3339(at)}, {format_duration(apart - apart % MINUTE)} from now; topic '{topic.name}' is live "
        "(`arrival: record`), so such times are flagged implausible and the time of publishing is used instead: "
        "publish a recording to a topic with `arrival: item`, in a log of its own (another folder or `prefix`)"
    )


def _without_time(batch: Records, topic: TopicSettings) -> str | None:
    """Tell of the first event that nothing dates but the events before it."""
    normaliser = Normaliser(is_recording=True)
    if all(normaliser.statement(event, None).claim is not None for event in _events(batch, topic)):
        return None
    return (
        f"an event names no time (`at`); topic '{topic.name}' is for recordings (`arrival: item`), where it is dated by the events "
        "before it, and 1970 when there are none: give it `at`, or publish live events to a topic with `arrival: record`"
    )


_DOUBTS: Final = {"record": _far_from_now, "item": _without_time}
"""What to warn of, by the arrival of the topic."""


async def _publish(settings: Settings, embedded: Path | None, topic: str, *, batches: Iterator[Records], marks_end: bool) -> int:
    topics = Topics(settings.prefix)
    async with opened_log(settings, embedded) as log:
        raw = {known.name: known.partitions for known in settings.topics}
        await log.open_topics(
            [known for known in topics.settings(raw, 1, settings.log_retention) if known.name in {topics.raw(name) for name in raw}]
        )
        is_recording = _is_recording(settings, topic)
        for partition in range(raw[topic]):
            tp = TopicPartition(topics.raw(topic), partition)
            check_arrival(tp, await log.committed(topics.intake_group, tp), is_recording=is_recording)
        closed = await closed_recording(log, topics, topic) if is_recording else None
        if closed is not None:
            batches = _behind(closed, batches, _settings_of_topic(settings, topic))
        return await publish_batches(log, topics.raw(topic), batches, marks_end=marks_end)


def _behind(closed: Closed, batches: Iterator[Records], topic: TopicSettings) -> Iterator[Records]:
    """Pass batches on; warn when the first events are not behind the recording that lies there."""
    for number, batch in enumerate(batches):
        at = min([event.at for event in _events(batch, topic) if event.at is not None], default=None) if number == 0 else None
        if at is not None and (closed.until is None or at < closed.until):
            end = f" at {format_rfc3339(closed.until)}" if closed.until is not None else ""
            click.echo(
                f"warning: the recording in topic '{topic.name}' has ended{end}, and what is dated before that is late: take a log of its "
                "own for each recording (another folder or `prefix`), and `--more` for all parts of one but the last",
                err=True,
            )
        yield batch
