"""Dossier: one incident from the log, its newest document and what was decided about its alerts."""

from collections import Counter, deque
from typing import Final

import msgspec

from correlator.model.incident import Decision, Why
from correlator.runtime.ports import Log, TopicPartition
from correlator.runtime.restore import read_all
from correlator.runtime.topics import Topics

ENDS_MOST: Final = 20
"""Of an incident's decisions this many of the first and of the last are kept; those between are only counted."""
_RECORDS: Final = 4_000
_DECISION: Final = msgspec.json.Decoder(Decision)


class Found(msgspec.Struct, frozen=True):
    """The newest document of one incident, as published, and the partition that its domain writes to."""

    id: str
    partition: int
    body: bytes


class History(msgspec.Struct, frozen=True):
    """The decisions on one incident's alerts in their order: the first, the last, how many lie between, and the number of each why."""

    first: list[Decision]
    last: list[Decision]
    between: int
    counts: dict[Why, int]


async def find_incidents(log: Log, topics: Topics, start: str) -> list[Found]:
    """Answer the incidents whose id begins so, oldest update first; one whose id is exactly this stands alone.

    Raises `Refused` where nobody ever wrote an incident, and `Transient`.
    """
    newest: dict[bytes, Found] = {}
    prefix = start.encode()
    for number in range(await log.partitions(topics.incidents)):
        async for batch in read_all(log, TopicPartition(topics.incidents, number), most=_RECORDS):
            for key, body in zip(batch.keys, batch.values, strict=True):
                if key is not None and key.startswith(prefix):
                    newest.pop(key, None)
                    if body is not None:
                        newest[key] = Found(key.decode(), number, body)
    return [newest[prefix]] if prefix in newest else list(newest.values())


async def history_of(log: Log, topics: Topics, found: Found) -> History:
    """Read what was decided about the alerts of an incident; a walk over all decisions of its domain, decoding only its own."""
    first, last, counts = list[Decision](), deque[Decision](maxlen=ENDS_MOST), Counter[Why]()
    mark = msgspec.json.encode(found.id)
    async for batch in read_all(log, TopicPartition(topics.decisions, found.partition), most=_RECORDS):
        for body in batch.values:
            decision = _DECISION.decode(body) if body is not None and mark in body else None
            if decision is None or decision.incident != found.id:
                continue
            counts[decision.why] += 1
            (first if len(first) < ENDS_MOST else last).append(decision)
    return History(first, list(last), counts.total() - len(first) - len(last), dict(counts))
