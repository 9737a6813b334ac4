"""Looks: an alert's labels and annotations in a third of the memory that two dicts take.

The values lie in one piece of bytes, parted by NUL (which intake refuses in any text); the names are tuples that alerts of one kind share.
"""

from functools import lru_cache
from typing import Final

Names = tuple[tuple[str, ...], tuple[str, ...]]
"""The names of the labels, and those of the annotations."""

NAMES_MOST: Final = 10_000
"""So many kinds of alert share their names; more are kept all the same, each with names of its own."""
_PART: Final = "\0"


def pack_looks(labels: dict[str, str], annotations: dict[str, str]) -> tuple[Names, bytes]:
    """Answer shared names and packed values. No value may contain NUL."""
    return shared_names(tuple(labels), tuple(annotations)), _PART.join([*labels.values(), *annotations.values()]).encode()


def labels_in(names: Names, values: bytes) -> dict[str, str]:
    """Unpack the labels, in the order in which they were packed."""
    return dict(zip(names[0], values.decode().split(_PART, len(names[0]))))  # noqa: B905 - the annotations follow; and this is hot


def annotations_in(names: Names, values: bytes) -> dict[str, str]:
    """Unpack the annotations, in the order in which they were packed."""
    return looks_in(names, values)[1]


def looks_in(names: Names, values: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """Unpack labels and annotations, each in the order in which they were packed."""
    texts = values.decode().split(_PART)
    return dict(zip(names[0], texts)), dict(zip(names[1], texts[len(names[0]) :]))  # noqa: B905 - texts that are left over follow


@lru_cache(maxsize=NAMES_MOST)
def shared_names(labels: tuple[str, ...], annotations: tuple[str, ...]) -> Names:
    """Answer the names, the same object for alerts of one kind."""
    return labels, annotations
