"""What a scenario expects held against what came of it: exact, and told side by side where they differ.

In: a scenario. Out: a judgement of each of its expectations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from correlator.config.problem import Mark
from correlator.config.scenario import START, Expectation, ExpectedIncident, Scenario, Wanted
from correlator.intake.identify import fingerprint_of
from correlator.model.calendar import format_rfc3339
from correlator.model.incident import AlertDocument, IncidentDocument, Why
from correlator.model.instant import format_duration
from correlator.model.word import Word
from correlator.runtime.scenario import Sight, sights_of

Values = Mapping[str, Wanted]
"""What is expected, or what is, by the key of an expectation."""
_NOTHING: Final = "-"
_TOLD: Final = ("root", "members", "state", "priority", "owner")
"""What is told of an incident that nobody expected."""
_NAMES_MOST: Final = 10
"""So many names on which both sides agree are listed."""
_STRAYS_MOST: Final = 5
"""So many incidents that nobody expected are told of one moment."""


class Outcome(Word):
    """What became of an expectation. A known gap that holds is a failure too, so that the mend is noticed."""

    MET = "met"
    MISSED = "missed"
    GAP = "gap"
    MENDED = "mended"


class Judgement(msgspec.Struct, frozen=True):
    """One expectation judged. `text` says where it stands in the file, of which moment it is, and what differs; empty when it is met."""

    expectation: Expectation
    outcome: Outcome
    text: str

    @property
    def is_failure(self) -> bool:
        """Whether somebody must look at it."""
        return self.outcome in (Outcome.MISSED, Outcome.MENDED)


class _Names:
    """How a scenario calls its alerts; of several that rules make one alert, all are called as the first."""

    def __init__(self, scenario: Scenario) -> None:
        identity = scenario.control.rules.identity
        self.fingerprint_by_name = {alert.name: fingerprint_of(alert.labels, identity).hex() for alert in scenario.alerts}
        self.name_by_fingerprint: dict[str, str] = {}
        for name, fingerprint in self.fingerprint_by_name.items():
            self.name_by_fingerprint.setdefault(fingerprint, name)

    def same(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Call alerts so that the same ones are called the same."""
        return tuple(dict.fromkeys([self.name_by_fingerprint[self.fingerprint_by_name[name]] for name in names]))


def judge(scenario: Scenario) -> list[Judgement]:
    """Play a scenario and judge its expectations, in the order of their moments."""
    names = _Names(scenario)
    sights = sights_of(scenario, [expectation.at for expectation in scenario.expectations])
    return [_judged(expectation, sight, names) for expectation, sight in zip(scenario.expectations, sights, strict=True)]


def _judged(expectation: Expectation, sight: Sight, names: _Names) -> Judgement:
    moment = f"at +{format_duration(expectation.at - START)} ({format_rfc3339(expectation.at)[11:19]})"
    missed = [
        f"{where}: {moment}: {what}"
        for where, what in (*_alerts_missed(expectation, sight, names), *_incidents_missed(expectation, sight, names))
    ]
    if expectation.known_gap is None:
        return Judgement(expectation, Outcome.MISSED if missed else Outcome.MET, "\n".join(missed))
    if missed:
        return Judgement(expectation, Outcome.GAP, "\n".join(missed))
    text = f"{expectation.where}: {moment}: this holds now: take its known_gap out ({expectation.known_gap})"
    return Judgement(expectation, Outcome.MENDED, text)


# Incidents

_READ: Final[dict[str, Callable[[IncidentDocument], Wanted]]] = {
    "root": lambda document: document.root_causes[0].entity if _has_known_root(document) else None,
    "condition": lambda document: document.root_causes[0].condition if _has_known_root(document) else None,
    "state": lambda document: document.state.value,
    "priority": lambda document: document.priority,
    "owner": lambda document: document.owner,
    "title": lambda document: document.title,
    "paged": lambda document: Why.SETTLED in document.why,
    "reopened": lambda document: Why.RELAPSED in document.why,
    "contributing": lambda document: tuple(document.contributing),
    "blast_radius": lambda document: tuple(document.blast_radius),
}
"""How each key of an expected incident is read from a document; a core without drafts keeps all of an incident's `why`."""


def _has_known_root(document: IncidentDocument) -> bool:
    return bool(document.root_causes) and Why.UNKNOWN_ENTITY not in document.why


def _incidents_missed(expectation: Expectation, sight: Sight, names: _Names) -> Iterator[tuple[Mark, str]]:
    """Yield where and how the incidents are others than those expected."""
    if expectation.incidents is None:
        return
    found = [_values_of(document, names) for document in sight.incidents]
    wanted = [_with_same_names(expected, names) for expected in expectation.incidents]
    pairs = _matched(wanted, found)
    strays = [values for rank, values in enumerate(found) if rank not in pairs.values()]
    missing = [rank for rank in range(len(wanted)) if rank not in pairs]
    for rank in missing:
        expected = expectation.incidents[rank]
        nearest = strays[0] if len(missing) == len(strays) == 1 else _nearest(wanted[rank], strays)
        if nearest is None:
            yield expected.where, "this incident is expected and not there" + _alone(wanted[rank])
        else:
            strays.remove(nearest)
            yield expected.where, "this incident is not as expected" + _side_by_side(wanted[rank], nearest)
    for values in strays[:_STRAYS_MOST]:
        yield expectation.where, "an incident is there that is not expected" + _alone({key: values[key] for key in _TOLD})
    if len(strays) > _STRAYS_MOST:
        yield expectation.where, f"{len(strays) - _STRAYS_MOST} more incidents are there that are not expected"


