"""Documents: files that are one JSON document over many lines, the items in it, and where each begins."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from correlator.intake.decode import column_of

_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_UNFIT: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_BETWEEN: Final = re.compile(rb"[\s,]*")
_OPENS_LIST: Final = re.compile(rb"\s*\[")
_OPENS_ALERTS: Final = re.compile(rb'"(?:alerts|data)"\s*:\s*\[')


class _Message(msgspec.Struct):
    """A webhook's message, or an envelope around a list."""

    alerts: list[msgspec.Raw] = []
    data: list[msgspec.Raw] | msgspec.Raw = []


_MESSAGE: Final = msgspec.json.Decoder(_Message)


def read_array(body: bytes) -> list[bytes] | None:
    """Answer the items of a JSON array, each with the bytes it has there; None when the body is no array."""
    try:
        return [bytes(item) for item in _ITEMS.decode(body)]
    except _UNFIT:
        return None


@lru_cache(maxsize=1)
def item_spots(body: bytes) -> tuple[tuple[int, int], ...]:
    """Answer the line and the column at which each item of an array, or of a message with a list of alerts, begins.

    Empty when there is no such list. The last answer is remembered: whoever asks for one item will ask for others.
    """
    spots, line, before = list[tuple[int, int]](), 1, 0
    for start in _starts(body):
        line += body.count(b"\n", before, start)
        before = start
        spots.append((line, column_of(body, start)))
    return tuple(spots)


def is_broken_document(body: bytes) -> bool:
    """Tell whether text that is no JSON is one document with a fault, rather than lines of which the first is bad.

    Lines of a document are indented, or are closed by its bracket, and hardly any is an event by itself.
    """
    first, *below = [line for line in body.splitlines() if line.strip()]
    alone = sum(map(_is_object, below))
    inside = sum(line.startswith((b" ", b"\t", b"}", b"]")) for line in below)
    return 2 * alone < len(below) and (2 * inside > len(below) or first.strip() == b"[")


def _starts(body: bytes) -> list[int]:
    items = read_array(body)
    if items is not None:
        return _chain(body, _OPENS_LIST, items)
    try:
        message = _MESSAGE.decode(body)
    except _UNFIT:
        return []
    listed = message.alerts or message.data
    return _chain(body, _OPENS_ALERTS, [bytes(item) for item in listed]) if isinstance(listed, list) else []


def _is_object(line: bytes) -> bool:
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        msgspec.json.decode(line)
    except _UNFIT:
        return False
    return True


def _chain(body: bytes, opens: re.Pattern[bytes], items: Sequence[bytes]) -> list[int]:
    """Find the list in which the items follow each other and nothing lies between them."""
    for opening in opens.finditer(body):
        starts, position = list[int](), opening.end()
        for item in items:
            space = _BETWEEN.match(body, position)
            position = space.end() if space is not None else position
            if not body.startswith(item, position):
                break
            starts.append(position)
            position += len(item)
        if len(starts) == len(items):
            return starts
    return []
