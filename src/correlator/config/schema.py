"""The one schema of rules and topology files: what may be written, its bounds and its meaning, as pydantic models.

Messages of errors, the JSON Schemas in docs/schemas and the tables in docs are made from these.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from correlator.config.matchers import NO_MATCHER, parse_matchers
from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Duration, format_duration, parse_duration

DURATION_PATTERN: Final = r"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"


def mistake(message: str) -> PydanticCustomError:
    """Make the error whose text follows the path in a message: `time.reorder` + `must be at most 5m, not 10m`."""
    return PydanticCustomError("mistake", "{text}", {"text": message})


def shown(value: object) -> str:
    """Write a value as messages quote it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 40 else value[:39] + '…'}'"  # noqa: PLR2004 (a line of a terminal holds it)
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping"


class Between:
    """Reads a Prometheus duration and keeps it between two, in milliseconds, both allowed."""

    def __init__(self, low: Duration, high: Duration) -> None:
        self._low = low
        self._high = high

    def __call__(self, value: object) -> Duration:
        """Answer milliseconds; the name of the field stands before the message."""
        duration = _duration(value, self._units(value))
        if duration < self._low:
            raise mistake(f"must be at least {format_duration(self._low)}, not {value}")
        if duration > self._high:
            raise mistake(f"must be at most {format_duration(self._high)}, not {value}")
        return duration

    def _units(self, value: object) -> list[str]:
        """Answer the units with which a bare number would be allowed here, the smallest first, each with its name."""
        if not isinstance(value, int):
            return []
        return [f"{value}{sign} for {name}" for sign, (name, unit) in _UNITS.items() if self._low <= value * unit <= self._high]


class Written:
    """Reads text that a pattern describes, and says in words what may stand there."""

    def __init__(self, pattern: str, words: str) -> None:
        self._pattern = re.compile(pattern)
        self._words = words

    def __call__(self, value: str) -> str:
        """Answer the text; the name of the field stands before the message."""
        if self._pattern.search(value) is None:
            raise mistake(f"must be {self._words}, not {shown(value)}")
        return value


_UNITS: Final = {"s": ("seconds", SECOND), "m": ("minutes", MINUTE), "h": ("hours", HOUR), "d": ("days", DAY)}
DURATION_FORMS: Final[list[object]] = [{"type": "string", "pattern": DURATION_PATTERN}, {"const": 0}]
durations_as_text: Final = WithJsonSchema({"anyOf": DURATION_FORMS})


def _duration(value: object, units: Sequence[str]) -> Duration:
    if value == 0 and not isinstance(value, bool):
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        raise mistake(f"has no unit; write {' or '.join(units[:2]) or '30s, 5m or 7d, say'}")
    if not isinstance(value, str):
        raise mistake(f"must be a duration such as 30s, 5m or 1h30m, not {shown(value)}")
    try:
        return parse_duration(value)
    except ValueError:
        raise mistake(f"must be a duration such as 30s, 5m or 1h30m, not {shown(value)}") from None


def emptied(value: object) -> object:
    """Answer an empty mapping for a key with nothing behind it."""
    return {} if value is None else value


def unlisted(value: object) -> object:
    """Answer an empty list for a key with nothing behind it."""
    return [] if value is None else value


Name = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
Names = Annotated[tuple[Name, ...], BeforeValidator(unlisted)]


