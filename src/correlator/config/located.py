"""YAML text to plain values that know where they stand: every key and value has its line and column.

Scalars follow YAML 1.2: only `true`, `false`, `null`, `~` and numbers are not text, so a service may be called `no` or `on`.
Keys are always text. One document a file; anchors, aliases and `<<` work within the limits below.
"""

import re
from collections.abc import Sequence
from typing import Final

import yaml
from yaml import CSafeLoader

from correlator.config.problem import ConfigError, Findings, Mark, Problem, Severity

BYTES_LIMIT: Final = 64 * 1024 * 1024
NODES_LIMIT: Final = 5_000_000
"""Scalars and collections of one file, each alias counted as all it stands for: 200,000 services with 20 values each fit."""
DEPTH_LIMIT: Final = 32

_COLUMNS: Final = 1 << 27
"""More than `BYTES_LIMIT`. A place is packed as line * _COLUMNS + column: millions of pairs would cost twice the memory."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")

Path = tuple[str | int, ...]


class Mapping(dict[str, object]):
    """A mapping whose keys and values know their places; `places` holds two for each key, in order."""

    __slots__ = ("_rank", "places", "size")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.size = 0
        self._rank: dict[str, int] | None = None

    def place(self, key: object, *, of_key: bool) -> int | None:
        """Answer the packed place of a key or of its value."""
        if self._rank is None or len(self._rank) != len(self):
            self._rank = {name: rank for rank, name in enumerate(self)}
        rank = self._rank.get(key) if isinstance(key, str) else None
        return None if rank is None else self.places[2 * rank + (0 if of_key else 1)]

    def forget_ranks(self) -> None:
        """Drop the index of keys after a change of their order."""
        self._rank = None


class Listing(list[object]):
    """A list whose items know their places."""

    __slots__ = ("places", "size")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.size = 0


class Document:
    """One file as read: `root` is None when it is empty. `problems` are mistakes that do not keep the rest from being checked."""

    def __init__(self, file: str, root: object, place: int, *, problems: Sequence[Problem] = ()) -> None:
        self.file = file
        self.root = root
        self.problems = tuple(problems)
        self._place = place

    def mark(self, path: Path = (), *, of_key: bool = False) -> Mark:
        """Answer where the value at this path stands (or its key); the nearest value around it where there is none."""
        here: object = self.root
        place = self._place
        for depth, step in enumerate(path):
            is_last = depth == len(path) - 1
            if isinstance(here, Mapping):
                found = here.place(step, of_key=of_key and is_last)
                if found is None:
                    continue
                place, here = found, here[str(step)]
            elif isinstance(here, Listing) and isinstance(step, int) and step < len(here):
                place, here = here.places[step], here[step]
        return _mark(self.file, place)

    def part(self, key: str) -> "Document":
        """Answer what stands behind a key at the top as a document of its own, whose places are those of this file."""
        place = self.root.place(key, of_key=False) if isinstance(self.root, Mapping) else None
        if place is None:
            return Document(self.file, None, self._place)
        return Document(self.file, self.root[key], place)  # type: ignore[index] # only a mapping has a place for a key


def read(content: bytes, file: str) -> Document:
    """Read one YAML document; `file` is what messages call it.

    A key written twice is among the document's problems; what stands behind both is taken together, so that it is checked. Raises
    `ConfigError` with the problems so far and the first place where this is not YAML, or is more than the limits allow.
    """
    text = _decoded(content, file)
    composer = _Composer(file)
    loader = CSafeLoader(text)
    try:
        while not composer.is_done:
            event = loader.get_event()
            assert event is not None, "the end of the stream is an event of its own"
            composer.take(event)
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position].decode(errors="ignore")
        raise composer.stopped(_mark_after(file, before), "a control character is not allowed in YAML") from None
    except yaml.MarkedYAMLError as error:
        raise composer.stopped(*_syntax(error, file, text)) from None
    finally:
        loader.dispose()
    return Document(file, composer.root, composer.root_place, problems=composer.findings.problems())


class _Composer:
    """Builds values from the parser's events without recursion, so that depth is our limit and not the interpreter's."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings = Findings()
        self.root: object = None
        self.root_place = _COLUMNS + 1
        self.is_done = False
        self._documents = 0
        self._nodes = 0
        self._open: list[Mapping | Listing] = []
        self._keys: list[tuple[str, int] | None] = []
        self._firsts: list[object] = []
        self._anchor_of_open: list[str | None] = []
        self._values_by_anchor: dict[str, object] = {}

    def take(self, event: yaml.Event) -> None:
        """Take the next event; raises `ConfigError` where it breaks a limit or a rule of ours."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event, Mapping() if isinstance(event, yaml.MappingStartEvent) else Listing())
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refused(event, "a second document starts here; write one document a file")
        elif isinstance(event, yaml.StreamEndEvent):
            self.is_done = True

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        tag = event.tag
        if tag is not None and tag not in _TEXT_TAGS:
            raise self._refused(event, f"the tag '{tag}' is not understood; write the plain value")
        value = event.value
        place = _packed(event)
        if self._open and self._keys[-1] is None and type(self._open[-1]) is Mapping:
            self._count(event, 1)
            self._key(event, value)
            return
        if event.anchor is not None:
            self._values_by_anchor[event.anchor] = _plain(value) if event.implicit[0] else value
        self._count(event, 1)
        self._place_value(event, _plain(value) if event.implicit[0] else value, place)

    def _key(self, event: yaml.Event, key: str) -> None:
        parent = self._open[-1]
        assert isinstance(parent, Mapping)
        place = _packed(event)
        if key in parent:
            first = parent.place(key, of_key=True)
            assert first is not None
            self.findings.error(_mark(self.file, place), f"duplicate key '{key}', first written at {_mark(self.file, first)}")
        self._keys[-1] = (key, place)

    def _start(self, event: yaml.CollectionStartEvent, collection: Mapping | Listing) -> None:
        if event.tag is not None and event.tag != "!":
            raise self._refused(event, f"the tag '{event.tag}' is not understood; write the plain value")
        if self._open and self._keys[-1] is None and type(self._open[-1]) is Mapping:
            raise self._refused(event, "a key must be one word, not a list or a mapping")
        if len(self._open) >= DEPTH_LIMIT:
            raise self._refused(event, f"nested deeper than {DEPTH_LIMIT} levels")
        self._count(event, 1)
        self._firsts.append(self._place_value(event, collection, _packed(event)))
        self._open.append(collection)
        self._keys.append(None)
        self._anchor_of_open.append(event.anchor)

    def _end(self, event: yaml.CollectionEndEvent) -> None:
        closed = self._open.pop()
        self._keys.pop()
        anchor = self._anchor_of_open.pop()
        if isinstance(closed, Mapping) and "<<" in closed:
            self._merge(event, closed)
        if anchor is not None:
            self._values_by_anchor[anchor] = closed
        _join(self._firsts.pop(), closed)
        if self._open:
            self._open[-1].size += closed.size

    def _alias(self, event: yaml.AliasEvent) -> None:
        if self._open and self._keys[-1] is None and type(self._open[-1]) is Mapping:
            raise self._refused(event, "a key must be one word, not an alias")
        if event.anchor in self._anchor_of_open:
            raise self._refused(event, f"the alias '*{event.anchor}' stands inside itself")
        if event.anchor not in self._values_by_anchor:
            raise self._refused(event, f"the alias '*{event.anchor}' is not defined above")
        value = self._values_by_anchor[event.anchor]
        self._count(event, 1 + (value.size if isinstance(value, Mapping | Listing) else 0))
        self._place_value(event, value, _packed(event))

    def _place_value(self, event: yaml.Event, value: object, place: int) -> object:
        """Put a value where it belongs; of a key written twice, which was told as a mistake, answer the first one's value instead."""
        if not self._open:
            self.root, self.root_place = value, place
            return None
        parent = self._open[-1]
        if isinstance(parent, Listing):
            parent.append(value)
            parent.places.append(place)
            return None
        key = self._keys[-1]
        assert key is not None, event
        self._keys[-1] = None
        if key[0] in parent:
            return parent[key[0]]
        parent[key[0]] = value
        parent.places += (key[1], place)
        return None

    def _merge(self, event: yaml.Event, mapping: Mapping) -> None:
        """Fold what `<<` names into the mapping, in place: its own keys win, then the first named."""
        merged = mapping["<<"]
        sources: Sequence[object] = merged if isinstance(merged, Listing) else [merged]
        place = mapping.place("<<", of_key=True)
        rank = list(mapping).index("<<")
        del mapping["<<"]
        del mapping.places[2 * rank : 2 * rank + 2]
        for source in sources:
            if not isinstance(source, Mapping):
                raise self.stopped(_mark(self.file, place or _packed(event)), "'<<' must name a mapping or a list of mappings")
            for rank_there, (key, value) in enumerate(source.items()):
                if key not in mapping:
                    mapping[key] = value
                    mapping.places += source.places[2 * rank_there : 2 * rank_there + 2]
        mapping.forget_ranks()

    def _count(self, event: yaml.Event, amount: int) -> None:
        self._nodes += amount
        if self._nodes > NODES_LIMIT:
            raise self._refused(event, f"more than {NODES_LIMIT} values in one file, aliases counted as what they stand for")
        if self._open:
            self._open[-1].size += amount

    def _refused(self, event: yaml.Event, message: str) -> ConfigError:
        return self.stopped(_mark(self.file, _packed(event)), message)

    def stopped(self, where: Mark, message: str) -> ConfigError:
        """Answer the error of a place behind which nothing can be read, with the mistakes before it."""
        self.findings.error(where, message)
        return ConfigError(self.findings.problems())


