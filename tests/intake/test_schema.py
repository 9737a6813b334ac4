"""The published schema of events: fresh, and of one mind with intake."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.intake.arrival import HELD_MOST
from correlator.intake.formats import MAX_ITEMS, read_items
from correlator.intake.formats.fields import MAX_ANNOTATIONS_LENGTH, MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS, MAX_LABELS_LENGTH
from correlator.intake.normalise import IDS_MOST
from correlator.intake.pipeline import TRACKS_MOST
from correlator.intake.schema import event_schema
from correlator.model.event import Event, Flag, Rejection

from tests.intake.builders import an_event, record

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "event.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(event_schema())


def test_the_committed_schema_is_fresh() -> None:
    """Write docs/schemas/event.schema.json from `event_schema()` when this fails."""
    assert SCHEMA.read_text() == json.dumps(event_schema(), indent=2) + "\n"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(event_schema())


VALUES: st.SearchStrategy[object] = (
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


def test_the_page_for_publishers_names_every_reason_flag_and_limit() -> None:
    page = (SCHEMA.parents[1] / "formats.md").read_text()
    words = [*(reason.value for reason in Rejection), *(str(flag.name).lower() for flag in Flag)]
    limits = [
        MAX_LABELS,
        MAX_LABEL_NAME,
        MAX_LABEL_VALUE,
        MAX_LABELS_LENGTH,
        MAX_ANNOTATIONS_LENGTH,
        MAX_ITEMS,
        TRACKS_MOST,
        IDS_MOST,
        HELD_MOST,
    ]
    assert [word for word in words if f"`{word}`" not in page] == []
    assert [limit for limit in limits if f"{limit:,}" not in page] == []
