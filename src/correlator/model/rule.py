"""Rules: what a person may tune, compiled and validated; `config` makes these from YAML, control frames carry them."""

import re
from functools import cached_property
from typing import Final

import msgspec
import xxhash

from correlator.model.instant import HOUR, MINUTE, SECOND, Duration
from correlator.model.word import Word


class MatchOperator(Word):
    """Alertmanager's four ways to compare a label."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCHES = "=~"
    NOT_MATCHES = "!~"


class Matcher(msgspec.Struct, frozen=True, dict=True):
    """One comparison of one label, as in Alertmanager: a missing label reads as the empty text, patterns are anchored."""

    label: str
    operator: MatchOperator
    value: str

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.value)

    def is_met(self, labels: dict[str, str]) -> bool:
        """Answer whether these labels satisfy the comparison."""
        actual = labels.get(self.label, "")
        if self.operator is MatchOperator.EQUAL:
            return actual == self.value
        if self.operator is MatchOperator.NOT_EQUAL:
            return actual != self.value
        is_match = self._pattern.fullmatch(actual) is not None
        return is_match if self.operator is MatchOperator.MATCHES else not is_match


class AlertRule(msgspec.Struct, frozen=True):
    """How alerts that meet all matchers are treated: hold-down, stability before resolve, their own settle time or expiry."""

    name: str
    match: tuple[Matcher, ...] = ()
    hold: Duration = 0
    keep_firing: Duration = 0
    settle: Duration | None = None
    expiry: Duration | None = None

    def is_met(self, labels: dict[str, str]) -> bool:
        """Answer whether all matchers are satisfied."""
        return all(matcher.is_met(labels) for matcher in self.match)


class Identity(msgspec.Struct, frozen=True):
    """Which labels make two events the same alert: all but `ignore`, or only those named in `only` when it is not empty."""

    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


class TimeRules(msgspec.Struct, frozen=True):
    """How event time is judged; see docs/decisions on time."""

    reorder: Duration = 10 * SECOND
    lateness: Duration = 15 * MINUTE
    max_hold: Duration = 5 * MINUTE


class Expiry(msgspec.Struct, frozen=True):
    """How long an alert lives without a refresh, by the format that brought it."""

    native: Duration = 15 * MINUTE
    alertmanager: Duration = 5 * HOUR


class Grouping(msgspec.Struct, frozen=True):
    """How far an incident reaches: over how many edges, and how long after its last new alert another may join.

    `group_by` names the labels by which alerts of services that no topology knows are grouped.
    """

    hops: int = 3
    window: Duration = 5 * MINUTE
    settle: Duration = 30 * SECOND
    group_by: tuple[str, ...] = ("service",)


class Retention(msgspec.Struct, frozen=True):
    """How long what is over is kept: `close_after` in which a relapse reopens, then until the document is tombstoned."""

    close_after: Duration = 15 * MINUTE
    closed: Duration = 24 * HOUR
    alert: Duration = HOUR


class RuleSet(msgspec.Struct, frozen=True, dict=True):
    """All rules in force at one place of the log; `digest` names them in every document they judged."""

    identity: Identity = Identity()
    time: TimeRules = TimeRules()
    expiry: Expiry = Expiry()
    grouping: Grouping = Grouping()
    retention: Retention = Retention()
    alerts: tuple[AlertRule, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the content; equal rules have equal digests whatever their layout was."""
        return xxhash.xxh3_64_hexdigest(msgspec.json.encode(self))

    @cached_property
    def shortest_expiry(self) -> Duration:
        """The smallest time without refresh after which some alert ends; frames may not fold over a longer gap."""
        own = [rule.expiry for rule in self.alerts if rule.expiry is not None]
        return min([self.expiry.native, self.expiry.alertmanager, *own])

    def rule_for(self, labels: dict[str, str]) -> AlertRule:
        """Answer the first alert rule that these labels meet, or one that changes nothing."""
        for rule in self.alerts:
            if rule.is_met(labels):
                return rule
        return NO_RULE


NO_RULE: Final = AlertRule(name="")
"""What holds for an alert that no rule names: no hold, no keeping, the general settle time and expiry."""
