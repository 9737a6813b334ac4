"""Reasons: one decision in, the sentence out that tells a person why. No words of the program: a reader knows services and alerts."""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import msgspec

from correlator.correlate.diagnose import STAND_IN, VERB_BY_KIND
from correlator.correlate.score import NEW_FAULT
from correlator.explain.case import Case, gap_between, lasting
from correlator.model.incident import Decision, Why
from correlator.model.instant import SECOND, Duration, format_duration
from correlator.model.topology import Edge, EdgeKind, Topology

_SURE: Final = 10.0
"""Ratios above this are told without a digit behind the point."""
_WEAK: Final = 3.0
"""Ratios below this are called small: the alert may be there by chance."""


class Before(msgspec.Struct):
    """What had happened when a decision was taken: who had alerted since when, who had ended, and where an alert was.

    All by incident; `last` is when an entity's newest alert came in.
    """

    onset: dict[tuple[str, str], str] = {}
    last: dict[tuple[str, str], str] = {}
    ended: dict[str, str] = {}
    home: dict[str, str] = {}

    def note(self, decision: Decision, entity: str | None) -> None:
        """Remember a decision once it was told."""
        fingerprint, incident = decision.fingerprint, decision.incident
        if fingerprint is None:
            return
        if decision.why in (Why.CLEARED, Why.EXPIRED):
            self.ended[fingerprint] = decision.at
        elif incident is not None:
            former = self.home.get(fingerprint, "") if decision.why is Why.MOVED else ""
            self.home[fingerprint] = incident
            if entity is not None:
                began = self.onset.get((former, entity), decision.at)
                self.onset[incident, entity] = min(self.onset.get((incident, entity), began), began)
                self.last[incident, entity] = max(self.last.get((incident, entity), began), began)


def because(decision: Decision, case: Case, before: Before) -> str:
    """Say in a sentence why this was decided."""
    return _SAID_BY_WHY[decision.why](decision, case, before)


def likelier(decision: Decision) -> float | None:
    """Answer how many times likelier joining was than a fault of its own, None where nothing was weighed."""
    return round(decision.score / NEW_FAULT, 1) if decision.score is not None else None


def _joined(decision: Decision, case: Case, before: Before) -> str:
    path, incident = decision.path, decision.incident or ""
    if not path:
        return "joined; what it was held to go with is not recorded"
    table = before.last if len(path) == 1 else before.onset
    gap = gap_between(table.get((incident, path[-1].removeprefix(STAND_IN))), decision.at)
    odds = likelier(decision)
    how = f"; {_odds(odds)} than a fault of its own" if odds is not None else ""
    shown = [name.removeprefix(STAND_IN) for name in path]
    return f"joined: {_link(shown, gap, case.topology)}{how}"


def _odds(ratio: float) -> str:
    if ratio >= _SURE:
        return f"{ratio:,.0f} times likelier"
    return f"{'only ' if ratio < _WEAK else ''}{ratio:g} times likelier"


def _link(path: list[str], gap: Duration | None, topology: Topology) -> str:
    """Say what an alert's entity has to do with one that alerted; `gap` is how long before, None where that is not known."""
    if len(path) == 1:
        return f"{path[0]} had alerted{_ago(gap)}"
    chain = _chain(path, topology)
    if chain is not None:
        return f"{chain}, which had alerted{_ago(gap)}"
    chain = _chain(path[::-1], topology)
    if chain is not None:
        return f"{path[-1]} had alerted{_ago(gap)}, and {chain}"
    return f"{path[-1]} had alerted{_ago(gap)}, and the time between fits; the topology names no dependency between it and {path[0]}"


def _chain(path: list[str], topology: Topology) -> str | None:
    """Write `a calls b, which runs on c`; None where one of these is no dependency."""
    said = path[0]
    for number, (source, target) in enumerate(pairwise(path)):
        edge = next((edge for edge in topology.dependencies.get(source, ()) if edge.target == target), None)
        if edge is None:
            return None
        said += f"{', which' if number else ''} {verb_of(edge)} {target}"
    return said


