"""What parse shows of items is what intake, and the replay behind it, make of the same bytes."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.intake.formats import Format
from correlator.intake.pipeline import Intake
from correlator.model.event import Flag
from correlator.model.instant import DAY
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.runtime.files import Records
from correlator.runtime.inspect import Inspector, Item
from correlator.runtime.metrics import flag_word
from correlator.runtime.replay import Replay

from tests.intake.builders import NOON, an_alert, an_event, record
from tests.intake.strategies import streams

CONTROL = Control(RuleSet(), Topology())
FORESEEN = flag_word(Flag.RESOLVED_BEFORE_FIRING)
UNKNOWN = flag_word(Flag.UNKNOWN_SERVICE)
"""Parse has no topology."""
UNTIMED = [
    record(an_event(status="resolved", startsAt=NOON, at=None)),
    record(an_event(status="resolved", startsAt=NOON, endsAt=NOON + 5, at=None)),
    record(an_event(status="resolved", startsAt=NOON + 5, endsAt=NOON, at=None)),
    record({"alerts": [an_alert(), an_alert(status="resolved", startsAt="2026-03-01T12:00:00Z"), {"labels": {}}]}),
    record([an_event(at=NOON // 1000), an_event(id="1", source="a"), an_event(id="1", source="b"), an_event(id="1", at=7)]),
]


def inspected(values: Sequence[bytes], form: Format = Format.AUTO) -> list[Item]:
    inspector, records = Inspector(form), Records(list(values), range(1, len(values) + 1), file="f")
    items = [item for number in range(len(values)) for item in inspector.inspect(records, number)]
    items += inspector.end()
    assert (inspector.accepted, inspector.rejected) == (
        sum(item.verdict == "accepted" for item in items),
        Counter(item.reason for item in items if item.reason is not None),
    )
    return items


def flags_of(items: Sequence[Item]) -> Counter[str]:
    return Counter(flag for item in items for flag in item.flags)


def without(flags: Counter[str], *words: str) -> dict[str, int]:
    return {flag: count for flag, count in flags.items() if count and flag not in words}


@given(st.lists(streams() | st.sampled_from(UNTIMED).map(lambda one: [one]), max_size=4), st.sampled_from(Format))
def test_verdicts_reasons_and_flags_are_those_that_intake_counts(parts: list[list[bytes]], form: Format) -> None:
    values = [value for part in parts for value in part]
    intake = Intake("f", CONTROL, form=form, is_recording=True)
    outputs = [intake.step(range(len(values)), values), intake.end()]
    items = inspected(values, form)
    assert sum(output.counts.received for output in outputs) == len(items)
    rejected = sum((output.counts.rejected for output in outputs), Counter())
    assert Counter(item.reason for item in items if item.reason is not None) == {reason.value: count for reason, count in rejected.items()}
    flagged = Counter(
        {flag_word(flag): 0 for flag in Flag}
        | {
            flag_word(flag): sum(count for output in outputs for flags, count in output.counts.flagged.items() if flags & flag)
            for flag in Flag
        }
    )
    assert without(flags_of(items), FORESEEN) == without(flagged, FORESEEN, UNKNOWN)
    refused = [
        (letter.offset + 1, one.item, one.reason, one.detail)
        for output in outputs
        for letter in output.dead_letters
        for one in letter.refusals
    ]
    assert [(one.position.line, one.position.item, one.reason, one.detail) for one in items if one.verdict == "rejected"] == refused


@given(st.lists(st.tuples(st.integers(1, 60_000), st.sampled_from("abc"), st.sampled_from(["firing", "resolved"])), max_size=30))
def test_in_the_order_of_times_flags_are_those_of_a_whole_replay(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[int, str, str]]
) -> None:
    at, values = NOON, list[bytes]()
    for step, name, status in said:
        at += step
        values.append(record(an_event(of=f"s/{name}", at=at, status=status)))
    summary = Replay(CONTROL, tmp_path_factory.mktemp("replay")).run(iter([Records(values, range(1, len(values) + 1))]))
    flagged = summary.funnel["flagged"]
    assert isinstance(flagged, dict)
    assert without(flags_of(inspected(values))) == without(Counter(flagged), UNKNOWN)


def test_a_resolve_without_end_is_said_when_it_arrives_not_when_it_began() -> None:
    values = [record(an_event()), record(an_event(at=NOON + 60_000)), record(an_event(status="resolved", startsAt=NOON, at=None))]
    assert [item.alert["at"] for item in inspected(values) if item.alert is not None][-1] == "2026-03-01T12:01:00.000Z"


@pytest.mark.parametrize("seconds", [10**9, NOON // 1000, 10**10 - 1])
def test_ten_digits_are_suspected_aloud_to_be_seconds_and_stay_what_they_are(seconds: int) -> None:
    *_, item = inspected([record(an_event(at=NOON + number)) for number in range(30)] + [record(an_event(at=seconds))])
    assert item.flags == ["implausible_time", "time_unit"]
    assert item.detail is not None
    assert f"at {seconds} is 1970-" in item.detail
    assert "it looks like seconds" in item.detail


@pytest.mark.parametrize("number", [10**9 - 1, 10**10])
def test_nine_and_eleven_digits_are_milliseconds_without_suspicion(number: int) -> None:
    (item,) = inspected([record(an_event(at=number))])
    assert item.flags == []


def test_a_recording_all_in_seconds_is_flagged_item_by_item() -> None:
    items = inspected([record(an_event(at=NOON // 1000 + number)) for number in range(30)])
    assert flags_of(items) == {"time_unit": 30}


def test_dead_letters_of_a_replay_lie_where_parse_says(tmp_path: Path) -> None:
    values = [record(an_event(at=NOON + number)) for number in range(3)] + [b"{", record({"alerts": [an_alert(), {"labels": {}}]})]
    records = Records(values, range(1, len(values) + 1), file="f")
    Replay(CONTROL, tmp_path).run(iter([records]))
    rows = [json.loads(line) for line in (tmp_path / "dead-letters.jsonl").read_bytes().splitlines()]
    assert [row["position"] for row in rows] == [{"file": "f", "line": 4, "item": 0}, {"file": "f", "line": 5, "item": 1}]


@pytest.mark.parametrize(("ends", "flags"), [(DAY, []), (DAY + 1, ["implausible_time"]), (10_000 * DAY, ["implausible_time"])])
def test_an_end_that_is_named_too_far_ahead_is_flagged_and_said_in_words(ends: int, flags: list[str]) -> None:
    (item,) = inspected([record({"version": "4", "alerts": [an_alert(startsAt=NOON, endsAt=NOON + ends)]})])
    assert item.flags == flags
    assert (item.detail or "").endswith("is too far ahead of its arrival, and ignored") == bool(flags)
    assert "takes its place" not in (item.detail or "")
