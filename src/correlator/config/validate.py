"""Located values to a schema's model, or every mistake in them with its place, in words of the file and not of pydantic."""

from collections.abc import Iterator
from typing import Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from correlator.config.located import Document, Listing, Mapping, Path
from correlator.config.nearest import Suggester
from correlator.config.problem import Findings
from correlator.config.schema import shown

Schema = TypeVar("Schema", bound=BaseModel)

BROKEN: Final = "\0broken\0"
"""A name that nobody writes: what stands in a broken member where the file has no name, or none that may be one. It is no mistake again."""

_ROUNDS: Final = 3
"""How often a broken member is mended: a key is left out, then given `BROKEN` where it is required; an item of a list the other way."""

_TAGS: Final = ("<name>", "<long>")
"""What pydantic puts into a path for the form of a dependency; no key of the file."""

_PREDICATES: Final = {
    "bool_type": "must be true or false, not {shown}",
    "dict_type": "must be a mapping, not {shown}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "int_from_float": "must be a whole number, not {shown}",
    "int_type": "must be a whole number, not {shown}",
    "less_than_equal": "must be at most {le}, not {value}",
    "literal_error": "must be {expected}, not {shown}",
    "model_type": "must be a mapping, not {shown}",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text, not {shown}",
    "tuple_type": "must be a list, not {shown}",
}
"""Pydantic's kinds of error in our words."""


class Validated:
    """A document after its check; what is sound of it stays usable, so that a mistake here hides none elsewhere."""

    def __init__(self, document: Document, model: BaseModel | None, broken: frozenset[Path]) -> None:
        self.document = document
        self.model = model
        self._broken = broken
        self._root = document.root if isinstance(document.root, Mapping) else Mapping()
        self._remains: dict[Path, BaseModel | None] = {}

    def scalar(self, key: str) -> object:
        """Answer the value as written of a key at the top of the file, None where it is missing, empty or broken as a whole."""
        return None if (key,) in self._broken else self._root.get(key)

    def names(self, key: str) -> list[str]:
        """Answer all names that a section maps, those of broken entries too."""
        entries = self.scalar(key)
        return list(entries) if isinstance(entries, Mapping) else []

    def section(self, key: str, kind: type[Schema]) -> Schema | None:
        """Answer a section of fixed keys, None where it is not given or nothing of it is sound; what is broken in it has its default."""
        if key not in self._root:
            return None
        written = self._root[key]
        if any(path[0] == key for path in self._broken):  # any: the order of a set cannot show
            return self._remains_of((key,), written, kind)
        return kind.model_validate(written)

    def members(self, key: str, kind: type[Schema]) -> Iterator[tuple[Path, Schema]]:
        """Yield the members of a section of many, a mapping or a list, with their paths; of a broken one what is sound of it, if any."""
        written = self.scalar(key)
        checked = getattr(self.model, key, None)
        for name in written if isinstance(written, Mapping) else range(len(written) if isinstance(written, Listing) else 0):
            path: Path = (key, name)
            if checked is not None:
                yield path, checked[name]
                continue
            member = written[name]  # type: ignore[index] # a name or a rank, as the loop says
            sound = self._remains_of(path, member, kind) if path in self._broken else kind.model_validate(member)
            if sound is not None:
                yield path, sound

    def is_broken(self, member: Path) -> bool:
        """Answer whether anything was wrong with a member or a value of a section, so that it says less than is written."""
        return member in self._broken

    def _remains_of(self, path: Path, member: object, kind: type[Schema]) -> Schema | None:
        if path not in self._remains:
            self._remains[path] = _remains(member, kind)
        remains = self._remains[path]
        assert remains is None or isinstance(remains, kind), f"{path} was asked for as two kinds"
        return remains


def validate(document: Document, schema: type[BaseModel], *, findings: Findings, suggester: Suggester) -> Validated:
    """Check a document against its schema, record every mistake, and answer what is sound. An empty document is all defaults."""
    try:
        return Validated(document, schema.model_validate(document.root), frozenset())
    except ValidationError as error:
        broken: set[Path] = set()
        for detail in error.errors(include_url=False):
            path = _without_tags(detail["loc"])
            broken.add(path[:2])
            _record(detail, path, document=document, schema=schema, findings=findings, suggester=suggester)
        return Validated(document, None, frozenset(broken))


def _remains(member: object, kind: type[Schema]) -> Schema | None:
    """Answer what is sound of a member that is broken somewhere; its lists keep their ranks, so that places stay right."""
    remains = _copied(member)
    for _ in range(_ROUNDS):
        try:
            return kind.model_validate(remains)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=False):
                _mend(remains, _without_tags(detail["loc"]), is_missing=detail["type"] == "missing")
    return None


def _copied(value: object) -> object:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _mend(value: object, path: Path, *, is_missing: bool) -> None:
    """Leave a key out, or put `BROKEN` where a name must stand: for a missing key, and for an item, since a list keeps its ranks."""
    if not path:
        return
    *above, last = path
    for depth, step in enumerate(above):
        inner = value.get(step) if isinstance(value, dict) else value[int(step)] if isinstance(value, list) else None
        if not isinstance(inner, dict | list) or (isinstance(inner, list) and inner[int(path[depth + 1])] == BROKEN):
            last = step  # a text in place of a list, or an item that may be no name either
            break
        value = inner
    if isinstance(value, list):
        value[int(last)] = BROKEN
    elif isinstance(value, dict) and is_missing:
        value[str(last)] = BROKEN
    elif isinstance(value, dict):
        value.pop(str(last), None)


def _without_tags(path: Path) -> Path:
    return tuple([step for rank, step in enumerate(path) if not (step in _TAGS and path[max(rank - 2, 0)] == "depends_on")])


def path_text(path: Path) -> str:
    """Write a path as people do: `alerts[0].match`, `services.checkout`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def known_keys(schema: type[BaseModel], path: Path) -> list[str]:
    """Answer the keys that may stand in the mapping at this path."""
    model = schema
    for step in path:
        field = dict(_fields(model)).get(str(step))
        inner = next(_models(field), None) if field is not None else None
        model = inner or model
    return [alias for alias, _ in _fields(model)]


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _record(
    detail: ErrorDetails, path: Path, *, document: Document, schema: type[BaseModel], findings: Findings, suggester: Suggester
) -> None:
    kind = detail["type"]
    parent = path[:-1]
    inside = f" in {path_text(parent)}" if parent else ""
    if kind == "extra_forbidden":
        hint = "" if findings.is_full else suggester.hint(str(path[-1]), known_keys(schema, parent))
        findings.error(document.mark(path, of_key=True), f"unknown key '{path[-1]}'{inside}", hint=hint)
    elif kind == "missing":
        findings.error(document.mark(parent), f"missing key '{path[-1]}'{inside}")
    elif path and path[-1] == "[key]":
        findings.error(document.mark(parent, of_key=True), f"a name in {path_text(parent[:-1])} {_predicate(detail)}")
    else:
        findings.error(document.mark(path), f"{path_text(path) or 'the file'} {_predicate(detail)}")


def _predicate(detail: ErrorDetails) -> str:
    """Answer what is wrong with the value, to stand after its path."""
    value = detail["input"]
    sentence = _PREDICATES.get(detail["type"])
    if sentence is None:
        return detail["msg"] if detail["type"] == "mistake" else detail["msg"][:1].lower() + detail["msg"][1:]
    text = sentence.format(shown=shown(value), value=value, **detail.get("ctx", {}))
    is_bare = detail["type"] == "string_type" and isinstance(value, bool | int | float)
    return f"{text} (put it in quotes)" if is_bare else text
