"""Cases: what must be read to explain an incident or an alert, and the explanations themselves."""

from collections.abc import Collection
from typing import Final

import msgspec

from correlator.explain.alert import explain_alert
from correlator.explain.case import Case
from correlator.explain.incident import explain_incident
from correlator.explain.shelf import STEPS_MOST, Shelf
from correlator.frames.control import Control
from correlator.model.explanation import AlertTold, IncidentTold, Seen
from correlator.model.incident import Decision, IncidentDocument
from correlator.runtime.dossier import Found
from correlator.runtime.published import Published

_INCIDENT: Final = msgspec.json.Decoder(IncidentDocument)


class Told(msgspec.Struct, frozen=True):
    """An incident explained, and what a drawing needs beside: its document, and the case with its rules and topology."""

    document: IncidentDocument
    case: Case
    explanation: IncidentTold


class Cases:
    """Explains incidents and alerts out of what was published; each reading is a walk over all decisions."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self._controls: dict[str, tuple[Control | None, bool | None]] = {}

    async def incident(self, found: Found) -> Told:
        """Explain one incident."""
        mark = msgspec.json.encode(found.id)
        own = Shelf(await self._published.decisions(lambda decision: decision.incident == found.id, mark))
        alerts = frozenset(own.alerts_of(found.id))
        decisions = await self._published.decisions(lambda decision: decision.incident == found.id or decision.fingerprint in alerts)
        return await self._told(found, Shelf(decisions), await self._published.alerts())

    async def incidents(self, found: list[Found]) -> list[Told]:
        """Explain several incidents in one walk, which keeps all decisions in memory."""
        shelf, seen = Shelf(await self._published.decisions(lambda _: True)), await self._published.alerts()
        return [await self._told(one, shelf, seen) for one in found]

    async def alerts(self, chosen: Collection[Seen]) -> list[AlertTold]:
        """Explain alerts in one walk, in the light of what else was decided about the incidents that they were in."""
        wanted, seen = frozenset([one.fingerprint for one in chosen]), await self._published.alerts() if chosen else {}
        own = await self._published.decisions(lambda decision: decision.fingerprint in wanted) if chosen else []
        homes = frozenset([decision.incident for decision in own if decision.incident is not None])
        near = (
            await self._published.decisions(lambda decision: decision.fingerprint in wanted or decision.incident in homes) if homes else own
        )
        digest_by_alert = {decision.fingerprint: decision.rules_digest for decision in own}
        return [explain_alert(one, await self._case(near, seen, digest=digest_by_alert.get(one.fingerprint, ""))) for one in chosen]

    async def _told(self, found: Found, shelf: Shelf, seen: dict[str, Seen]) -> Told:
        document = _INCIDENT.decode(found.body)
        case = await self._case(shelf.of_incident(found.id), seen, digest=document.rules_digest)
        case = msgspec.structs.replace(case, members={member.fingerprint: member for member in document.members})
        return Told(document, case, explain_incident(document, case))

    async def _case(self, decisions: list[Decision], seen: dict[str, Seen], *, digest: str) -> Case:
        if digest not in self._controls:
            self._controls[digest] = await self._published.control(digest)
        control, in_force = self._controls[digest]
        left_out = max(0, len(decisions) - STEPS_MOST)
        return Case(decisions[:STEPS_MOST], seen, {}, control, in_force, left_out)
