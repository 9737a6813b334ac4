"""The law of stretches: they are those of a plain scan, for late statements and ends that messages name as for any other."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.machine import Machine
from correlator.correlate.render import Stretch
from correlator.model.instant import MINUTE

from tests.builders import follow, frames_of
from tests.laws.oracle import modelled, named_end
from tests.laws.streams import CONTROLS, DELAYS, GAPS, Item, streams
from tests.laws.test_same import cuts, split

LATE = (*DELAYS, 15 * MINUTE + 2, 16 * MINUTE, 20 * MINUTE - 1, 21 * MINUTE, 30 * MINUTE)
CLOSE = (0, 0, 0, 1, *GAPS)


def few(items: list[Item]) -> list[Item]:
    """Make few alerts of many, so that their statements meet, without resends: which frame one falls into may matter to counts."""
    first: dict[tuple[object, ...], Item] = {}
    for item in items:
        one = msgspec.structs.replace(item, of=f"db/{item.of.partition('/')[2]}")
        first.setdefault((one.of, one.at, one.status, one.status == "firing" and named_end(one)), one)
    return list(first.values())


def of(stretch: Stretch) -> str:
    return f"{stretch.labels['service']}/{stretch.labels['alertname']}"


@given(streams(delays=LATE, gaps=CLOSE, most=30).map(few), cuts, st.sampled_from(["default", "short"]))
def test_stretches_are_those_of_a_plain_scan(items: list[Item], places: list[int], name: str) -> None:
    control = CONTROLS[name]
    outcome = follow(Machine(control), frames_of(split([item.written() for item in items], places), control))
    found = [(of(one), one.started, one.ended, one.count) for one in (*outcome.stretches, *outcome.open_stretches)]
    assert sorted(found, key=repr) == modelled(items, lambda item: item.of, native=control.rules.expiry.native)
