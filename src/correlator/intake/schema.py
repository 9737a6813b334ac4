"""The JSON Schema of the native event, for those who publish; made from the limits that intake checks."""

from typing import Any, Final

from correlator.intake.formats.fields import MAX_ANNOTATIONS_LENGTH, MAX_LABEL_NAME, MAX_LABEL_VALUE, MAX_LABELS
from correlator.intake.formats.native import STATUS_BY_WORD

_TEXT: Final = {"type": "string", "pattern": "^[^\\u0000]*$"}
_TIME: Final = {
    "description": "RFC 3339 text with a zone, or epoch milliseconds.",
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"type": "null"}],
}


def event_schema() -> dict[str, Any]:
    """Answer the schema that docs/schemas/event.schema.json holds. Whatever meets it is accepted, if perhaps flagged."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "description": "What is said of one alert at one time: an Alertmanager alert plus the time it was said. Other keys are ignored.",
        "type": "object",
        "required": ["status", "labels"],
        "properties": {
            "at": {**_TIME, "description": "When this was so: RFC 3339 text with a zone, or epoch milliseconds. Missing: when it arrived."},
            "status": {"enum": list(STATUS_BY_WORD)},
            "labels": _labels(),
            "annotations": {
                "description": f"Text for people; at most {MAX_ANNOTATIONS_LENGTH} characters in all.",
                "type": ["object", "null"],
                "additionalProperties": _TEXT,
            },
            "startsAt": _TIME,
            "endsAt": _TIME,
            "generatorURL": _optional("Where the alert was made."),
            "value": {"description": "The measured value.", "type": ["number", "null"]},
            "source": _optional("Who says so."),
            "id": _optional("The publisher's own name of this event; the same one with other content is flagged."),
            "receivedAt": {**_TIME, "description": "When it arrived, in recordings: RFC 3339 text with a zone, or epoch milliseconds."},
        },
    }


def _labels() -> dict[str, Any]:
    return {
        "description": "What the alert is; its identity unless rules say otherwise.",
        "type": "object",
        "required": ["alertname"],
        "maxProperties": MAX_LABELS,
        "properties": {"alertname": {**_TEXT, "minLength": 1, "maxLength": MAX_LABEL_VALUE}},
        "propertyNames": {**_TEXT, "maxLength": MAX_LABEL_NAME},
        "additionalProperties": {**_TEXT, "maxLength": MAX_LABEL_VALUE},
    }


def _optional(description: str) -> dict[str, Any]:
    return {"description": description, "type": ["string", "null"]}
