"""Scenario files to scenarios: a story told in events, with rules, topology, and what is expected at which moments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from math import prod
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from correlator.config.files import read_file
from correlator.config.load import load_rules, load_topology
from correlator.config.located import Document
from correlator.config.located import Path as Place
from correlator.config.matchers import parse_matchers
from correlator.config.nearest import Suggester
from correlator.config.problem import ConfigError, Findings, Mark, Problem
from correlator.config.rules import RulesCompiler
from correlator.config.scenario_schema import (
    ExpectationSection,
    ExpectedAlertSection,
    ExpectedIncidentSection,
    InputSection,
    ScenarioFile,
)
from correlator.config.schema import RulesFile, TopologyFile
from correlator.config.topology import TopologyCompiler
from correlator.config.validate import validate
from correlator.frames.control import Control
from correlator.model.alert import Status
from correlator.model.instant import Duration, Instant, format_duration
from correlator.model.rule import RuleSet
from correlator.model.topology import NodeKind, Topology

START: Final[Instant] = 1_772_452_800_000
"""When every scenario begins: 2026-03-02T12:00:00Z, a Monday."""
ALERTS_LIMIT: Final = 200
"""Alerts of one scenario: as many as an incident's document lists, so that its members can be compared."""
EVENTS_LIMIT: Final = 100_000

_TOO_MANY_ALERTS: Final = f"more than {ALERTS_LIMIT} alerts, and an incident's document lists no more"
_LABEL_BY_KIND: Final = {NodeKind.INSTANCE: "pod", NodeKind.HOST: "host"}
_ENTITIES: Final = ("root", "contributing", "blast_radius")
"""The keys of an expected incident that name entities."""

_Loaded = TypeVar("_Loaded", RuleSet, Topology)

Wanted = str | bool | tuple[str, ...] | None
"""What is expected of one key of a document; None: that there is none."""


class SaidAlert(msgspec.Struct, frozen=True):
    """One alert of a scenario: `short` is `ENTITY/ALERTNAME` as written, `name` tells it from others with the same."""

    short: str
    name: str
    labels: dict[str, str]


class Saying(msgspec.Struct, frozen=True):
    """One event: what a source says of an alert (by its rank in the scenario). `at` is when it was so, `arrival` when it came in."""

    at: Instant
    arrival: Instant
    status: Status
    alert: int
    source: str | None = None


class ExpectedIncident(msgspec.Struct, frozen=True):
    """One incident that is expected: the keys that are compared, and what they must say. Members are names of alerts."""

    where: Mark
    wanted: dict[str, Wanted]


class ExpectedAlert(msgspec.Struct, frozen=True):
    """What is expected of one alert."""

    where: Mark
    alert: str
    wanted: dict[str, Wanted]


class Expectation(msgspec.Struct, frozen=True):
    """What is expected of all that was so up to an instant. `incidents` is None where any are allowed."""

    where: Mark
    at: Instant
    incidents: tuple[ExpectedIncident, ...] | None
    alerts: tuple[ExpectedAlert, ...]
    known_gap: str | None = None


class Scenario(msgspec.Struct, frozen=True):
    """A story: `sayings` in the order of their arrival, `expectations` in the order of their instants."""

    file: str
    title: str
    story: str
    control: Control
    alerts: tuple[SaidAlert, ...]
    sayings: tuple[Saying, ...]
    expectations: tuple[Expectation, ...]


def load_scenario(path: str) -> tuple[Scenario, list[Problem]]:
    """Read one scenario, with the rules and the topology that it names; answers it and the warnings. Raises `ConfigError`."""
    findings, suggester = Findings(), Suggester()
    document = read_file(path, findings)
    if document is None:
        raise ConfigError(findings.problems())
    checked = validate(document, ScenarioFile, findings=findings, suggester=suggester)
    topology = _topology(document, findings, suggester)
    control = Control(_rules(document, topology, findings=findings, suggester=suggester), topology)
    told = checked.model
    scenario = None
    if isinstance(told, ScenarioFile) and not findings.has_errors:
        scenario = _Teller(document, findings, suggester=suggester).tell(told, control)
    if scenario is None or findings.has_errors:
        raise ConfigError(findings.problems())
    return scenario, findings.problems()


def _topology(document: Document, findings: Findings, suggester: Suggester) -> Topology:
    part = document.part("topology")
    if isinstance(part.root, str):
        return _at_path(part, load_topology, findings=findings) or Topology()
    if not isinstance(part.root, dict):
        return Topology()
    checked = validate(part, TopologyFile, findings=findings, suggester=suggester)
    return TopologyCompiler([checked], findings=findings, suggester=suggester).compile()


