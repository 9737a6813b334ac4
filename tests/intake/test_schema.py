"""The published schema of events: fresh, and of one mind with intake."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.formats import read_items
from correlator.intake.schema import event_schema
from correlator.model.event import Event

from tests.intake.builders import an_event, record

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "event.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(event_schema())


def test_the_committed_schema_is_fresh() -> None:
    """Write docs/schemas/event.schema.json from `event_schema()` when this fails."""
    assert SCHEMA.read_text() == json.dumps(event_schema(), indent=2) + "\n"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema())


VALUES = (
    st.none() | st.booleans() | st.integers(-9, 2**63 - 1) | st.floats(-1e9, 1e9) | st.text(max_size=3) | st.just({}) | st.just({"a": "b"})
)


@given(
    st.sampled_from(["status", "labels", "annotations", "value", "id", "source", "generatorURL", "other"]),
    VALUES | st.just({"alertname": "a", "x": 5}) | st.just({"alertname": ""}) | st.just({"alertname": "a", "b\0": ""}),
)
def test_intake_accepts_what_meets_the_schema_and_refuses_what_does_not(key: str, value: object) -> None:
    document = {**an_event(), key: value}
    (item,) = read_items(record(document))
    is_nul = "\\u0000" in json.dumps(document)
    assert isinstance(item, Event) is (VALIDATOR.is_valid(document) and not is_nul)


@pytest.mark.parametrize("at", ["2026-03-01T12:00:00Z", 1_772_366_400_000, 1.5, None])
@pytest.mark.parametrize("key", ["at", "startsAt", "endsAt", "receivedAt"])
def test_every_writing_of_time_in_the_schema_is_read(key: str, at: Any) -> None:  # noqa: ANN401
    document = {**an_event(), key: at}
    assert VALIDATOR.is_valid(document)
    assert isinstance(read_items(record(document))[0], Event)


@pytest.mark.parametrize("key", ["at", "startsAt", "endsAt", "receivedAt"])
def test_a_time_of_another_type_meets_neither(key: str) -> None:
    document = {**an_event(), key: True}
    assert not VALIDATOR.is_valid(document)
    assert not isinstance(read_items(record(document))[0], Event)
