"""Alertmanager's matcher syntax: `severity=~"warning|info"`, several with commas, braces around them optional."""

import re
import warnings
from typing import Final

from correlator.model.rule import Matcher, MatchOperator

_NAME: Final = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|([^\s{}!=~,"'`\\]+))\s*""", re.DOTALL)
_OPERATOR: Final = re.compile(r"(=~|!~|!=|=)\s*")
_VALUE: Final = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|([^\s{}!=~,"'`\\]*(?:[ ][^\s{}!=~,"'`\\]+)*))\s*""", re.DOTALL)
_COMMA: Final = re.compile(r"(?:,|$)\s*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", '"': '"', "\\": "\\"}
_LITERAL: Final = re.compile(r"\\[^1-9]|\[\^?\]?(?:[^\]\\]|\\.)*\]", re.DOTALL)
"""What stands for itself in a pattern, escaped or in a class: `\\++` and `[*+]` are not possessive."""
_PATTERN_LIMIT: Final = 1024
_UNKNOWN_TO_RE2: Final = re.compile(r"\(\?(?:=|!|<=|<!|P=|\(|>)|\\[1-9]|[*+?}]\+")
"""What Python's patterns can and Alertmanager's cannot: looking around, back references, atomic and possessive groups."""

NO_MATCHER: Final = "holds no matcher; write one as severity=\"critical\", or leave 'match' out to mean every alert"


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read comma-separated matchers, all of which an alert must meet.

    Raises `ValueError` with a sentence that quotes the part that cannot be read.
    """
    body = text.strip()
    if body.startswith("{"):
        if not body.endswith("}"):
            raise ValueError(f"begins with a brace that nothing closes: {_excerpt(text, 0)}")
        body = body[1:-1].strip()
    matchers: list[Matcher] = []
    place = 0
    while place < len(body):
        matcher, place = _matcher(body, place)
        matchers.append(matcher)
    if not matchers:
        raise ValueError(NO_MATCHER)
    return tuple(matchers)


def _matcher(body: str, start: int) -> tuple[Matcher, int]:
    name = _NAME.match(body, start)
    operator = _OPERATOR.match(body, name.end()) if name else None
    if name is None or operator is None:
        raise ValueError(f"cannot be read at '{_excerpt(body, start)}'; write a matcher as severity=\"critical\" (or with != =~ !~)")
    value = _VALUE.match(body, operator.end())
    comma = _COMMA.match(body, value.end()) if value else None
    if value is None or comma is None:
        raise ValueError(f"cannot be read at '{_excerpt(body, operator.end())}'; put the value in double quotes")
    matcher = Matcher(label=_unquoted(name), operator=MatchOperator(operator[1]), value=_unquoted(value))
    if not matcher.label:
        raise ValueError("names no label; write the label before the sign")
    if matcher.operator in (MatchOperator.MATCHES, MatchOperator.NOT_MATCHES):
        _check_pattern(matcher.value)
    return matcher, comma.end()


def _unquoted(match: re.Match[str]) -> str:
    quoted, bare = match[1], match[2]
    if quoted is None:
        return bare
    return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), quoted)


def _excerpt(text: str, start: int) -> str:
    rest = text[start:].strip()
    return rest if len(rest) <= 40 else rest[:39] + "…"  # noqa: PLR2004 (a line of a terminal holds it)


def _check_pattern(pattern: str) -> None:
    if len(pattern) > _PATTERN_LIMIT:
        raise ValueError(f"has a pattern longer than {_PATTERN_LIMIT} characters")
    if _UNKNOWN_TO_RE2.search(_LITERAL.sub("_", pattern)):
        raise ValueError(
            f"has a pattern that Alertmanager would not read: '{pattern}'; no look-around, back reference, possessive or atomic part"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, FutureWarning, DeprecationWarning) as error:
        raise ValueError(f"has a bad pattern '{_excerpt(pattern, 0)}': {error}") from None