def _rules(document: Document, topology: Topology, *, findings: Findings, suggester: Suggester) -> RuleSet:
    part = document.part("rules")
    if isinstance(part.root, str):
        return _at_path(part, load_rules, findings=findings) or RuleSet()
    if not isinstance(part.root, dict):
        return RuleSet()
    compiler = RulesCompiler([validate(part, RulesFile, findings=findings, suggester=suggester)], findings=findings)
    rules = compiler.compile()
    if not findings.has_errors:
        compiler.check_services(topology, suggester)
    return rules


def _at_path(part: Document, load: Callable[[Sequence[str]], tuple[_Loaded, list[Problem]]], *, findings: Findings) -> _Loaded | None:
    """Load what a path in place of it names, seen from the scenario's folder; None where that is no use, and the reasons are recorded."""
    path = Path(part.file).parent / str(part.root)
    if not path.exists():
        findings.error(part.mark(), f"no such file or folder: {path}")
        return None
    try:
        loaded, problems = load([str(path)])
    except ConfigError as error:
        loaded, problems = None, list(error.problems)
    for problem in problems:
        findings.add(problem)
    return loaded


class _Teller:
    """Makes a scenario of a checked file: alerts named, repeats written out, expectations resolved to names."""

    def __init__(self, document: Document, findings: Findings, *, suggester: Suggester) -> None:
        self._document = document
        self._findings = findings
        self._suggester = suggester
        self._topology = Topology()
        self._alerts: dict[tuple[tuple[str, str], ...], tuple[int, str, dict[str, str]]] = {}
        self._sayings: list[Saying] = []
        self._named: tuple[SaidAlert, ...] = ()
        self._first_by_alert: dict[int, Instant] = {}

    def tell(self, file: ScenarioFile, control: Control) -> Scenario:
        """Write out all that is said, then find what is expected among it."""
        self._topology = control.topology
        for rank, section in enumerate(file.inputs):
            self._take(section, file.every, place=("inputs", rank))
        self._named = tuple(_named(list(self._alerts.values())))
        for saying in self._sayings:
            self._first_by_alert[saying.alert] = min(saying.at, self._first_by_alert.get(saying.alert, saying.at))
        expectations = [self._expectation(section, ("expect", rank)) for rank, section in enumerate(file.expect)]
        return Scenario(
            file=self._document.file,
            title=file.title,
            story=file.story,
            control=control,
            alerts=self._named,
            sayings=tuple(sorted(self._sayings, key=lambda saying: saying.arrival)),
            expectations=tuple(sorted(expectations, key=lambda expectation: expectation.at)),
        )

    # What is said

    def _take(self, section: InputSection, every: Duration, *, place: Place) -> None:
        names, known = section.firing or section.resolved, len(self._alerts)
        if len(names) * prod(map(len, section.labels.values())) > ALERTS_LIMIT:
            self._findings.error(self._document.mark(place), _TOO_MANY_ALERTS)
            return
        alerts = [self._rank_of(labels, short) for short in names for labels in self._labels_of(section, short)]
        for at, status in _moments(section, every):
            for alert in alerts:
                for source in section.source or (None,):
                    self._sayings.append(Saying(START + at, START + at + section.lag, status, alert, source))
            if len(self._sayings) > EVENTS_LIMIT:
                self._findings.error(self._document.mark(place), f"more than {EVENTS_LIMIT} events; say it less often")
                return
        if known <= ALERTS_LIMIT < len(self._alerts):
            self._findings.error(self._document.mark(place), _TOO_MANY_ALERTS)

    def _labels_of(self, section: InputSection, short: str) -> Iterator[dict[str, str]]:
        """Yield the labels of every alert that one name stands for: one for each choice of the labels' values."""
        entity, _, alertname = short.rpartition("/")
        labels = {"alertname": alertname}
        if entity:
            node = self._topology.node_by_name.get(entity)
            labels[_LABEL_BY_KIND.get(node.kind, "service") if node is not None else "service"] = entity
        if section.severity is not None:
            labels["severity"] = section.severity
        for values in product(*section.labels.values()):
            yield {**labels, **dict(zip(section.labels, values, strict=True))}

    def _rank_of(self, labels: dict[str, str], short: str) -> int:
        return self._alerts.setdefault(tuple(sorted(labels.items())), (len(self._alerts), short, labels))[0]

    # What is expected

    def _expectation(self, section: ExpectationSection, place: Place) -> Expectation:
        at, incidents = START + section.at, None
        if section.incidents is not None:
            incidents = tuple([self._incident(one, at, (*place, "incidents", rank)) for rank, one in enumerate(section.incidents)])
        alerts = [
            expected for rank, one in enumerate(section.alerts) for expected in self._alerts_expected(one, at, (*place, "alerts", rank))
        ]
        return Expectation(self._document.mark(place), at, incidents, tuple(alerts), section.known_gap)

    def _incident(self, section: ExpectedIncidentSection, at: Instant, place: Place) -> ExpectedIncident:
        wanted = _wanted(section)
        if "members" in wanted:
            wanted["members"] = self._selected(section.members, at, (*place, "members"))
        for key in _ENTITIES:
            names = wanted.get(key)
            for name in (names,) if isinstance(names, str) else names if isinstance(names, tuple) else ():
                self._check_entity(name, (*place, key))
        return ExpectedIncident(self._document.mark(place), wanted)

    def _alerts_expected(self, section: ExpectedAlertSection, at: Instant, place: Place) -> Iterator[ExpectedAlert]:
        wanted = {key: value for key, value in _wanted(section).items() if key != "alert"}
        if not wanted:
            self._findings.error(
                self._document.mark(place), "expects nothing of the alert; write its 'state', its 'incident' or its 'reason'"
            )
        if section.incident is not None:
            self._check_entity(section.incident, (*place, "incident"))
        for name in self._selected(section.alert, at, (*place, "alert")):
            yield ExpectedAlert(self._document.mark(place), name, wanted)

    def _selected(self, selectors: Sequence[str], at: Instant, place: Place) -> tuple[str, ...]:
        """Answer the names of all alerts that were said by then and that one of the selectors means."""
        chosen: dict[str, None] = {}
        for rank, selector in enumerate(selectors):
            meant = {alert.name: self._first_by_alert[number] for number, alert in enumerate(self._named) if _is_meant(alert, selector)}
            found = [name for name, first in meant.items() if first <= at]
            if not found:
                self._miss(selector, first=min(meant.values(), default=None), place=(*place, rank))
            chosen |= dict.fromkeys(found)
        return tuple(chosen)

    def _miss(self, selector: str, *, first: Instant | None, place: Place) -> None:
        """Record that a selector means no alert by then; `first` is when one that it means is said, None for never."""
        where = self._document.mark(place)
        if first is not None:
            self._findings.error(where, f"'{selector}' is not said by then, but first at +{format_duration(first - START)}")
            return
        hint = self._suggester.hint(selector, {alert.short: None for alert in self._named})
        self._findings.error(where, f"'{selector}' is no alert of this scenario", hint=hint)

    def _check_entity(self, name: str, place: Place) -> None:
        known = self._topology.node_by_name
        if name not in known:
            hint = self._suggester.hint(name, known)
            self._findings.error(self._document.mark(place), f"{place[-1]}: nothing in the topology is called '{name}'", hint=hint)


