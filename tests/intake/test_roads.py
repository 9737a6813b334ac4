"""The short road of intake answers exactly what the long road answers, whatever mixture of records comes."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.calendar import format_rfc3339
from correlator.model.event import Flag
from correlator.model.instant import HOUR, MINUTE, SECOND, Instant
from correlator.model.rule import Expiry, Identity, RuleSet, TimeRules

from tests.intake.builders import NOON, SHOP, an_event, feed, record
from tests.intake.strategies import MORE_KEYS, streams

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


class ShortRoad(Intake):
    """An intake whose long road is closed."""

    def _take(self, value: bytes, offset: int, timestamp: Instant | None, *, output: IntakeOutput) -> None:
        raise AssertionError(value, offset, timestamp, output)


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


@given(st.lists(st.tuples(MORE_KEYS, st.integers(-9 * SECOND, 9 * SECOND), st.booleans()), max_size=30), st.integers(1, 12))
def test_the_short_road_equals_the_long_road_for_ids_and_other_times_alone(
    written: list[tuple[dict[str, Any], int, bool]], batch: int
) -> None:
    times = [(NOON + wander, is_text) for _, wander, is_text in written]
    records = [
        record({**an_event(at=format_rfc3339(at) if is_text else at, status="resolved" if at % 3 else "firing"), **more})
        for (more, _, _), (at, is_text) in zip(written, times, strict=True)
    ]
    short, long = both_roads(records, RuleSet(), timestamps=None, batch=batch)
    assert short == long


def test_an_event_with_an_id_or_with_times_as_alertmanager_writes_them_takes_the_short_road() -> None:
    more: list[dict[str, Any]] = [
        {},
        {"at": "2026-03-01T12:00:00Z"},
        {"at": "2026-03-01T12:00:00.250Z", "receivedAt": "2026-03-01T12:00:00.123456789Z"},
        {"id": "one", "source": "a", "startsAt": NOON},
        {"status": "resolved", "startsAt": "2026-03-01T11:00:00.5Z", "endsAt": NOON},
        {"startsAt": "2026-03-01T11:00:00.5Z", "endsAt": "0001-01-01T00:00:00Z", "id": None},
        {},
    ]
    intake = ShortRoad("raw/0", Control(RuleSet(), SHOP), is_recording=True, watermark=NOON)
    (output,) = feed(intake, [record({**an_event(), **keys}) for keys in more])
    assert (output.counts.forwarded, output.counts.flagged) == (len(more), {})


def test_an_id_is_known_again_on_either_road_whatever_the_order_of_labels() -> None:
    labels = {"alertname": "latency", "service": "checkout"}
    turned = {"service": "checkout", "alertname": "latency"}
    unknown = {"n": 1}
    records = [
        record({"at": NOON, "status": "firing", "id": "one", "labels": labels}),
        record({"at": NOON, "status": "firing", "id": "one", "labels": turned}),
        record({"at": NOON, "status": "firing", "id": "one", "labels": turned, **unknown}),
        record({"at": NOON + 1, "status": "firing", "id": "one", "labels": labels}),
        record({"at": NOON + 2, "status": "firing", "id": "one", "labels": labels, **unknown}),
    ]
    (output,) = feed(Intake("raw/0", Control(RuleSet(), SHOP), is_recording=True, watermark=NOON), records)
    assert output.counts.flagged == {Flag.SAME_ID_OTHER_CONTENT: 2}
