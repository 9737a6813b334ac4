"""Pages about configuration for people, made from the models that check it."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from correlator.config.settings import Settings
from correlator.model.instant import format_duration

_HEAD = """# Settings of `correlator run`

Written from the code by `make docs`. `--config FILE` names a YAML file; every key may be left out, an unknown one is an error, and
relative paths are taken from the file's folder. Without a file, the topic `events` is read with `arrival: item`: what `publish` puts there
brings its own times.

```yaml
rules: [rules]
topology: [topologies]
http: {listen: 127.0.0.1:8080}
kafka: {bootstrap: [127.0.0.1:9092]}
topics:
  - {name: events, format: auto, arrival: item}
```

| key | default | what it does |
|---|---|---|
"""


def settings_page() -> str:
    """Render docs/settings.md."""
    return _HEAD + "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in _rows(Settings, ""))


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            yield from _rows(section, f"{prefix}{name}.")
            continue
        yield f"{prefix}{name}", _default(field), field.description or ""
        items = field.default if isinstance(field.default, tuple) else ()
        if items and isinstance(items[0], BaseModel):
            yield from _rows(type(items[0]), f"{prefix}{name}[].")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Answer the model of a section, one that may be absent too."""
    kinds = [type(field.default), *get_args(field.annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value if not isinstance(item, BaseModel)) or "one, `events`"
    is_duration = isinstance(value, int) and any(isinstance(mark, BeforeValidator) for mark in field.metadata)
    if is_duration:
        return f"`{format_duration(value)}`"
    return f"`{value}`"
