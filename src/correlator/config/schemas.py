"""JSON Schemas of the configuration files for editors, made from the models that check them."""

from typing import Final

from pydantic import BaseModel

from correlator.config.scenario_schema import ScenarioFile
from correlator.config.schema import DURATION_FORMS, RulesFile, TopologyFile
from correlator.config.settings import Settings
from correlator.model.instant import format_duration

_MODELS: Final[dict[str, type[BaseModel]]] = {"rules": RulesFile, "topology": TopologyFile, "settings": Settings, "scenario": ScenarioFile}

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, object]:
    """Answer a schema by the name of the kind of file; docs/schemas holds them as NAME.schema.json."""
    return {name: _editable({"$schema": _DRAFT, **model.model_json_schema(by_alias=True)}) for name, model in _MODELS.items()}


def _editable(schema: object) -> object:
    """Write the defaults of durations as people write them, and leave out those that only say 'nothing'."""
    if isinstance(schema, list):
        return [_editable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    written = {key: _editable(value) for key, value in schema.items()}
    default = written.get("default")
    if "default" in written and (default is None or isinstance(default, dict) or default == []):
        del written["default"]
    elif isinstance(default, int) and written.get("anyOf") == DURATION_FORMS:
        written["default"] = format_duration(default)
    return written