def _join(first: object, second: object) -> None:
    """Add what stands behind a key's second writing to what stands behind its first, so that others may name it and it is checked."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        first.size += second.size
        for rank, (key, value) in enumerate(second.items()):
            if key in first:
                _join(first[key], value)
            else:
                first[key] = value
                first.places += second.places[2 * rank : 2 * rank + 2]
        first.forget_ranks()
    elif isinstance(first, Listing) and isinstance(second, Listing) and first is not second:
        first.size += second.size
        first += second
        first.places += second.places


def _plain(text: str) -> object:
    """Read an unquoted scalar."""
    first = text[:1]
    if first.isalpha() and first not in "tTfFnN":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def _packed(event: yaml.Event) -> int:
    mark = event.start_mark
    assert mark is not None, "libyaml marks every event"
    return (mark.line + 1) * _COLUMNS + mark.column + 1


def _mark(file: str, place: int) -> Mark:
    line, column = divmod(place, _COLUMNS)
    return Mark(file, line, column)


def _mark_after(file: str, before: str) -> Mark:
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _refused(where: Mark, message: str) -> ConfigError:
    return ConfigError([Problem(severity=Severity.ERROR, where=where, message=message)])


def _decoded(content: bytes, file: str) -> str:
    if len(content) > BYTES_LIMIT:
        raise _refused(Mark(file), f"larger than {BYTES_LIMIT // 1024 // 1024} MiB; split it into several files")
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise _refused(_mark_after(file, before), "not UTF-8 text") from None


def _syntax(error: yaml.MarkedYAMLError, file: str, text: str) -> tuple[Mark, str]:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Mark(file), f"not valid YAML: {error.problem}"
    is_past_end = mark.line > text.count("\n")  # where libyaml sees what is missing at the end of a file without a last newline
    where = _mark_after(file, text) if is_past_end else Mark(file, mark.line + 1, mark.column + 1)
    if _character_at(text, where) == "\t":
        return where, "a tab cannot indent YAML; use spaces"
    context = f" {error.context}" if error.context else ""
    return where, f"not valid YAML: {error.problem}{context}"


def _character_at(text: str, where: Mark) -> str:
    lines = text.split("\n", where.line)
    line = lines[where.line - 1] if where.line <= len(lines) else ""
    return line[where.column - 1 : where.column]
