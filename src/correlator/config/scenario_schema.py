"""The schema of scenario files: what was said of which alerts and when, and which incidents are expected then, as pydantic models.

A scenario begins at noon. A moment is a distance from then (`+30s`) or a time of that day (`12:00:30`), in milliseconds since then.
"""

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from correlator.config.matchers import parse_matchers
from correlator.config.schema import Between, Name, Names, Section, durations_as_text, mistake, shown, unlisted
from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Duration, parse_duration

NOON: Final = 12 * HOUR
TIMES_MOST: Final = 1_000
"""How often an input may happen; a thousand flaps are a day of one a minute and a half."""
LABELS_MOST: Final = 50
"""Far below what an event may have, so that none is refused."""

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)", re.ASCII)
_MOMENT_SHAPE: Final = "must be a distance from the start such as +30s, or a time of day such as 12:00:30"


def _moment(value: object) -> Duration:
    if value == 0 and not isinstance(value, bool):
        return 0
    if not isinstance(value, str):
        raise mistake(f"{_MOMENT_SHAPE}, not {shown(value)}")
    clock = _CLOCK.fullmatch(value)
    if clock is None:
        return _distance(value)
    hours, minutes, seconds = map(int, clock.groups())
    moment = hours * HOUR + minutes * MINUTE + seconds * SECOND - NOON
    if moment < 0:
        raise mistake(f"{value} lies before the start, 12:00:00; what comes after midnight is a distance, such as +12h30m")
    return moment


def _distance(value: str) -> Duration:
    try:
        return parse_duration(value.removeprefix("+"))
    except ValueError:
        raise mistake(f"{_MOMENT_SHAPE}, not {shown(value)}") from None


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _visible(text: str) -> str:
    if not text.isprintable():
        raise mistake(f"holds a character that cannot be seen: {text!r}")
    return text


def _alert(text: str) -> str:
    if not text.rpartition("/")[2]:
        raise mistake(f"must be an alert such as checkout/HighErrorRate, or its name alone, not {shown(text)}")
    return text


def _selector(text: str) -> str:
    matchers = text.partition("{")
    if matchers[1]:
        try:
            parse_matchers("{" + matchers[2])
        except ValueError as error:
            raise mistake(str(error)) from None
    return text


def _incidents(value: object) -> object:
    if value is None:  # not the default, as elsewhere: whoever forgot the list would expect anything
        raise mistake("must be a list of incidents, or 'none'")
    return [] if value == "none" else value


def _in_place(value: object) -> object:
    if not isinstance(value, dict | str | None):
        raise mistake(f"must be a mapping as in its own file, or the path of one, not {shown(value)}")
    return value


def _some(value: object) -> object:
    if value is None or value == []:
        raise mistake("must list at least one expectation")
    return value


def _or_none(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"const": "none"}, schema["anyOf"][0]]


_ONE_OR_MORE_SCHEMA: Final = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
InPlace = Annotated[object, BeforeValidator(_in_place), WithJsonSchema({"type": ["string", "object"]})]
Moment = Annotated[Duration, BeforeValidator(_moment), WithJsonSchema({"anyOf": [{"type": "string"}, {"const": 0}]})]
Visible = Annotated[Name, AfterValidator(_visible)]
OneOrMore = Annotated[tuple[Visible, ...], BeforeValidator(_one_or_more), _ONE_OR_MORE_SCHEMA]
Alerts = Annotated[tuple[Annotated[Visible, AfterValidator(_alert)], ...], BeforeValidator(_one_or_more), _ONE_OR_MORE_SCHEMA]
Selectors = Annotated[tuple[Annotated[Name, AfterValidator(_selector)], ...], BeforeValidator(_one_or_more), _ONE_OR_MORE_SCHEMA]


class InputSection(Section):
    """What sources say of one or more alerts: once, or again and again."""

    at: Moment = Field(description="When it was so: `+30s` after the start, or `12:00:30`; every scenario starts at 12:00:00.")
    firing: Alerts = Field(default=(), description="The alerts that fire: `checkout/HighErrorRate`, one or a list.")
    resolved: Alerts = Field(default=(), description="The alerts that are over.")
    severity: Visible | None = Field(default=None, description="The label `severity`.")
    labels: dict[Visible, OneOrMore] = Field(
        default={}, max_length=LABELS_MOST, description="Further labels. A list of values stands for an alert with each of them."
    )
    resolves: Moment | None = Field(default=None, description="When it is said to be over; until then it is said again and again.")
    until: Moment | None = Field(default=None, description="Until when it is said again and again; that it is over is never said.")
    every: Annotated[Duration, BeforeValidator(Between(SECOND, DAY)), durations_as_text] | None = Field(
        default=None, description="How often it is said again, in place of the scenario's `every`."
    )
    times: Annotated[int, Field(strict=True, ge=1, le=TIMES_MOST)] = Field(default=1, description="How often all of this happens.")
    apart: Annotated[Duration, BeforeValidator(Between(SECOND, DAY)), durations_as_text] | None = Field(
        default=None, description="How far apart it happens, where `times` is more than 1."
    )
    source: OneOrMore = Field(default=(), description="Who says it; of several each does.")
    lag: Annotated[Duration, BeforeValidator(Between(0, DAY)), durations_as_text] = Field(
        default=0, description="How long after its own time each event arrives."
    )

    @model_validator(mode="after")
    def _is_one_story(self) -> Self:
        ends = [moment for moment in (self.resolves, self.until) if moment is not None]
        if bool(self.firing) == bool(self.resolved):
            raise mistake("must name alerts with 'firing' or with 'resolved' (one of them)")
        if self.resolved and (ends or self.every is not None):
            raise mistake("says that alerts are over, which is said once; 'resolves', 'until' and 'every' are of 'firing'")
        if len(ends) > 1:
            raise mistake("has both 'resolves' and 'until'; keep 'resolves' where the end is said, 'until' where it is not")
        if self.every is not None and not ends:
            raise mistake("has 'every' and no end; add 'resolves' or 'until'")
        if ends and ends[0] <= self.at:
            raise mistake("ends before it began; 'resolves' and 'until' are moments, not durations")
        if (self.times > 1) != (self.apart is not None):
            raise mistake("needs both 'times' and 'apart', or neither")
        return self


