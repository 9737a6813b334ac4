"""Published: what a service or a replay wrote, read back for those who ask why. Both answer alike."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from correlator.frames.control import Control, read_control
from correlator.model.explanation import Seen
from correlator.model.incident import Decision
from correlator.runtime.dossier import Found, find_incidents
from correlator.runtime.files import InputError
from correlator.runtime.ports import Log, TopicPartition
from correlator.runtime.replay import CONTROL_FILE, DECISIONS_FILE
from correlator.runtime.restore import read_all
from correlator.runtime.topics import Topics

_RECORDS: Final = 4_000
_DECISION: Final = msgspec.json.Decoder(Decision)
_SEEN: Final = msgspec.json.Decoder(Seen)

Wanted = Callable[[Decision], bool]
Line = TypeVar("Line")


class Published(Protocol):
    """What can be asked of documents, whoever wrote them."""

    async def incidents(self, start: str) -> list[Found]:
        """Answer the newest documents of incidents whose id begins so; one whose id is exactly this stands alone."""
        ...

    async def alerts(self) -> dict[str, Seen]:
        """Answer every alert's last stretch by fingerprint, those too that were forgotten and are not yet gone."""
        ...

    async def decisions(self, is_wanted: Wanted, mark: bytes = b"") -> list[Decision]:
        """Answer the decisions that are wanted; those whose bytes lack the mark are not even read."""
        ...

    async def control(self, digest: str) -> tuple[Control | None, bool | None]:
        """Answer the rules and topology of that digest, else those in force, and whether that digest is; None where nobody knows."""
        ...


class PublishedLog:
    """A service's log. Every method raises `Refused` where a service never ran, and `Transient`."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log = log
        self._topics = topics

    async def incidents(self, start: str) -> list[Found]:
        """Read the incidents topic."""
        return await find_incidents(self._log, self._topics, start)

    async def alerts(self) -> dict[str, Seen]:
        """Read the alerts topic; a tombstone leaves what was known before."""
        bodies = {key: body async for key, body in self._records(self._topics.alerts)}
        return {seen.fingerprint: seen for seen in map(_SEEN.decode, bodies.values())}

    async def decisions(self, is_wanted: Wanted, mark: bytes = b"") -> list[Decision]:
        """Walk over all decisions."""
        marked = (_DECISION.decode(body) async for _, body in self._records(self._topics.decisions) if mark in body)
        return [decision async for decision in marked if is_wanted(decision)]

    async def control(self, digest: str) -> tuple[Control | None, bool | None]:
        """Read the control topic, which keeps every digest's newest record."""
        newest, known = b"", dict[bytes | None, bytes]()
        async for key, body in self._records(self._topics.control):
            newest = known[key] = body
        asked = known.get(digest.encode(), newest)
        if not asked:
            return None, None
        return read_control(asked), read_control(newest).digest == digest

    async def _records(self, topic: str) -> AsyncIterator[tuple[bytes | None, bytes]]:
        for number in range(await self._log.partitions(topic)):
            async for batch in read_all(self._log, TopicPartition(topic, number), most=_RECORDS):
                for key, body in zip(batch.keys, batch.values, strict=True):
                    if body is not None:
                        yield key, body


class PublishedFolder:
    """A folder that `replay --out` wrote. Every method raises `InputError` where a file is missing or is none of a replay's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def incidents(self, start: str) -> list[Found]:
        """Read incidents.jsonl."""
        found = {named.id: Found(named.id, 0, body) for named, body in self._lines("incidents.jsonl", _ID) if named.id.startswith(start)}
        return [found[start]] if start in found else list(found.values())

    async def alerts(self) -> dict[str, Seen]:
        """Read alerts.jsonl, in which stretches lie in the order of their ends: the one that began last is told."""
        last: dict[str, Seen] = {}
        for seen, _ in self._lines("alerts.jsonl", _SEEN):
            known = last.get(seen.fingerprint)
            if known is None or known.starts_at <= seen.starts_at:
                last[seen.fingerprint] = seen
        return last

    async def decisions(self, is_wanted: Wanted, mark: bytes = b"") -> list[Decision]:
        """Read decisions.jsonl; a replay without --decisions has none."""
        if not (self._folder / DECISIONS_FILE).exists():
            return []
        return [decision for decision, _ in self._lines(DECISIONS_FILE, _DECISION, mark) if is_wanted(decision)]

    async def control(self, digest: str) -> tuple[Control | None, bool | None]:
        """Read control.json; a replay without --decisions has none. All of a replay is judged by the same."""
        path = self._folder / CONTROL_FILE
        if not path.exists():
            return None, None
        try:
            control = msgspec.json.decode(path.read_bytes(), type=Control)
        except msgspec.DecodeError as error:
            raise InputError(f"{path}: not written by `correlator replay`: {error}") from error
        return control, control.digest == digest

    def _lines(self, name: str, decoder: msgspec.json.Decoder[Line], mark: bytes = b"") -> Iterator[tuple[Line, bytes]]:
        path = self._folder / name
        if not path.exists():
            raise InputError(f"{self._folder}: has no {name}: name the folder that `correlator replay --out` wrote")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if mark in line:
                    try:
                        yield decoder.decode(line), line
                    except msgspec.DecodeError as error:
                        raise InputError(f"{path}:{number}: not written by `correlator replay`: {error}") from error


class _Named(msgspec.Struct):
    id: str


_ID: Final = msgspec.json.Decoder(_Named)
