"""What the commands that ask why share: where to look, and which incident or alert is meant."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from correlator.cli.errors import FailedError
from correlator.cli.plural import counted
from correlator.cli.service import opened_log, settings_of
from correlator.config.nearest import nearest
from correlator.intake.formats import read_items
from correlator.intake.identify import fingerprint_of
from correlator.model.alert import FINGERPRINT_BYTES
from correlator.model.event import Refusal
from correlator.model.explanation import Seen
from correlator.model.rule import Identity
from correlator.runtime.dossier import Found
from correlator.runtime.files import check_readable, read_records
from correlator.runtime.ports import Log, Refused
from correlator.runtime.published import Published, PublishedFolder, PublishedLog
from correlator.runtime.topics import Topics

ALERTS_MOST: Final = 50
"""So many alerts are explained at once."""
_NAMED_MOST: Final = 5
_BATCH_RECORDS: Final = 1_000
INCIDENTS_FILE: Final = "incidents.jsonl"

replay_option = click.option(
    "--replay",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Look into what `replay --out DIR --decisions` wrote, in place of a log.",
)


class Source(msgspec.Struct, frozen=True):
    """Where to look: a folder of a replay, or the log that the other two name; `listed` says how a person sees what is there."""

    config: str | None
    embedded: Path | None
    folder: Path | None

    @property
    def listed(self) -> str:
        """Say how to see what there is."""
        return (
            f"{self.folder / INCIDENTS_FILE} has them"
            if self.folder is not None
            else "`correlator incidents` with the same options lists them"
        )


class Sought(msgspec.Struct, frozen=True):
    """What was found: incidents or alerts."""

    incidents: list[Found] = []
    alerts: list[Seen] = []


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[Published]:
    """Open what is looked into. Raises `FailedError` where nothing was ever judged."""
    if source.folder is not None:
        yield PublishedFolder(source.folder)
        return
    settings = settings_of(source.config)
    topics = Topics(settings.prefix)
    async with opened_log(settings, source.embedded, must_exist=True) as log:
        await incident_partitions(log, topics)
        yield PublishedLog(log, topics)


async def incident_partitions(log: Log, topics: Topics) -> int:
    """Answer how many partitions incidents have. Raises `FailedError` where nothing was ever judged."""
    try:
        return await log.partitions(topics.incidents)
    except Refused as error:
        raise FailedError(f"no incidents yet; start `correlator run` with the same options ({error})") from error


async def find_incident(published: Published, start: str, source: Source) -> Found:
    """Find the one incident whose id begins so. Raises `FailedError` when it is none, or could be several."""
    found = await published.incidents(start.strip().lower())
    if len(found) == 1:
        return found[0]
    if found:
        raise FailedError(_several(start, [one.id for one in found], "incidents have ids that begin", of="the id"))
    hint = _hint(start, [one.id for one in await published.incidents("")])
    raise FailedError(f"no incident's id begins with '{start}'{hint}; {source.listed}")


async def find_named(published: Published, start: str, source: Source) -> Sought:
    """Find the one incident or alert whose id or fingerprint begins so. Raises `FailedError` when it is none, or could be several."""
    word = start.strip().lower()
    incidents, seen = await published.incidents(word), await published.alerts()
    alerts = [seen[word]] if word in seen else [one for fingerprint, one in seen.items() if fingerprint.startswith(word)]
    if len(incidents) + len(alerts) == 1:
        return Sought(incidents, alerts)
    if incidents or alerts:
        names = [*[one.id for one in incidents], *[one.fingerprint for one in alerts]]
        raise FailedError(_several(start, names, "incidents and alerts begin", of="it"))
    hint = _hint(start, [*[one.id for one in await published.incidents("")], *seen])
    raise FailedError(
        f"no incident's id and no alert's fingerprint begins with '{start}'{hint}; {source.listed}; an alert can be named by its labels "
        "too (service=NAME alertname=NAME), or a file with it"
    )


async def find_labelled(published: Published, pairs: Sequence[str]) -> Sought:
    """Find the alerts that have all these labels. Raises `FailedError` for none, or too many."""
    wanted = dict(pair.split("=", 1) for pair in pairs)
    seen = list((await published.alerts()).values())
    alerts = [one for one in seen if all(one.labels.get(name) == value for name, value in wanted.items())]
    if not alerts:
        raise FailedError(f"no alert has {' '.join(pairs)}{_label_hint(wanted, seen)}")
    if len(alerts) > ALERTS_MOST:
        raise FailedError(f"{len(alerts)} alerts have {' '.join(pairs)}: name more labels, so that at most {ALERTS_MOST} are meant")
    return Sought(alerts=alerts)


async def find_in_file(published: Published, path: Path) -> Sought:
    """Find what a file holds: documents of incidents or alerts by their ids, events by the fingerprints of their labels."""
    check_readable([str(path)])
    control, _ = await published.control("")
    identity = control.rules.identity if control is not None else Identity()
    ids, fingerprints, refused = dict[str, None](), dict[str, None](), 0
    for batch in read_records(str(path), size=_BATCH_RECORDS):
        for body in batch.values:
            named = _named(body)
            ids |= dict.fromkeys([named.id] if named.root_causes is not None and named.id else [])
            if named.root_causes is not None:
                continue
            if named.fingerprint is not None and len(named.fingerprint) == 2 * FINGERPRINT_BYTES:  # Alertmanager's own is shorter
                fingerprints[named.fingerprint] = None
                continue
            events = read_items(body)
            refused += sum(isinstance(event, Refusal) for event in events)
            fingerprints |= dict.fromkeys([fingerprint_of(one.labels, identity).hex() for one in events if not isinstance(one, Refusal)])
    return await _known(published, path, ids=ids, fingerprints=list(fingerprints), refused=refused)


async def _known(published: Published, path: Path, *, ids: Collection[str], fingerprints: list[str], refused: int) -> Sought:
    incidents = [one for one in await published.incidents("") if one.id in ids] if ids else []
    seen = await published.alerts() if fingerprints else {}
    alerts = [seen[fingerprint] for fingerprint in fingerprints if fingerprint in seen]
    if not incidents and not alerts:
        found = counted(len(ids), "incident") if ids else counted(len(fingerprints), "alert")
        bad = f" and {counted(refused, 'item')} that cannot be read (`correlator parse {path}` says why)" if refused else ""
        raise FailedError(f"{path}: holds {found}{bad}, and none that was judged here: publish it first, or look where it was judged")
    if len(alerts) > ALERTS_MOST:
        raise FailedError(
            f"{path}: holds {len(alerts)} alerts; at most {ALERTS_MOST} are explained at once: give a shorter file, or labels"
        )
    return Sought(incidents, alerts)


class _Named(msgspec.Struct):
    id: str | None = None
    fingerprint: str | None = None
    root_causes: list[msgspec.Raw] | None = None


def _named(body: bytes) -> _Named:
    try:
        return msgspec.json.decode(body, type=_Named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Named()


def _several(start: str, names: list[str], begin: str, *, of: str) -> str:
    shown = ", ".join(names[:_NAMED_MOST])
    more = f" and {len(names) - _NAMED_MOST} more" if len(names) > _NAMED_MOST else ""
    return f"{len(names)} {begin} with '{start}': {shown}{more}; give more of {of}"


def _hint(start: str, names: Collection[str]) -> str:
    """Say what was probably meant: beginnings are compared with beginnings."""
    by_start = {name[: len(start)]: name for name in names}
    near = nearest(start.lower(), by_start)
    return f"; did you mean {by_start[near]}?" if near is not None else ""


def _label_hint(wanted: dict[str, str], seen: list[Seen]) -> str:
    for name, value in wanted.items():
        values = dict.fromkeys([one.labels[name] for one in seen if name in one.labels])
        if not values:
            near = nearest(name, dict.fromkeys([label for one in seen for label in one.labels]))
            return f": none has a label '{name}'" + (f"; did you mean '{near}'?" if near is not None else "")
        if value not in values:
            near = nearest(value, values)
            return f": none has {name}={value}" + (f"; did you mean '{near}'?" if near is not None else "")
    return ": each of these is there, but not together"
