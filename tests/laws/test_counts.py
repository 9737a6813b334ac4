"""The law of counts: every item that belongs to a stretch is counted in one stretch, whatever order the items came in."""

from collections import Counter
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.machine import Machine
from correlator.model.instant import MINUTE, SECOND, Instant

from tests.builders import an_event, follow, frames_of, run
from tests.laws.streams import CONTROLS, NATIVE, REORDER, Item, streams
from tests.laws.test_same import cuts, split

EXPIRY = 15 * MINUTE
CONTROL = CONTROLS["default"]
CLOSE = (1, SECOND, 2 * SECOND, 2 * SECOND, REORDER - 1, REORDER, EXPIRY, EXPIRY + 1)
"""Mostly within `reorder`, so that resolves come between firing events that were there before them."""


def without_resends(items: list[Item]) -> list[Item]:
    """Make few alerts of many, and leave out what says the same of one at the same time: which frame a resend falls into may matter."""
    items = [msgspec.structs.replace(item, of=f"db/{item.of.partition('/')[2]}") for item in items]
    return list({(item.of, item.at, item.status): item for item in reversed(items)}.values())[::-1]


def counted(items: list[Item]) -> Counter[str]:
    """Count the items of each alert's stretches by a plain scan in the order of their times, firing ones first."""
    found, last, over = Counter[str](), dict[str, Instant](), dict[str, Instant]()
    for item in sorted(items, key=lambda item: (item.at, item.status)):
        alert = item.of
        if alert in last and item.at > last[alert] + EXPIRY:
            over[alert] = last.pop(alert) + EXPIRY
        if item.status == "firing" and (alert in last or item.at > over.get(alert, 0)):
            found[alert] += 1
            last[alert] = item.at
        elif item.status == "resolved":
            found[alert] += alert in last
            over[alert] = item.at
            last.pop(alert, None)
    return found


@given(streams(delays=(0,), gaps=CLOSE, most=40, names=NATIVE), st.randoms(use_true_random=False), cuts)
def test_the_counts_of_an_alerts_stretches_add_up_to_its_items(items: list[Item], random: Random, places: list[int]) -> None:
    once = without_resends(items)
    moved = sorted(once, key=lambda item: item.at + random.randrange(REORDER))
    batches = split([item.written(with_arrival=False) for item in moved], places)
    outcome = follow(Machine(CONTROL), frames_of(batches, CONTROL))
    sums = Counter[str]()
    for stretch in (*outcome.stretches, *outcome.open_stretches):
        sums[f"{stretch.labels['service']}/{stretch.labels['alertname']}"] += stretch.count
    assert sums == counted(once)


def test_a_resolve_that_comes_late_divides_the_count_between_both_stretches() -> None:
    said = [("0", "firing"), ("1s", "firing"), ("4s", "firing"), ("5s", "firing"), ("3s", "resolved"), ("6s", "firing")]
    outcome = run([an_event("db/Down", at, status=status) for at, status in said])
    assert [stretch.count for stretch in (*outcome.stretches, *outcome.open_stretches)] == [3, 3]
