"""Checked rules files to one `RuleSet`: sections merged, alert rules in the order of files, contradictions found."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from correlator.config.located import Path
from correlator.config.matchers import parse_matchers
from correlator.config.nearest import Suggester
from correlator.config.problem import Findings, Mark
from correlator.config.schema import (
    AlertSection,
    ExpirySection,
    GroupingSection,
    IdentitySection,
    RetentionSection,
    TimeSection,
)
from correlator.config.validate import BROKEN, Schema, Validated, path_text
from correlator.model.instant import Duration, format_duration
from correlator.model.rule import AlertRule, Expiry, Grouping, Identity, Matcher, MatchOperator, Retention, RuleSet, TimeRules
from correlator.model.topology import Topology

RULES_LIMIT: Final = 10_000
"""Alert rules of one set; each new alert is compared with them in turn."""
_SUBSETS_OF: Final = 6
"""Matchers of a rule whose every subset is looked for among earlier rules (64 look-ups)."""


class RulesCompiler:
    """Merges checked files; `compile` answers the rules, which are only to be used when no errors were found."""

    def __init__(self, files: Sequence[Validated], *, findings: Findings) -> None:
        self._files = files
        self._findings = findings
        self._owner_by_section: dict[str, Validated] = {}
        self._alerts: list[tuple[AlertRule, Validated, Path]] = []

    def compile(self) -> RuleSet:
        """Merge, check what concerns more than one section, and answer the rules."""
        identity = self._merged("identity", IdentitySection)
        time = self._merged("time", TimeSection)
        expiry = self._merged("expiry", ExpirySection)
        grouping = self._merged("grouping", GroupingSection)
        retention = self._merged("retention", RetentionSection)
        self._alerts = [alert for file in self._files for alert in _alerts(file)]
        rules = RuleSet(
            identity=Identity(ignore=identity.ignore, only=identity.only),
            time=TimeRules(reorder=time.reorder, lateness=time.lateness, max_hold=time.max_hold),
            expiry=Expiry(native=expiry.native, alertmanager=expiry.alertmanager),
            grouping=Grouping(hops=grouping.hops, window=grouping.window, settle=grouping.settle, group_by=grouping.group_by),
            retention=Retention(close_after=retention.close_after, closed=retention.closed, alert=retention.alert),
            alerts=tuple([rule for rule, _, _ in self._alerts]),
        )
        self._check_durations(rules)
        self._check_names()
        self._check_reach()
        return rules

    def check_services(self, topology: Topology, suggester: Suggester) -> None:
        """Warn of alert rules that name a service which a topology that is not empty lacks."""
        if not topology.nodes:
            return
        for rule, file, path in self._alerts:
            for matcher in rule.match:
                if matcher.label == "service" and matcher.operator is MatchOperator.EQUAL and matcher.value not in topology.node_by_name:
                    self._findings.warning(
                        file.document.mark((*path, "match")),
                        f"alert rule '{rule.name}' names the service '{matcher.value}', which no topology has",
                        hint=suggester.hint(matcher.value, topology.node_by_name),
                    )

    def _merged(self, key: str, kind: type[Schema]) -> Schema:
        merged: Schema | None = None
        for file in self._files:
            section = file.section(key, kind)
            if section is None:
                continue
            earlier = self._owner_by_section.get(key)
            if earlier is None:
                self._owner_by_section[key] = file
                merged = section
                continue
            first = earlier.document.mark((key,), of_key=True)
            self._findings.error(file.document.mark((key,), of_key=True), f"'{key}' is already set at {first}; keep one of them")
        return merged if merged is not None else kind()

    def _mark(self, *path: str) -> Mark | None:
        owner = self._owner_by_section.get(path[0])
        return owner.document.mark(path) if owner is not None else None

    def _is_broken(self, *path: str) -> bool:
        """Answer whether a value is a default only because what is written is a mistake, and so says nothing about others."""
        owner = self._owner_by_section.get(path[0])
        return owner is not None and owner.is_broken(path)

    def _check_durations(self, rules: RuleSet) -> None:
        if not self._is_broken("time", "reorder"):
            self._check_above_reorder(rules)
        if rules.retention.closed < rules.retention.close_after and not (
            self._is_broken("retention", "closed") or self._is_broken("retention", "close_after")
        ):
            where = self._mark("retention", "closed") or Mark("")
            closed, after = format_duration(rules.retention.closed), format_duration(rules.retention.close_after)
            self._findings.error(where, f"retention.closed ({closed}) must not be less than retention.close_after ({after})")

    def _check_above_reorder(self, rules: RuleSet) -> None:
        reorder = rules.time.reorder
        for key, duration in (
            (("expiry", "native"), rules.expiry.native),
            (("expiry", "alertmanager"), rules.expiry.alertmanager),
            (("time", "lateness"), rules.time.lateness),
        ):
            if duration <= reorder and not self._is_broken(*key):
                where = self._mark(*key) or self._mark("time", "reorder") or Mark("")
                self._refuse_below(where, ".".join(key), pair=(duration, reorder))
        for rule, file, path in self._alerts:
            if rule.expiry is not None and rule.expiry <= reorder:
                self._refuse_below(file.document.mark((*path, "expiry")), f"{path_text(path)}.expiry", pair=(rule.expiry, reorder))

    def _refuse_below(self, where: Mark, name: str, *, pair: tuple[Duration, Duration]) -> None:
        duration, floor = map(format_duration, pair)
        self._findings.error(where, f"{name} ({duration}) must be more than time.reorder ({floor})")

    def _check_names(self) -> None:
        first_by_name: dict[str, Mark] = {}
        for rule, file, path in self._alerts:
            if rule.name == BROKEN:
                continue
            where = file.document.mark((*path, "name"))
            first = first_by_name.setdefault(rule.name, where)
            if first is not where:
                self._findings.error(where, f"duplicate alert rule '{rule.name}', first written at {first}")
        if len(self._alerts) > RULES_LIMIT:
            _, file, path = self._alerts[RULES_LIMIT]
            self._findings.error(file.document.mark(path), f"more than {RULES_LIMIT} alert rules")

    def _check_reach(self) -> None:
        earlier: dict[frozenset[Matcher], str] = {}
        for rule, file, path in self._alerts:
            if file.is_broken(path):
                continue
            matchers = frozenset(rule.match)
            covering = next((earlier[subset] for subset in _subsets(rule.match) if subset in earlier), None)
            if covering is not None:
                message = f"alert rule '{rule.name}' is never reached: '{covering}' above matches all that it matches"
                self._findings.warning(file.document.mark((*path, "name")), message)
            earlier.setdefault(matchers, rule.name)


def _alerts(file: Validated) -> Iterator[tuple[AlertRule, Validated, Path]]:
    for path, section in file.members("alerts", AlertSection):
        yield _alert(section), file, path


def _alert(section: AlertSection) -> AlertRule:
    return AlertRule(
        name=section.name,
        match=tuple([matcher for text in section.match for matcher in parse_matchers(text)]),
        hold=section.hold,
        keep_firing=section.keep_firing_for,
        settle=section.settle,
        expiry=section.expiry,
    )


def _subsets(matchers: tuple[Matcher, ...]) -> Iterator[frozenset[Matcher]]:
    """Yield sets of these matchers from none to all; of many matchers only none, each alone, and all."""
    sizes = range(len(matchers) + 1) if len(matchers) <= _SUBSETS_OF else (0, 1, len(matchers))
    for size in sizes:
        for subset in combinations(matchers, size):
            yield frozenset(subset)
