"""The name that was probably meant, cheap enough to ask for among 100,000 names."""

import difflib
from collections.abc import Collection, Iterator
from typing import Final

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789-_."
_SCAN_LIMIT: Final = 1000
"""Names that difflib may compare one by one (about 20 µs each)."""
_SHORTEST: Final = 2
"""A single letter is one error away from every other."""
_LONGEST: Final = 64
"""Longer words are not guessed at: their neighbours are too many and their typing errors too few."""


class Suggester:
    """Answers 'did you mean' hints, at most `budget` of them, so that a file full of mistakes is still reported at once."""

    def __init__(self, budget: int = 50) -> None:
        self._left = budget

    def hint(self, word: str, known: Collection[str]) -> str:
        """Answer `did you mean 'x'?` for the nearest of the known names, or the empty text. `known` should test membership fast.

        A word with which several known names begin may mean any of them.
        """
        if self._left <= 0:
            return ""
        self._left -= 1
        begun = [name for name in known if name.startswith(f"{word}_")] if len(known) <= _SCAN_LIMIT else []
        name = nearest(word, known)
        meant = "' or '".join(begun) if len(begun) > 1 else name
        return f"did you mean '{meant}'?" if meant else ""


def nearest(word: str, known: Collection[str]) -> str | None:
    """Answer the known name most like the word: one typing error away, else alike in difflib's sense where few are known."""
    if not _SHORTEST <= len(word) <= _LONGEST:
        return None
    for candidate in _one_error_away(word):
        if candidate in known:
            return candidate
    if len(known) > _SCAN_LIMIT:
        return None
    alike = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return alike[0] if alike else None


def _one_error_away(word: str) -> Iterator[str]:
    """Yield the word with two neighbours swapped, one character gone, changed or added, in that order."""
    if word != word.lower():
        yield word.lower()
    for place in range(len(word) - 1):
        yield word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    for place in range(len(word)):
        yield word[:place] + word[place + 1 :]
    for place in range(len(word)):
        for letter in _ALPHABET:
            if letter != word[place]:
                yield word[:place] + letter + word[place + 1 :]
    for place in range(len(word) + 1):
        for letter in _ALPHABET:
            yield word[:place] + letter + word[place:]
