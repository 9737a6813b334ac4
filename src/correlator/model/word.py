"""Words: closed sets of names that are metric labels, log fields and what documents say."""

from enum import StrEnum


class Word(StrEnum):
    """A set of words. Equal to plain text, and hashed as such: `Enum` has a hash of its own that costs a call in Python."""

    __hash__ = str.__hash__
