"""Shelf: decisions in their order, found again by alert and by incident."""

from typing import Final

from correlator.model.incident import Decision, Why

STEPS_MOST: Final = 20_000
"""Of what was decided about one incident or alert so many are told, the first ones; the others are only counted."""
_OVER: Final = (Why.CLEARED, Why.EXPIRED, Why.HOLD_NOT_MET, Why.NEVER_FIRED)


class Shelf:
    """Finds what was decided about an incident or an alert. Built from decisions in their order."""

    def __init__(self, decisions: list[Decision]) -> None:
        self._decisions = decisions
        self._by_alert: dict[str, list[int]] = {}
        self._by_incident: dict[str, list[int]] = {}
        for number, decision in enumerate(decisions):
            if decision.fingerprint is not None:
                self._by_alert.setdefault(decision.fingerprint, []).append(number)
            if decision.incident is not None:
                self._by_incident.setdefault(decision.incident, []).append(number)

    def alerts_of(self, incident: str) -> list[str]:
        """Answer the fingerprints of all alerts that ever were in an incident, in the order in which they came."""
        named = [self._decisions[number].fingerprint for number in self._by_incident.get(incident, ())]
        return [fingerprint for fingerprint in dict.fromkeys(named) if fingerprint is not None]

    def of_incident(self, incident: str) -> list[Decision]:
        """Answer what concerns an incident: its own moves, and all of each firing stretch of which a part was spent in it."""
        own = self._by_incident.get(incident, ())
        chosen = [number for number in own if self._decisions[number].fingerprint is None]
        for fingerprint in self.alerts_of(incident):
            for stretch in self._stretches(fingerprint):
                if any(self._decisions[number].incident == incident for number in stretch):
                    chosen += stretch
        return [self._decisions[number] for number in sorted(chosen)]

    def _stretches(self, fingerprint: str) -> list[list[int]]:
        """Divide what was decided about an alert behind each end."""
        stretches: list[list[int]] = [[]]
        for number in self._by_alert.get(fingerprint, ()):
            stretches[-1].append(number)
            if self._decisions[number].why in _OVER:
                stretches.append([])
        return stretches
