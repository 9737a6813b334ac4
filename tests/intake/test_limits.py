"""Whatever intake remembers or sends has a limit, and the limit speaks."""

from collections.abc import Iterator

import pytest

from correlator.frames.codec import encode_frame
from correlator.frames.frame import MAX_SPAN
from correlator.intake import pipeline
from correlator.intake.arrival import HELD_BYTES_MOST
from correlator.intake.collapse import FRAME_BYTES
from correlator.intake.normalise import IDS_MOST
from correlator.intake.pipeline import FRAME_ITEMS, TRACKS_MOST
from correlator.model.instant import DAY, HOUR
from correlator.model.rule import Expiry, RuleSet
from correlator.runtime.topics import LARGEST_RECORD

from tests.intake.builders import NOON, an_event, an_intake, feed, frames_of, labels_known, only_rows, record, totals


def distinct(count: int, *, first: int = 0) -> Iterator[bytes]:
    for number in range(first, first + count):
        yield b'{"at":%d,"status":"firing","labels":{"alertname":"a%d"}}' % (NOON, number)


def test_label_sets_beyond_the_limit_are_forgotten_and_travel_again() -> None:
    intake = an_intake()
    outputs = feed(intake, distinct(TRACKS_MOST + 1), batch=TRACKS_MOST // 4 + 1)
    assert [output.counts.cache_resets for output in outputs] == [0, 0, 0, 1]
    again = feed(intake, distinct(10))
    assert len(labels_known(again)) == 10


def test_ids_beyond_the_limit_are_forgotten_and_counted() -> None:
    events = [record(an_event(id=str(number))) for number in range(IDS_MOST + 3)]
    outputs = feed(an_intake(), events, batch=20_000)
    assert sum(output.counts.ids_forgotten for output in outputs) == 3
    assert not any(output.counts.flagged for output in outputs)


def test_records_in_doubt_are_bounded_by_their_number() -> None:
    intake = an_intake()
    outputs = feed(intake, [an_event(at=NOON + DAY), *[b"garbage"] * 3_000], batch=100)
    assert sum(output.counts.doubts_forced for output in outputs) > 0
    assert totals(outputs)[0] > 2_000


def test_records_in_doubt_are_bounded_by_their_bytes() -> None:
    large = b" " * 4_000_000 + b"{"
    outputs = feed(an_intake(), [an_event(at=NOON + DAY), *[large] * (HELD_BYTES_MOST // len(large) + 1)], batch=5)
    assert sum(output.counts.doubts_forced for output in outputs) == 1
    assert totals(outputs) == (18, 17, 1)


def test_a_frame_is_cut_when_it_has_grown_large() -> None:
    events = [record(an_event(labels={"alertname": f"a{number}"}, annotations={"text": "x" * 20_000})) for number in range(700)]
    frames = [frame for _, frame in frames_of(feed(an_intake(), events))]
    assert len(frames) > 3
    assert all(len(encode_frame(frame)) < FRAME_BYTES + 30_000 for frame in frames)


def test_a_frame_of_many_plain_rows_fits_into_one_record() -> None:
    events = [
        record(an_event(at=NOON + number, status=("firing", "resolved")[number % 2], labels={"alertname": f"a{number % 50}"}))
        for number in range(2 * FRAME_ITEMS)
    ]
    frames = [frame for _, frame in frames_of(feed(an_intake(), events))]
    assert sum(frame.items for frame in frames) == len(events)
    assert all(len(encode_frame(frame)) < LARGEST_RECORD // 2 for frame in frames)


@pytest.mark.parametrize("as_list", [False, True])
def test_a_huge_run_of_one_alert_is_cut_into_frames_of_bounded_size(as_list: bool) -> None:  # noqa: FBT001
    count = 3 * FRAME_ITEMS + 5
    events = [b'{"at":%d,"status":"firing","labels":{"alertname":"a"}}' % (NOON + number) for number in range(count)]
    records = [b"[" + b",".join(part) + b"]" for part in (events[: count // 2], events[count // 2 :])] if as_list else events
    frames = [frame for _, frame in frames_of(feed(an_intake(), records))]
    assert sum(frame.items for frame in frames) == count
    assert max(frame.items for frame in frames) <= FRAME_ITEMS
    assert all(len(encode_frame(frame)) < LARGEST_RECORD // 2 for frame in frames)


def test_a_run_never_lasts_longer_than_its_column_can_say() -> None:
    rules = RuleSet(expiry=Expiry(native=60 * DAY, alertmanager=60 * DAY))
    events = [record(an_event(at=NOON + hours * HOUR)) for hours in range(0, 24 * 40, 1)]
    frame = only_rows(pair for output in feed(an_intake(rules=rules), events) for pair in output.frames)
    assert len(frame.counts) == 2
    assert all(last - first < MAX_SPAN for first, last in zip(frame.firsts, frame.lasts, strict=True))


def test_label_bytes_remembered_are_bounded() -> None:
    size, text = 16_000, b"x" * 4_000
    assert pipeline.TRACK_BYTES_MOST // size < TRACKS_MOST
    intake = an_intake()
    resets = 0
    for batch in range(pipeline.TRACK_BYTES_MOST // size // 1_000 + 1):
        events = [
            b'{"at":%d,"status":"firing","labels":{"alertname":"a%d","b":"%s","c":"%s","d":"%s","e":"%s"}}'
            % (NOON, batch * 1_000 + number, text, text, text, text)
            for number in range(1_000)
        ]
        resets += sum(output.counts.cache_resets for output in feed(intake, events))
    assert resets == 1
