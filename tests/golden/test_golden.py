"""One small story whose documents are written down; `UPDATE_GOLDEN=1` writes them anew, for a person to read the difference."""

import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from correlator.correlate.machine import Machine
from correlator.correlate.render import alert_document
from correlator.model.incident import encode_document, encode_incident
from correlator.model.instant import MINUTE
from correlator.model.rule import AlertRule, Matcher, MatchOperator
from correlator.model.schemas import document_schemas, schema_page, states_page

from tests.builders import a_control, a_tick, an_event, frames_of, resolved

HERE = Path(__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
KINDS = ("incident", "alert", "decision")

STORY = [
    an_event("db/DiskFull", "0", annotations={"summary": "disk at 99 %"}, value=0.99),
    an_event("cart/ErrorRate", "20s"),
    an_event("web/Latency", "35s", labels={"severity": "warning"}),
    an_event("mail/QueueLong", "40s"),
    an_event("db/DiskFull", "1m"),
    resolved("mail/QueueLong", "70s"),
    an_event("cart/Held", "80s"),
    resolved("cart/ErrorRate", "4m"),
    resolved("web/Latency", "4m10s"),
    resolved("db/DiskFull", "5m"),
    an_event("db/DiskFull", "7m"),
    resolved("cart/Held", "7m5s"),
    resolved("db/DiskFull", "9m"),
]


def documents() -> dict[str, list[bytes]]:
    """Answer all that the story publishes, by kind, in order."""
    control = a_control(AlertRule("hold", (Matcher("alertname", MatchOperator.EQUAL, "Held"),), hold=10 * MINUTE))
    machine = Machine(control)
    written: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for frame in [*frames_of([[event] for event in STORY], control), a_tick("1h")]:
        effects = machine.step(frame)
        written["incident"] += [encode_incident(document) for document in effects.incidents.values() if document is not None]
        written["alert"] += [encode_document(alert_document(alert)) for alert in effects.alerts.values() if alert is not None]
        written["decision"] += [encode_document(decision) for decision in effects.decisions]
    return written


@pytest.mark.parametrize("kind", KINDS)
def test_the_story_is_told_as_it_was_written_down(kind: str) -> None:
    body = b"\n".join([msgspec.json.format(document, indent=1) for document in documents()[kind]]) + b"\n"
    golden = HERE / f"{kind}s.golden"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(body)
    assert golden.read_bytes().decode() == body.decode(), (
        "if the change is meant: UPDATE_GOLDEN=1 pytest tests/golden, and read the difference"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_real_documents_meet_the_published_schema(kind: str) -> None:
    schema: dict[str, Any] = document_schemas()[kind]
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    published = documents()[kind]
    assert published
    for document in published:
        validator.validate(msgspec.json.decode(document))


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_with_labels_that_are_no_text_does_not_meet_the_schema(kind: str) -> None:
    if kind == "decision":
        pytest.skip("decisions carry no labels")
    document = msgspec.json.decode(documents()[kind][0])
    holder = document["members"][0] if kind == "incident" else document
    holder["labels"] = {"alertname": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(document_schemas()[kind]).validate(document)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_document_is_described(kind: str) -> None:
    shapes = document_schemas()[kind]["$defs"]
    bare = [(shape, key) for shape, told in shapes.items() for key, each in told.get("properties", {}).items() if "description" not in each]
    assert not bare


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_fresh(kind: str) -> None:
    page = DOCS / "schemas" / f"{kind}.schema.json"
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_bytes(schema_page(kind))
    assert page.read_bytes() == schema_page(kind)


def test_the_state_diagrams_are_fresh() -> None:
    page = DOCS / "states.md"
    if os.environ.get("UPDATE_GOLDEN"):
        page.write_text(states_page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == states_page()
