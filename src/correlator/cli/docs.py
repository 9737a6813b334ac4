"""`python -m correlator.cli.docs` writes the documents that are made from code; tests fail when they are stale."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from correlator.cli.reference import cli_page
from correlator.config.pages import settings_page
from correlator.config.schemas import schemas
from correlator.intake.schema import event_schema
from correlator.model.schemas import document_schemas, schema_page, states_page
from correlator.runtime.asyncapi import asyncapi_page
from correlator.runtime.metrics import metrics_page

ROOT = Path(__file__).resolve().parents[3]


def documents() -> Iterator[tuple[Path, str]]:
    """Answer every generated document, its path relative to the project's folder."""
    yield Path("docs/asyncapi.yaml"), asyncapi_page(version("correlator"))
    yield Path("docs/cli.md"), cli_page()
    yield Path("docs/metrics.md"), metrics_page()
    yield Path("docs/settings.md"), settings_page()
    yield Path("docs/states.md"), states_page()
    yield Path("docs/schemas/event.schema.json"), json.dumps(event_schema(), indent=2) + "\n"
    for name in document_schemas():
        yield Path(f"docs/schemas/{name}.schema.json"), schema_page(name).decode()
    for name, schema in schemas().items():
        yield Path(f"docs/schemas/{name}.schema.json"), json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    for path, text in documents():
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