def _values_of(document: IncidentDocument, names: _Names) -> Values:
    members = tuple([names.name_by_fingerprint[member.fingerprint] for member in document.members])
    return {"members": members, **{key: read(document) for key, read in _READ.items()}}


def _with_same_names(expected: ExpectedIncident, names: _Names) -> Values:
    members = expected.wanted.get("members")
    return {**expected.wanted, "members": names.same(members)} if isinstance(members, tuple) else expected.wanted


def _matched(wanted: Sequence[Values], found: Sequence[Values]) -> dict[int, int]:
    """Pair as many expected incidents as can be with one that is there and differs in nothing (by augmenting paths)."""
    taken_by: dict[int, int] = {}

    def place(rank: int, tried: set[int]) -> bool:
        for number, values in enumerate(found):
            if number in tried or _differences(wanted[rank], values):
                continue
            tried.add(number)
            if number not in taken_by or place(taken_by[number], tried):
                taken_by[number] = rank
                return True
        return False

    for rank in range(len(wanted)):
        place(rank, set())
    return {rank: number for number, rank in taken_by.items()}


def _nearest(wanted: Values, strays: Sequence[Values]) -> Values | None:
    """Answer the incident that was most likely meant: of the same root or with a member in common, and with the fewest differences."""
    root, members = wanted.get("root"), set(_listed(wanted.get("members")))
    is_named = "root" in wanted or bool(members)
    near = [
        values for values in strays if not is_named or (root and root == values["root"]) or members.intersection(_listed(values["members"]))
    ]
    return min(near, key=lambda values: _differences(wanted, values), default=None)


def _listed(value: Wanted) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _differences(wanted: Values, found: Values) -> int:
    return sum([not _is_same(value, found[key]) for key, value in wanted.items()])


def _is_same(wanted: Wanted, found: Wanted) -> bool:
    if isinstance(wanted, tuple) and isinstance(found, tuple):
        return sorted(wanted) == sorted(found)
    return wanted == found


# Alerts


def _alerts_missed(expectation: Expectation, sight: Sight, names: _Names) -> Iterator[tuple[Mark, str]]:
    root_by_incident = {document.id: _READ["root"](document) for document in sight.incidents}
    for expected in expectation.alerts:
        alert = sight.alerts.get(names.fingerprint_by_name[expected.alert])
        found = _became(alert, root_by_incident)
        if _differences(expected.wanted, found):
            yield expected.where, f"{expected.alert} is not as expected" + _side_by_side(expected.wanted, found)


def _became(alert: AlertDocument | None, root_by_incident: Mapping[str, Wanted]) -> Values:
    if alert is None:
        return {"state": "forgotten", "incident": None, "reason": None}
    root = root_by_incident.get(alert.incident) if alert.incident is not None else None
    return {"state": alert.state, "incident": root, "reason": alert.reason.value if alert.reason is not None else None}


# Words


def _side_by_side(wanted: Values, found: Values) -> str:
    """Write what was expected beside what is, a key a row and each name of a list on its own; rows that differ are marked."""
    rows = [("", "", "expected", "got")]
    for key, value in wanted.items():
        lines = list(_aligned(value, found[key]) if isinstance(value, tuple) else [(_text(value), _text(found[key]))])
        rows += [("" if left == right else "!", "" if rank else key, left, right) for rank, (left, right) in enumerate(lines)]
    return _table(rows)


def _alone(values: Values) -> str:
    """Write the values of an incident that is on one side alone."""
    rows: list[tuple[str, ...]] = []
    for key, value in values.items():
        names = value[:_NAMES_MOST] if isinstance(value, tuple) else (_text(value),)
        rows += [("", "" if rank else key, name) for rank, name in enumerate(names)]
        if isinstance(value, tuple) and len(value) > _NAMES_MOST:
            rows.append(("", "", f"… {len(value) - _NAMES_MOST} more"))
    return _table(rows)


def _aligned(wanted: Wanted, found: Wanted) -> Iterator[tuple[str, str]]:
    """Yield names in pairs: those of both sides, the first of them one by one, then what only one side has."""
    assert isinstance(wanted, tuple)
    assert isinstance(found, tuple)
    common = [name for name in wanted if name in found]
    yield from [(name, name) for name in common[:_NAMES_MOST]]
    if len(common) > _NAMES_MOST:
        yield (f"… {len(common) - _NAMES_MOST} more",) * 2
    yield from [(name, _NOTHING) for name in wanted if name not in found]
    yield from [(_NOTHING, name) for name in found if name not in wanted]
    if not wanted and not found:
        yield _NOTHING, _NOTHING


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Write rows below each other with their columns in line."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "".join(["\n" + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows])


def _text(value: Wanted) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None else str(value)
