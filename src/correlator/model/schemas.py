"""What is published about the documents: their JSON Schemas, and the state diagrams drawn from the tables of moves."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from correlator.model.alert import ALERT_MOVES, AlertState
from correlator.model.explanation import Explanation
from correlator.model.incident import INCIDENT_MOVES, AlertDocument, Decision, IncidentDocument, IncidentState

State = TypeVar("State", bound=StrEnum)
Move = TypeVar("Move", bound=StrEnum)
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DOCUMENTS: Final[dict[str, object]] = {
    "incident": IncidentDocument,
    "alert": AlertDocument,
    "decision": Decision,
    "explanation": Explanation,
}


def document_schemas() -> dict[str, dict[str, Any]]:
    """Answer the JSON Schema of every document that consumers read, by its name, and of what `explain --json` prints."""
    return {name: _schema_of(document) for name, document in _DOCUMENTS.items()}


def _schema_of(document: object) -> dict[str, Any]:
    return {"$schema": _DIALECT, **msgspec.json.schema(document)}


def schema_page(name: str) -> bytes:
    """Answer the text of `docs/schemas/<name>.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(document_schemas()[name]), indent=2) + b"\n"


def states_page() -> str:
    """Answer the text of `docs/states.md`."""
    alerts = _diagram(ALERT_MOVES, first=AlertState.RESOLVED)
    incidents = _diagram(INCIDENT_MOVES, first=IncidentState.PENDING)
    return (
        "# States\n\n"
        "Drawn from the tables in `correlator.model`; what is not drawn cannot happen.\n\n"
        "## Alerts\n\n"
        "An alert counts in an incident while it is `firing` or `kept`. `held` is a rule's `for`, `kept` its `keep_firing_for`.\n\n"
        f"{alerts}\n"
        "## Incidents\n\n"
        "Only the first `open` document of an id pages. `reopened` is the same incident come back within `retention.close_after`:\n"
        "consumers update what they have of its id and page nobody anew, see\n"
        "[ADR 9](decisions/0009-a-reopened-incident-does-not-page.md). `closed` and `withdrawn` are final; their documents are\n"
        "removed after their retention.\n\n"
        f"{incidents}"
    )


def _diagram(moves: Mapping[tuple[State, Move], State], *, first: State) -> str:
    lines = [f"    {before.value} --> {after.value}: {move.value}" for (before, move), after in moves.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}", *lines, "```", ""])