class ExpectedIncidentSection(Section):
    """One incident that is expected; what is left out may be anything. A key with nothing behind it expects that there is none."""

    root: Name | None = Field(default=None, description="The entity of the first root cause.")
    condition: Name | None = Field(default=None, description="Its `condition`: what alerted there first.")
    members: Selectors = Field(default=(), description="All its alerts: `checkout/HighErrorRate`, `checkout/*`, with matchers in braces.")
    state: Literal["pending", "open", "resolved", "closed", "reopened"] | None = Field(default=None, description="Where it stands.")
    priority: Literal["P1", "P2", "P3", "P4"] | None = Field(default=None, description="Its priority.")
    owner: Name | None = Field(default=None, description="Its owner.")
    title: Name | None = Field(default=None, description="Its title, word by word.")
    paged: Annotated[bool, Field(strict=True)] | None = Field(default=None, description="Whether it was ever `open`, and so paged.")
    reopened: Annotated[bool, Field(strict=True)] | None = Field(default=None, description="Whether it ever came back.")
    contributing: Annotated[Names, BeforeValidator(unlisted)] = Field(
        default=(), description="The entities that the root does not explain."
    )
    blast_radius: Annotated[Names, BeforeValidator(unlisted)] = Field(default=(), description="The entities that depend on the root.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise mistake("expects nothing of its incident; say at least its 'root' or its 'members'")
        for key in ("state", "priority", "title", "paged", "reopened"):
            if key in self.model_fields_set and getattr(self, key) is None:
                raise mistake(f"has '{key}' with nothing behind it; every incident has one")
        return self


class ExpectedAlertSection(Section):
    """What is expected of an alert, or of each of several."""

    alert: Selectors = Field(description="Which: `checkout/HighErrorRate`, `checkout/*`, with matchers in braces; one or a list.")
    state: Literal["firing", "held", "kept", "resolved", "forgotten"] | None = Field(default=None, description="Where it stands.")
    incident: Name | None = Field(default=None, description="The root of the incident that it counts in; nothing: it counts in none.")
    reason: Literal["held", "hold_not_met", "never_fired"] | None = Field(default=None, description="Why it counts in no incident.")


class ExpectationSection(Section):
    """What is expected at one moment, of all that was so by then."""

    at: Moment = Field(description="When.")
    incidents: Annotated[tuple[ExpectedIncidentSection, ...] | None, BeforeValidator(_incidents)] = Field(
        default=None,
        description="All incidents so far, less those that were withdrawn; `none` where there was none.",
        json_schema_extra=_or_none,
    )
    alerts: Annotated[tuple[ExpectedAlertSection, ...], BeforeValidator(unlisted)] = Field(
        default=(), description="Some alerts, and what became of them."
    )
    known_gap: Name | None = Field(default=None, description="Why this is not so yet. It must fail: once it holds, this key is to go.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.incidents is None and not self.alerts:
            raise mistake("expects nothing; write 'incidents' (a list, or none) or 'alerts'")
        return self


class ScenarioFile(Section):
    """A story with its outcome: what is said of alerts at which moments, and what is to come of it."""

    title: Name = Field(description="What happens, on one line.")
    story: Annotated[str, Field(strict=True)] = Field(default="", description="What happens, in a sentence or two.")
    topology: InPlace = Field(
        default=None, description="A topology as in its own file, or the path of a file or folder, seen from this file."
    )
    rules: InPlace = Field(
        default=None,
        description="Rules as in their own file, or the path of a file or folder, seen from this file; the defaults when left out.",
    )
    every: Annotated[Duration, BeforeValidator(Between(SECOND, DAY)), durations_as_text] = Field(
        default=MINUTE, description="How often sources say again what lasts."
    )
    inputs: Annotated[tuple[InputSection, ...], BeforeValidator(unlisted)] = Field(default=(), description="What is said, in any order.")
    expect: Annotated[tuple[ExpectationSection, ...], BeforeValidator(_some)] = Field(description="What is to come of it, in any order.")
