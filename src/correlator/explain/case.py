"""Case: all that was read about one incident or alert, and what can be asked of it: names, entities, times."""

from collections.abc import Mapping
from typing import Final

import msgspec

from correlator.frames.control import Control
from correlator.model.calendar import parse_rfc3339
from correlator.model.explanation import Seen
from correlator.model.incident import Decision, Member
from correlator.model.instant import SECOND, Duration, Instant, format_duration
from correlator.model.rule import AlertRule, RuleSet
from correlator.model.topology import Topology

_SHORT: Final = 12
_NOTHING: Final = Control(RuleSet(), Topology())
_PLACES: Final = ("pod", "instance", "service", "host", "server", "client")


class Case(msgspec.Struct, frozen=True, dict=True):
    """What was read. `decisions` are in their order, `left_out` is how many more there are.

    `control` is what judged last, None where it is not kept, and `in_force` says whether it still holds, None where nobody knows.
    """

    decisions: list[Decision]
    seen: Mapping[str, Seen]
    members: Mapping[str, Member]
    control: Control | None = None
    in_force: bool | None = None
    left_out: int = 0

    @property
    def topology(self) -> Topology:
        """The topology that judged last, without anything where it is not kept."""
        return (self.control or _NOTHING).topology

    @property
    def rules(self) -> RuleSet:
        """The rules that judged last, the usual ones where they are not kept."""
        return (self.control or _NOTHING).rules

    def labels_of(self, fingerprint: str) -> dict[str, str]:
        """Answer an alert's labels, none where nothing that was read has them."""
        known = self.seen.get(fingerprint) or self.members.get(fingerprint)
        return known.labels if known is not None else {}

    def entity_of(self, fingerprint: str) -> str | None:
        """Answer what an alert is about, by the topology's name."""
        member = self.members.get(fingerprint)
        if member is not None and member.entity is not None:
            return member.entity
        return self.topology.entity_of(self.labels_of(fingerprint))

    def place_of(self, fingerprint: str) -> str | None:
        """Answer what an alert is about, by what it says of itself where the topology knows nothing."""
        labels = self.labels_of(fingerprint)
        return self.entity_of(fingerprint) or next((labels[label] for label in _PLACES if labels.get(label)), None)

    def name_of(self, fingerprint: str) -> str:
        """Name an alert for people: what it says, and about what."""
        labels = self.labels_of(fingerprint)
        if not labels:
            return f"alert {fingerprint[:_SHORT]}"
        return f"{labels.get('alertname', '')} at {self.place_of(fingerprint) or 'no known service'}"

    def rule_named(self, name: str | None) -> AlertRule | None:
        """Answer the alert rule of that name, None where there is none or it is not known."""
        return next((rule for rule in self.rules.alerts if rule.name == name), None)


def instant_of(text: str) -> Instant | None:
    """Read a time of a document, None beyond the calendar, where times are digits."""
    try:
        return parse_rfc3339(text)[0]
    except ValueError:
        return None


def gap_between(earlier: str | None, later: str | None) -> Duration | None:
    """Answer how long after one time the other is, None where one is not known."""
    first, second = instant_of(earlier or ""), instant_of(later or "")
    return second - first if first is not None and second is not None else None


def lasting(duration: Duration) -> str:
    """Write a duration for people, to the second."""
    return format_duration(duration - duration % SECOND) if duration >= SECOND else "less than 1s"


def clock_of(text: str | None) -> str:
    """Cut an RFC 3339 time to the time of day, to the second."""
    return f"{text[11:19]}Z" if text is not None and text.endswith("Z") else text or "an unknown time"
