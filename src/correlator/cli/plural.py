"""Counts in words for people: `1 item`, `2 items`."""


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """Write a number with its noun; `nouns` is its plural where an `s` does not make it."""
    return f"{number} {noun}" if number == 1 else f"{number} {nouns or noun + 's'}"