def _moments(section: InputSection, every: Duration) -> Iterator[tuple[Duration, Status]]:
    """Yield when an input is said, and what; an end is said last."""
    step, last = section.every or every, section.at
    if section.resolves is not None:
        last = section.resolves - 1
    elif section.until is not None:
        last = section.until
    status = Status.FIRING if section.firing else Status.RESOLVED
    for turn in range(section.times):
        shift = turn * (section.apart or 0)
        for at in range(section.at, last + 1, step):
            yield at + shift, status
        if section.resolves is not None:
            yield section.resolves + shift, Status.RESOLVED


def _named(alerts: Sequence[tuple[int, str, dict[str, str]]]) -> Iterator[SaidAlert]:
    """Name every alert: by entity and alert name, and where several share these by the labels in which they differ."""
    sharing: dict[str, list[dict[str, str]]] = {}
    for _, short, labels in alerts:
        sharing.setdefault(short, []).append(labels)
    for _, short, labels in alerts:
        others = sharing[short]
        differing = [key for key in labels if any(other.get(key) != labels[key] for other in others)]
        told = ",".join([f'{key}="{labels[key]}"' for key in differing])
        yield SaidAlert(short, f"{short}{{{told}}}" if told else short, labels)


def _is_meant(alert: SaidAlert, selector: str) -> bool:
    pattern, brace, matchers = selector.partition("{")
    if pattern and not fnmatchcase(alert.short, pattern):
        return False
    return not brace or all(matcher.is_met(alert.labels) for matcher in parse_matchers(brace + matchers))


def _wanted(section: ExpectedIncidentSection | ExpectedAlertSection) -> dict[str, Wanted]:
    """Answer the keys that are written, in the order of the schema."""
    written: Mapping[str, Wanted] = {key: getattr(section, key) for key in type(section).model_fields}
    return {key: value for key, value in written.items() if key in section.model_fields_set}