class Section(BaseModel):
    """What all parts of a file share: unknown keys are mistakes, and a key with nothing behind it means all defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: object) -> object:
        return {} if value is None else value


class IdentitySection(Section):
    """Which labels make two events the same alert."""

    ignore: Names = Field(default=(), description="Labels that do not count: two events that differ only in these are one alert.")
    only: Names = Field(default=(), description="The only labels that count; not together with `ignore`.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.ignore and self.only:
            raise mistake("has both 'ignore' and 'only'; keep one of them")
        return self


class TimeSection(Section):
    """How the time of an event is judged."""

    reorder: Annotated[Duration, BeforeValidator(Between(0, 5 * MINUTE)), durations_as_text] = Field(
        default=10 * SECOND, description="How long a change of an alert waits for earlier ones that are still on their way."
    )
    lateness: Annotated[Duration, BeforeValidator(Between(SECOND, 24 * HOUR)), durations_as_text] = Field(
        default=15 * MINUTE, description="An event that arrives later than this after its own time is late: it only counts."
    )
    max_hold: Annotated[Duration, BeforeValidator(Between(SECOND, HOUR)), durations_as_text] = Field(
        default=5 * MINUTE, description="How far one source may lag behind the others before time goes on without it."
    )


class ExpirySection(Section):
    """How long an alert lives without being repeated, by the format that brought it."""

    native: Annotated[Duration, BeforeValidator(Between(MINUTE, 30 * DAY)), durations_as_text] = Field(
        default=15 * MINUTE, description="For events in the correlator's own shape."
    )
    alertmanager: Annotated[Duration, BeforeValidator(Between(MINUTE, 30 * DAY)), durations_as_text] = Field(
        default=5 * HOUR, description="For Alertmanager webhooks; longer than its `repeat_interval` (4h unless changed)."
    )


class GroupingSection(Section):
    """Which alerts become one incident."""

    hops: Annotated[int, Field(strict=True, ge=1, le=6)] = Field(
        default=3, description="Over how many edges of the topology an alert may join an incident, at most; nearer is likelier."
    )
    window: Annotated[Duration, BeforeValidator(Between(SECOND, 24 * HOUR)), durations_as_text] = Field(
        default=5 * MINUTE, description="How long after its last new alert an incident takes another, at most; sooner is likelier."
    )
    settle: Annotated[Duration, BeforeValidator(Between(0, HOUR)), durations_as_text] = Field(
        default=30 * SECOND, description="How long an incident stays pending, and pages nobody, while it takes shape."
    )
    group_by: Names = Field(default=("service",), description="Labels that group alerts of services which no topology knows.")


class RetentionSection(Section):
    """How long what is over is kept."""

    close_after: Annotated[Duration, BeforeValidator(Between(0, 7 * DAY)), durations_as_text] = Field(
        default=15 * MINUTE, description="How long a resolved incident may be reopened by a relapse."
    )
    closed: Annotated[Duration, BeforeValidator(Between(MINUTE, 365 * DAY)), durations_as_text] = Field(
        default=24 * HOUR, description="How long the document of a closed incident is kept."
    )
    alert: Annotated[Duration, BeforeValidator(Between(15 * MINUTE, 30 * DAY)), durations_as_text] = Field(
        default=HOUR, description="How long an alert that is over is remembered."
    )


def _listed(value: object) -> object:
    if value is None:  # not the default, as elsewhere: a rule whose matchers were forgotten would decide for every alert
        raise mistake(NO_MATCHER)
    return [value] if isinstance(value, str) else value


def _checked_matchers(text: str) -> str:
    try:
        parse_matchers(text)
    except ValueError as error:
        raise mistake(str(error)) from None
    return text


_MATCH_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})


class AlertSection(Section):
    """How alerts that meet all matchers are treated; the first rule that matches decides alone."""

    name: Name = Field(description="How documents and messages call this rule.")
    match: Annotated[
        tuple[
            Annotated[str, Field(strict=True), BeforeValidator(lambda text: _checked_matchers(text) if isinstance(text, str) else text)],
            ...,
        ],
        BeforeValidator(_listed),
        _MATCH_SCHEMA,
    ] = Field(default=(), description="Alertmanager matchers, one text or a list; all must be met. Left out: every alert.")
    hold: Annotated[Duration, BeforeValidator(Between(0, 24 * HOUR)), durations_as_text] = Field(
        default=0, alias="for", description="How long the alert must keep firing before it counts."
    )
    keep_firing_for: Annotated[Duration, BeforeValidator(Between(0, 24 * HOUR)), durations_as_text] = Field(
        default=0, description="How long a resolve must last before it counts."
    )
    settle: Annotated[Duration, BeforeValidator(Between(0, HOUR)), durations_as_text] | None = Field(
        default=None, description="In place of `grouping.settle`, for incidents that this alert opens."
    )
    expiry: Annotated[Duration, BeforeValidator(Between(MINUTE, 30 * DAY)), durations_as_text] | None = Field(
        default=None, description="In place of the expiry of the alert's format."
    )


class RulesFile(Section):
    """Rules: every section may be left out; several files of a folder are read as one."""

    identity: IdentitySection = Field(default=IdentitySection(), description="Which labels make two events the same alert.")
    time: TimeSection = Field(default=TimeSection(), description="How the time of an event is judged.")
    expiry: ExpirySection = Field(default=ExpirySection(), description="How long an alert lives without being repeated.")
    grouping: GroupingSection = Field(default=GroupingSection(), description="Which alerts become one incident.")
    retention: RetentionSection = Field(default=RetentionSection(), description="How long what is over is kept.")
    alerts: Annotated[tuple[AlertSection, ...], BeforeValidator(unlisted)] = Field(
        default=(), description="Alerts treated in their own way; the first rule that matches decides."
    )


class EntitySection(Section):
    """What every entity of the graph may say about itself."""

    owner: Name | None = Field(default=None, description="The team that is asked first.")
    tier: Annotated[int, Field(strict=True, ge=0, le=9)] | None = Field(default=None, description="How important it is; 1 is the most.")
    zone: Name | None = Field(default=None, description="The failure domain it stands in.")
    domain: Name | None = Field(default=None, description="The correlation domain, in place of the file's `domain`.")


class DependencySection(Section):
    """One dependency in its long form: what is called, and how long a fault there takes to show here."""

    service: Name | None = Field(default=None, description="The service (or instance, or third party) depended on.")
    name: Name | None = Field(default=None, description="The same as `service`; for what is no service.")
    delay: Annotated[Duration, BeforeValidator(Between(0, DAY)), durations_as_text] | None = Field(
        default=None, description="How long a fault there takes to show here."
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.service is None) == (self.name is None):
            raise mistake("must name what it depends on, with 'service' or 'name' (one of them)")
        return self

    @property
    def target(self) -> str:
        """The name of what is depended on."""
        return self.service or self.name or ""


def _dependency_form(value: object) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<long>" if isinstance(value, dict | DependencySection) else None


Dependency = Annotated[
    Annotated[Name, Tag("<name>")] | Annotated[DependencySection, Tag("<long>")],
    Discriminator(
        _dependency_form,
        custom_error_type="mistake",
        custom_error_message="must be a name or a mapping such as {service: payments, delay: 30s}",
    ),
]


class ServiceSection(EntitySection):
    """A service: what people page for."""

    depends_on: Annotated[tuple[Dependency, ...], BeforeValidator(unlisted)] = Field(
        default=(), description="What it calls: names, or `{service: payments, delay: 30s}`."
    )
    runs_on: Names = Field(default=(), description="The hosts it runs on.")


class InstanceSection(EntitySection):
    """A pod or replica of a service."""

    of: Name = Field(description="The service it is one of.")
    runs_on: Names = Field(default=(), description="The hosts it runs on.")


class HostSection(EntitySection):
    """A machine, virtual or not."""


class ExternalSection(EntitySection):
    """A third party: it is depended on, and nobody here can repair it."""


class EdgeSection(Section):
    """One edge in its long form."""

    source: Name = Field(alias="from", description="What depends.")
    target: Name = Field(alias="to", description="What it depends on.")
    kind: Name = Field(default="calls", description="`calls`, `runs_on`, `stores_in`, `of`, or any word of your own.")
    delay: Annotated[Duration, BeforeValidator(Between(0, DAY)), durations_as_text] | None = Field(
        default=None, description="How long a fault at `to` takes to show at `from`."
    )


class TopologyFile(Section):
    """The service dependency graph; several files of a folder are read as one."""

    domain: Name | None = Field(default=None, description="The correlation domain of everything in this file that names none itself.")
    split_by: Names = Field(default=(), description="Labels (a cluster, say) for each value of which the graph stands once.")
    services: Annotated[dict[Name, ServiceSection], BeforeValidator(emptied)] = Field(default={}, description="Services by name.")
    instances: Annotated[dict[Name, InstanceSection], BeforeValidator(emptied)] = Field(
        default={}, description="Pods and replicas by name."
    )
    hosts: Annotated[dict[Name, HostSection], BeforeValidator(emptied)] = Field(default={}, description="Machines by name.")
    external: Annotated[dict[Name, ExternalSection], BeforeValidator(emptied)] = Field(default={}, description="Third parties by name.")
    edges: Annotated[tuple[EdgeSection, ...], BeforeValidator(unlisted)] = Field(
        default=(), description="Edges in their long form, of any kind, between any two entities."
    )
