"""Generated streams of events, and the ways a live system may deliver them."""

from typing import Final

import msgspec
from hypothesis import strategies as st

from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Duration, Instant
from correlator.model.rule import AlertRule, Expiry, Grouping, Identity, Matcher, MatchOperator, RuleSet

from tests.builders import T0, a_control, an_event

REORDER: Final = 10 * SECOND
GAPS: Final = (
    0,
    0,
    1,
    SECOND,
    5 * SECOND,
    REORDER - 1,
    REORDER,
    REORDER + 1,
    30 * SECOND,
    MINUTE,
    4 * MINUTE,
    15 * MINUTE - 1,
    15 * MINUTE,
    15 * MINUTE + 1,
)
DELAYS: Final = (
    0,
    0,
    0,
    0,
    1,
    SECOND,
    REORDER - 1,
    REORDER,
    REORDER + 1,
    45 * SECOND,
    3 * MINUTE,
    15 * MINUTE,
    15 * MINUTE + 1,
    20 * MINUTE,
)
SERVICES: Final = ("db", "cart", "web", "mail", "nowhere")
ENDS: Final = (None, None, -MINUTE, 0, 1, REORDER, 30 * SECOND, MINUTE, 5 * MINUTE, 20 * MINUTE, 6 * HOUR, 2 * DAY)
"""How far ahead of its event time a firing statement of Alertmanager names its end."""
NATIVE: Final = ("Down", "Slow")
FROM_ALERTMANAGER: Final = "Page"


class Item(msgspec.Struct, frozen=True):
    """One event on its way: when it was said, and when it arrived. `ends` is as far ahead as in `ENDS`, for Alertmanager's alone."""

    at: Instant
    arrival: Instant
    of: str
    status: str
    replica: str
    ends: Duration | None = None

    def written(self, *, with_arrival: bool = True) -> bytes:
        """Answer the event's bytes."""
        received = self.arrival if with_arrival else None
        if self.is_from_alertmanager:
            return self._written_by_alertmanager(received)
        return an_event(self.of, self.at, status=self.status, received=received, labels={"replica": self.replica})

    @property
    def is_from_alertmanager(self) -> bool:
        """Answer whether it came in Alertmanager's message, whose alerts have no time of their own."""
        return self.of.endswith(f"/{FROM_ALERTMANAGER}")

    def _written_by_alertmanager(self, received: Instant | None) -> bytes:
        """Write a bare message when it was said as it arrived, else one in an envelope that says when."""
        service, _, name = self.of.partition("/")
        alert: dict[str, object] = {
            "status": self.status,
            "labels": {"alertname": name, "service": service, "severity": "critical", "replica": self.replica},
            "startsAt": self.at,
        }
        if self.status == "resolved":
            alert["endsAt"] = self.at
        elif self.ends is not None:
            alert["endsAt"] = self.at + self.ends
        if received is not None:
            alert["receivedAt"] = received
        message = {"version": "4", "alerts": [alert]}
        bare = msgspec.json.encode(message)
        return bare if self.at == self.arrival else msgspec.json.encode({"specversion": "1.0", "time": self.at, "data": message})


def streams(
    *,
    delays: tuple[Duration, ...] = DELAYS,
    gaps: tuple[Duration, ...] = GAPS,
    most: int = 24,
    names: tuple[str, ...] = (*NATIVE, FROM_ALERTMANAGER),
) -> st.SearchStrategy[list[Item]]:
    """Streams of few alerts in order of arrival; some events are said long before they arrive."""
    step = st.tuples(
        st.sampled_from(gaps),
        st.sampled_from(delays),
        st.sampled_from(SERVICES),
        st.sampled_from(names),
        st.sampled_from(["firing", "firing", "resolved"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(ENDS),
    )
    return st.lists(step, min_size=1, max_size=most).map(_in_order)


def _in_order(steps: list[tuple[Duration, Duration, str, str, str, str, Duration | None]]) -> list[Item]:
    items, now = [], T0
    for gap, delay, service, name, status, replica, ends in steps:
        now += gap
        items.append(Item(now - delay, now, f"{service}/{name}", status, replica, ends))
    return items


_SLOW: Final = (Matcher("alertname", MatchOperator.EQUAL, "Slow"),)
_FREE: Final = RuleSet(identity=Identity(ignore=("replica",)))
CONTROLS: Final = {
    "default": a_control(rule_set=_FREE),
    "every label": a_control(),
    "hold": a_control(AlertRule("hold", _SLOW, hold=MINUTE), rule_set=_FREE),
    "keep": a_control(AlertRule("keep", _SLOW, keep_firing=2 * MINUTE), rule_set=_FREE),
    "hold and keep": a_control(AlertRule("both", _SLOW, hold=REORDER, keep_firing=REORDER), rule_set=_FREE),
    "own expiry": a_control(AlertRule("brief", _SLOW, expiry=MINUTE), rule_set=_FREE),
    "no settle": a_control(AlertRule("now", _SLOW, settle=0), rule_set=_FREE),
    "short": a_control(rule_set=msgspec.structs.replace(_FREE, expiry=Expiry(native=MINUTE), grouping=Grouping(window=MINUTE))),
}
controls: Final = st.sampled_from(list(CONTROLS)).map(lambda name: CONTROLS[name])
