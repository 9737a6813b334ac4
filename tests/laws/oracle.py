"""A plain model of alerts: a scan in the order of judgement that keeps one deadline, written without a look at how the machine does it."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from correlator.model.instant import DAY, HOUR, MINUTE, SECOND, Duration, Instant

from tests.laws.streams import REORDER, Item

LATENESS: Final = 15 * MINUTE
SETTLE: Final = 30 * SECOND
"""Time goes on by this behind the end of a recording."""

Modelled = tuple[str, Instant, Instant | None, int]
"""A stretch as (alert, start, end, items)."""


class Scan:
    """One alert: `over` is up to when nothing fires, `end` what the newest statement named or implied, 0 for its plain expiry."""

    def __init__(self, name: str, expiry: Duration) -> None:
        self.name, self.expiry = name, expiry
        self.found: list[Modelled] = []
        self.over = self.end = self.start = self.newest = self.items = 0

    @property
    def deadline(self) -> Instant:
        return self.end or self.newest + self.expiry

    def pass_time(self, instant: Instant) -> None:
        """Let the stretch expire before an instant."""
        if self.items and self.deadline < instant:
            self.finish(self.deadline)

    def finish(self, end: Instant) -> None:
        self.found.append((self.name, self.start, end, self.items))
        self.over, self.items = end, 0

    def hear(self, item: Item) -> None:
        is_late = item.arrival - item.at > LATENESS
        end = named_end(item) or (item.arrival + self.expiry if is_late else 0)
        if not self.items and item.at > self.over:
            self.start, self.newest, self.end, self.items = item.at, item.at, end, 1
        elif self.items:
            self.items += 1
            if item.at > self.newest:
                self.newest, self.end = item.at, end
            elif item.at == self.newest and not is_late:
                self.end = max(self.end, end)

    def clear(self, item: Item) -> None:
        self.items += bool(self.items)
        if not self.items:
            self.over = max(self.over, item.at)
        elif item.at >= self.newest:
            self.finish(item.at)


def effect(item: Item) -> Instant:
    """Answer when an item is judged: late ones at their arrival, others at their time or as soon after it as order allows."""
    return item.arrival if item.arrival - item.at > LATENESS else max(item.at, item.arrival - REORDER + 1)


def named_end(item: Item) -> Instant:
    """Answer the explicit end of a firing statement of Alertmanager, 0 for none that can be believed."""
    if not item.is_from_alertmanager or item.ends is None or item.ends <= 0 or item.at + item.ends - item.arrival > DAY:
        return 0
    return item.at + item.ends


def modelled(items: Iterable[Item], alert_of: Callable[[Item], str], *, native: Duration) -> list[Modelled]:
    """Answer the stretches of a stream in order of arrival whose alerts expire after `native`, those of Alertmanager after 5 h."""
    by_alert: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_alert[alert_of(item)].append(item)
    ended = max([item.arrival for items in by_alert.values() for item in items]) + SETTLE
    found: list[Modelled] = []
    for name, mine in by_alert.items():
        scan = Scan(name, 5 * HOUR if mine[0].is_from_alertmanager else native)
        for item in sorted(mine, key=lambda item: (effect(item), item.at, item.status)):
            scan.pass_time(effect(item))
            (scan.hear if item.status == "firing" else scan.clear)(item)
        scan.pass_time(ended + 1)
        found += scan.found
        if scan.items:
            found.append((name, scan.start, None, scan.items))
    return sorted(found, key=repr)