def verb_of(edge: Edge) -> str:
    """Say what an edge means, as in `checkout calls cart`."""
    if edge.kind is EdgeKind.OTHER and edge.label:
        return f"depends ({edge.label}) on"
    return VERB_BY_KIND.get(edge.kind, "depends on")


def _ago(gap: Duration | None) -> str:
    if gap is None:
        return ""
    if abs(gap) < SECOND:
        return " at the same moment"
    return f" {lasting(gap)} earlier" if gap > 0 else f" {lasting(-gap)} later"


def _new_fault(_: Decision, _case: Case, _before: Before) -> str:
    return "began this incident: nothing that was alerting explained it"


def _returned(decision: Decision, case: Case, before: Before) -> str:
    if decision.incident is None:
        return f"fired again before its end counted{_by_rule(decision, case)}"
    gap = gap_between(before.ended.get(decision.fingerprint or ""), decision.at)
    after = f" {lasting(gap)} after it had ended" if gap is not None and gap > 0 else ""
    return f"fired again{after}: it belongs to the incident that it was in"


def _moved(decision: Decision, _: Case, before: Before) -> str:
    former = before.home.get(decision.fingerprint or "")
    source = f" with all of incident {former}" if former is not None and former != decision.incident else ""
    return f"moved here{source}: what caused both had alerted only now"


def _cleared(decision: Decision, case: Case, _: Before) -> str:
    return f"ended: its source says that it is over{_by_rule(decision, case)}"


def _expired(decision: Decision, case: Case, _: Before) -> str:
    rule = case.rule_named(decision.rule)
    after = f" for {format_duration(rule.expiry)}" if rule is not None and rule.expiry is not None else " for too long"
    return f"ended: nothing was heard of it{after}{_by_rule(decision, case)}"


def _held(decision: Decision, case: Case, _: Before) -> str:
    rule = case.rule_named(decision.rule)
    until = f"it has fired for {format_duration(rule.hold)}" if rule is not None and rule.hold else "it has fired for long enough"
    return f"held back until {until}{_by_rule(decision, case)}"


def _hold_not_met(decision: Decision, case: Case, _: Before) -> str:
    rule = case.rule_named(decision.rule)
    until = f"for {format_duration(rule.hold)}" if rule is not None and rule.hold else "for long enough"
    return f"ended before it had fired {until}, so it never counted{_by_rule(decision, case)}"


def _kept(decision: Decision, case: Case, _: Before) -> str:
    rule = case.rule_named(decision.rule)
    quiet = f" for {format_duration(rule.keep_firing)}" if rule is not None and rule.keep_firing else ""
    return f"its source says that it is over; it counts as firing until it has been quiet{quiet}{_by_rule(decision, case)}"


def _by_rule(decision: Decision, _: Case) -> str:
    return f" (rule {decision.rule})" if decision.rule is not None else ""


def _stayed_well(_: Decision, case: Case, _before: Before) -> str:
    return f"closed: nothing of it fired again for {format_duration(case.rules.retention.close_after)}"


def _fixed(sentence: str) -> Callable[[Decision, Case, Before], str]:
    return lambda _decision, _case, _before: sentence


_SAID_BY_WHY: Final[dict[Why, Callable[[Decision, Case, Before], str]]] = {
    Why.NEW_FAULT: _new_fault,
    Why.JOINED: _joined,
    Why.RETURNED: _returned,
    Why.MOVED: _moved,
    Why.CLEARED: _cleared,
    Why.EXPIRED: _expired,
    Why.HELD: _held,
    Why.KEPT: _kept,
    Why.HOLD_NOT_MET: _hold_not_met,
    Why.STAYED_WELL: _stayed_well,
    Why.GUESSED: _fixed("listed before it was judged, so that people see it at once"),
    Why.NEVER_FIRED: _fixed("ended, and was never seen firing: it counts nowhere"),
    Why.SETTLED: _fixed("opened, and pages: it had lasted long enough"),
    Why.RECOVERED: _fixed("resolved: its last alert had ended"),
    Why.RELAPSED: _fixed("reopened: an alert of it fires again; nobody is paged anew"),
    Why.EMPTIED: _fixed("withdrawn: its alerts belong to another incident"),
    Why.UNKNOWN_ENTITY: _fixed("its likeliest cause is at nothing that the topology knows"),
}
