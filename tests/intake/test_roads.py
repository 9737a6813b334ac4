"""The short road of intake answers exactly what the long road answers, whatever mixture of records comes."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.pipeline import Intake, IntakeOutput
from correlator.model.instant import HOUR, MINUTE, SECOND, Instant
from correlator.model.rule import Expiry, Identity, RuleSet, TimeRules

from tests.intake.builders import NOON, SHOP, an_event, feed, record
from tests.intake.strategies import streams

RULES = st.sampled_from(
    [
        RuleSet(),
        RuleSet(),
        RuleSet(identity=Identity(ignore=("service",))),
        RuleSet(identity=Identity(only=("alertname",))),
        RuleSet(time=TimeRules(reorder=HOUR, lateness=5 * SECOND)),
        RuleSet(time=TimeRules(reorder=0)),
        RuleSet(expiry=Expiry(native=SECOND)),
    ]
)
WANDER = st.lists(st.integers(-2 * HOUR, 2 * HOUR), min_size=40, max_size=40)


class LongRoad(Intake):
    """An intake whose short road is closed."""

    @property
    def _is_native_road(self) -> bool:
        return False


def normalised(frame: Frame) -> object:
    """A frame whose labels and annotations are compared as values: the roads may write the same JSON differently."""
    news = {
        row: (msgspec.json.decode(said.labels), msgspec.json.decode(said.annotations), said.value, said.origin)
        for row, said in frame.news.items()
    }
    return msgspec.structs.replace(frame, news={}, extras=dict(sorted(frame.extras.items()))), news


def told(outputs: list[IntakeOutput]) -> list[Any]:
    return [
        (
            [(partition, normalised(frame)) for partition, frame in output.frames],
            output.dead_letters,
            output.counts,
            output.position,
            output.watermark,
        )
        for output in outputs
    ]


def both_roads(
    records: list[bytes], rules: RuleSet, *, timestamps: list[Instant] | None, batch: int, is_recording: bool | None = None
) -> tuple[list[Any], list[Any]]:
    roads = []
    for road in (Intake, LongRoad):
        intake = road(
            "raw/0", Control(rules, SHOP), is_recording=timestamps is None if is_recording is None else is_recording, watermark=NOON
        )
        outputs = feed(intake, records, timestamps=timestamps, batch=batch)
        roads.append(told([*outputs, intake.end()]))
    return roads[0], roads[1]


@given(streams(), RULES, st.integers(1, 15))
def test_the_short_road_equals_the_long_road_in_a_recording(records: list[bytes], rules: RuleSet, batch: int) -> None:
    short, long = both_roads(records, rules, timestamps=None, batch=batch)
    assert short == long


@given(streams(is_recording=False), RULES, st.tuples(st.integers(1, 15), WANDER))
def test_the_short_road_equals_the_long_road_on_a_live_topic(records: list[bytes], rules: RuleSet, cut: tuple[int, list[int]]) -> None:
    batch, wander = cut
    timestamps = [NOON + number * SECOND + wander[number] // 100 for number in range(len(records))]
    short, long = both_roads(records, rules, timestamps=timestamps, batch=batch)
    assert short == long


@given(streams(), RULES, st.integers(1, 15))
def test_the_short_road_equals_the_long_road_in_a_recording_with_arrivals_of_its_records(
    records: list[bytes], rules: RuleSet, batch: int
) -> None:
    timestamps = [NOON + number * SECOND for number in range(len(records))]
    short, long = both_roads(records, rules, timestamps=timestamps, batch=batch, is_recording=True)
    assert short == long


@given(st.lists(st.integers(-15 * MINUTE, 15 * MINUTE), max_size=30), st.integers(1, 12))
def test_the_short_road_equals_the_long_road_for_plain_events_alone(times: list[int], batch: int) -> None:
    records = [record(an_event(at=NOON + time, annotations={"n": str(time)}, value=time)) for time in times]
    short, long = both_roads(records, RuleSet(), timestamps=None, batch=batch)
    assert short == long
