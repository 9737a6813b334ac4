"""A scenario through the whole core on virtual time: what stood there at each of its moments.

A sight of an instant shows all that was so up to then: it is taken `reorder` later, when the machines have judged that far, which is also
when the service would show it. What arrives later still is not in it. Looking changes nothing: time passes as it does for the service.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from correlator.config.scenario import START, SaidAlert, Saying, Scenario
from correlator.correlate.render import alert_document
from correlator.intake.output import IntakeOutput
from correlator.model.alert import Status
from correlator.model.incident import AlertDocument, IncidentDocument, IncidentState
from correlator.model.instant import Instant
from correlator.runtime.core import Core

_STATUS_WORDS: Final = {Status.FIRING: "firing", Status.RESOLVED: "resolved"}


class Sight(msgspec.Struct, frozen=True):
    """What stood there: incidents in the order they began, less the withdrawn ones, and alerts by fingerprint (hex)."""

    incidents: tuple[IncidentDocument, ...]
    alerts: dict[str, AlertDocument]


def sights_of(scenario: Scenario, instants: Sequence[Instant]) -> Iterator[Sight]:
    """Play a scenario; yield what stood there at each of these instants, which must be in order."""
    course = _Course(scenario)
    for instant in instants:
        course.go_on(instant)
        yield course.sight()


def event_of(saying: Saying, alert: SaidAlert) -> bytes:
    """Write a saying as a native event of a recording."""
    event: dict[str, Any] = {
        "at": saying.at,
        "status": _STATUS_WORDS[saying.status],
        "labels": alert.labels,
        "receivedAt": saying.arrival,
    }
    if saying.source is not None:
        event["source"] = saying.source
    return msgspec.json.encode(event)


class _Course:
    """A scenario under way."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._core = Core(scenario.control)
        self._over: dict[str, IncidentDocument] = {}
        self._rest = list(scenario.sayings)[::-1]
        self._offset = 0
        self._pass(START)

    def go_on(self, instant: Instant) -> None:
        """Take all that arrives until the machines can have judged up to an instant."""
        until = instant + max(self._scenario.control.rules.time.reorder, 1)
        due: list[Saying] = []
        while self._rest and self._rest[-1].arrival <= until:
            due.append(self._rest.pop())
        for arrival, sayings in groupby(due, key=lambda saying: saying.arrival):
            self._pass(arrival)
            events = [event_of(saying, self._scenario.alerts[saying.alert]) for saying in sayings]
            output = self._core.intake.step(range(self._offset, self._offset + len(events)), events)
            self._offset += len(events)
            assert not output.dead_letters, "a scenario says only what is well-formed"
            self._follow(output)
        self._pass(until)

    def sight(self) -> Sight:
        """Answer what stands there now."""
        machines = self._core.machines
        standing = [*self._over.values(), *[document for machine in machines for document in machine.open_incidents]]
        incidents = [document for document in standing if document.state is not IncidentState.WITHDRAWN]
        alerts = [alert_document(alert) for machine in machines for alert in machine.lifecycle.alerts.values()]
        return Sight(
            tuple(sorted(incidents, key=lambda document: (document.opened, document.id))),
            {alert.fingerprint: alert for alert in alerts},
        )

    def _pass(self, now: Instant) -> None:
        self._follow(self._core.intake.tick(now))

    def _follow(self, output: IntakeOutput) -> None:
        for _, effects in self._core.follow(output):
            for identifier, document in effects.incidents.items():
                if document is None:
                    self._over.pop(identifier, None)
                else:
                    self._over[identifier] = document
