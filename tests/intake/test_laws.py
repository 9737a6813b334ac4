"""Laws of intake: nothing lost, nothing double, and batches leave no trace."""

import random
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.control import Control
from correlator.frames.frame import FrameKind
from correlator.intake.identify import fingerprint_of
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.event import Rejection
from correlator.model.instant import HOUR
from correlator.model.rule import Identity, RuleSet
from correlator.model.topology import Topology

from tests.intake.builders import NOON, SHOP, Seen, an_event, an_intake, feed, items_of, labels_known, only_rows, record, totals
from tests.intake.strategies import streams

BATCHES = st.integers(1, 15)
WATERMARKS = st.sampled_from([None, NOON, NOON - 3 * HOUR])


def run(records: list[bytes], *, batch: int, watermark: int | None = NOON) -> list[IntakeOutput]:
    intake = an_intake(watermark=watermark)
    return [*feed(intake, records, batch=batch), intake.end()]


def rejected_by(outputs: list[IntakeOutput]) -> Counter[Rejection]:
    return sum((output.counts.rejected for output in outputs), Counter())


@given(streams(), BATCHES, WATERMARKS)
def test_every_item_is_rejected_or_forwarded_and_lies_in_one_row(records: list[bytes], batch: int, watermark: int | None) -> None:
    outputs = run(records, batch=batch, watermark=watermark)
    received, rejected, forwarded = totals(outputs)
    assert received == rejected + forwarded
    assert forwarded == sum(frame.items for output in outputs for _, frame in output.frames)
    assert rejected == sum(len(letter.refusals) for output in outputs for letter in output.dead_letters)


@given(streams(), st.tuples(BATCHES, BATCHES), WATERMARKS)
def test_where_batches_are_cut_leaves_no_trace(records: list[bytes], batches: tuple[int, int], watermark: int | None) -> None:
    one, other = batches
    first, second = run(records, batch=one, watermark=watermark), run(records, batch=other, watermark=watermark)
    assert totals(first) == totals(second)
    assert items_of(first) == items_of(second)
    assert labels_known(first) == labels_known(second)
    assert [letter for output in first for letter in output.dead_letters] == [letter for output in second for letter in output.dead_letters]
    assert (first[-1].position, first[-1].watermark) == (second[-1].position, second[-1].watermark)


@given(streams(), st.tuples(st.integers(0, 40), BATCHES), WATERMARKS)
def test_a_restart_at_the_committed_position_loses_and_doubles_nothing(
    records: list[bytes], crash_and_batch: tuple[int, int], watermark: int | None
) -> None:
    crash, batch = min(crash_and_batch[0], len(records)), crash_and_batch[1]
    before = feed(an_intake(watermark=watermark), records[:crash], batch=batch)
    position, believed = (before[-1].position, before[-1].watermark) if before else (0, watermark)
    intake = an_intake(watermark=believed, position=position)
    after = [*feed(intake, records[position:], first=position, batch=batch), intake.end()]
    whole = run(records, batch=batch, watermark=watermark)
    assert totals([*before, *after]) == totals(whole)
    assert items_of([*before, *after]) == items_of(whole)
    assert labels_known(before) | labels_known(after) == labels_known(whole)
    assert rejected_by([*before, *after]) == rejected_by(whole)


@given(streams(), st.integers(0, 40))
def test_adopting_rules_amid_doubt_loses_nothing(records: list[bytes], adopt_at: int) -> None:
    intake = an_intake(watermark=None)
    before = feed(intake, records[:adopt_at])
    intake.adopt(Control(RuleSet(identity=Identity(ignore=("service",))), SHOP))
    after = [*feed(intake, records[adopt_at:], first=adopt_at), intake.end()]
    assert totals([*before, *after]) == totals(run(records, batch=40, watermark=None))
    forwarded = totals([*before, *after])[2]
    assert forwarded == sum(frame.items for output in [*before, *after] for _, frame in output.frames)
    labels_known(after)


def test_what_waited_in_doubt_is_routed_by_the_rules_that_hold_when_it_is_let_through() -> None:
    intake = an_intake(watermark=None)
    (waiting,) = feed(intake, [an_event()])
    assert not waiting.frames
    assert waiting.position == 0
    control = Control(RuleSet(identity=Identity(only=("alertname",))), SHOP)
    intake.adopt(control)
    rows = intake.end().frames[0][1]
    assert rows.digest == control.digest
    assert rows.fingerprints == [fingerprint_of({"alertname": "latency"}, Identity())]


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=8), st.randoms())
def test_another_order_of_keys_gives_the_same_fingerprint(labels: dict[str, str], chance: random.Random) -> None:
    names = list(labels)
    chance.shuffle(names)
    assert fingerprint_of(labels, Identity()) == fingerprint_of({name: labels[name] for name in names}, Identity())


@given(
    st.dictionaries(st.text("ab", max_size=3), st.text("ab", max_size=3)),
    st.dictionaries(st.text("ab", max_size=3), st.text("ab", max_size=3)),
)
def test_other_labels_give_another_fingerprint(one: dict[str, str], other: dict[str, str]) -> None:
    assert (fingerprint_of(one, Identity()) == fingerprint_of(other, Identity())) == (one == other)


def test_another_writing_of_the_same_labels_folds_into_the_same_row() -> None:
    forward = b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a","service":"cart"}}'
    backward = b'{"at":1772366400001,"status":"firing","labels":{"service":"cart","alertname":"a"}}'
    (output,) = feed(an_intake(), [forward, backward])
    assert output.frames[0][1].counts == [2]


def seen(at: int, status: int = 0, effect: int | None = None) -> Seen:
    return fingerprint_of(an_event()["labels"], Identity()), status, at, at if effect is None else effect


def only_item(outputs: list[IntakeOutput]) -> Seen:
    ((only,),) = [items_of(outputs)[1]]
    return only


def test_a_run_is_broken_by_another_status() -> None:
    (output,) = feed(an_intake(), [an_event(at=NOON), an_event(at=NOON + 1, status="resolved"), an_event(at=NOON + 2)])
    assert output.frames[0][1].statuses == [0, 1, 0]


def test_a_run_is_broken_by_a_gap_of_exactly_the_shortest_expiry() -> None:
    gap = RuleSet().shortest_expiry
    (output,) = feed(an_intake(), [an_event(at=NOON), an_event(at=NOON + gap - 1), an_event(at=NOON + 2 * gap - 1)])
    assert output.frames[0][1].counts == [2, 1]


def test_a_run_is_broken_by_other_labels_outside_the_identity() -> None:
    rules = RuleSet(identity=Identity(ignore=("pod",)))
    pods = [an_event(at=NOON + n, labels={"alertname": "a", "service": "cart", "pod": pod}) for n, pod in enumerate("xyxxy")]
    outputs = feed(an_intake(rules=rules), pods)
    frame = only_rows(outputs[0].frames)
    assert frame.counts == [1, 1, 2, 1]
    assert len(set(frame.fingerprints)) == 1
    assert [msgspec.json.decode(frame.news[row].labels)["pod"] for row in range(4)] == list("xyxy")


def test_another_writing_folds_even_where_other_labels_share_the_fingerprint() -> None:
    rules = RuleSet(identity=Identity(ignore=("pod",)))
    records = [
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a","pod":"x"}}',
        b'{"at":1772366400001,"status":"firing","labels":{"alertname":"a","pod":"y"}}',
        b'{"at":1772366400002,"status":"firing","labels":{"pod": "x", "alertname": "a"}}',
        b'{"at":1772366400003,"status":"firing","labels":{"alertname":"a","pod":"x"}}',
    ]
    frame = only_rows(feed(an_intake(rules=rules), records)[0].frames)
    assert frame.counts == [1, 1, 2]


def test_alertname_is_always_part_of_the_identity() -> None:
    rules = Identity(ignore=("alertname", "pod")), Identity(only=("service",))
    for identity in rules:
        one = fingerprint_of({"alertname": "a", "service": "s"}, identity)
        assert one != fingerprint_of({"alertname": "b", "service": "s"}, identity)


def test_a_delayed_item_takes_effect_when_it_would_have_been_judged() -> None:
    outputs = feed(an_intake(), [an_event(at=NOON - 60_000, receivedAt=NOON)])
    assert only_item(outputs) == seen(NOON - 60_000, effect=NOON - 10_000 + 1)


def test_a_late_item_takes_effect_at_its_arrival() -> None:
    at = NOON - RuleSet().time.lateness - 1
    assert only_item(feed(an_intake(), [an_event(at=at, receivedAt=NOON)])) == seen(at, effect=NOON)


def test_an_item_exactly_as_late_as_allowed_is_only_delayed() -> None:
    at = NOON - RuleSet().time.lateness
    assert only_item(feed(an_intake(), [an_event(at=at, receivedAt=NOON)])) == seen(at, effect=NOON - 10_000 + 1)


def test_labels_travel_again_after_five_minutes_of_log_time() -> None:
    records = [record(an_event(at=NOON + minutes * 60_000, annotations={"n": str(minutes)})) for minutes in range(12)]
    outputs = feed(an_intake(), records, batch=1)
    assert [bool(output.frames[0][1].news) for output in outputs] == [minutes % 5 == 0 for minutes in range(12)]


def test_a_domain_without_rows_is_told_how_far_time_has_come() -> None:
    outputs = feed(an_intake(), [an_event(of="cart/latency", at=NOON + 1_000)])
    told = {partition: (len(frame.counts), frame.watermark) for partition, frame in outputs[0].frames}
    assert told == {0: (0, NOON + 1_000), 1: (0, NOON + 1_000), 2: (1, NOON + 1_000)}


def test_services_of_other_domains_go_to_other_partitions() -> None:
    (output,) = feed(an_intake(), [an_event(of=f"{name}/down") for name in ("checkout", "cart", "payments", "nobody")])
    assert {partition: frame.items for partition, frame in output.frames} == {0: 2, 1: 1, 2: 1}


def test_a_tick_reaches_every_partition_and_says_the_live_time() -> None:
    output = an_intake(is_recording=False).tick(NOON + 1000)
    assert [(partition, frame.kind, frame.watermark) for partition, frame in output.frames] == [
        (partition, FrameKind.TICK, NOON + 1000) for partition in range(3)
    ]


def test_a_tick_before_any_record_keeps_the_position_it_was_given() -> None:
    assert an_intake(position=500).tick(NOON).position == 500


def test_a_tick_decides_what_is_in_doubt() -> None:
    intake = an_intake(is_recording=False)
    (held,) = feed(intake, [an_event(at=NOON + 2 * HOUR)], timestamps=[NOON + 2 * HOUR], first=7)
    assert (held.position, held.counts.received) == (7, 0)
    let_through = intake.tick(NOON + 2 * HOUR + 1000)
    assert (let_through.position, let_through.counts.forwarded) == (8, 1)


def test_the_end_of_a_recording_moves_time_by_reorder_and_settle() -> None:
    intake = an_intake()
    feed(intake, [an_event(at=NOON + 5)])
    ticks = intake.end().frames
    assert {frame.watermark for _, frame in ticks} == {NOON + 5 + RuleSet().time.reorder + RuleSet().grouping.settle}


def test_an_intake_without_any_input_ends_in_silence() -> None:
    assert an_intake(watermark=None).end().frames == []


def test_two_intakes_of_the_same_input_write_equal_frames() -> None:
    records = [record(an_event(at=NOON + number)) for number in range(50)]
    control = Control(RuleSet(), SHOP)
    first, second = (feed(Intake("raw/0", control, is_recording=True), records) for _ in range(2))
    assert first == second


def test_the_end_of_a_recording_leaves_nothing_pending_of_a_source_whose_clock_runs_ahead() -> None:
    at = 1_767_261_600_000
    intake = Intake("r", Control(RuleSet(), Topology()), is_recording=True)
    body = b'{"at":%d,"receivedAt":%d,"status":"firing","labels":{"alertname":"A","service":"s"}}' % (at + 240_000, at)
    intake.step([0], [body])
    frames = [frame for _, frame in intake.end().frames]
    assert frames[-1].watermark == at + 240_000 + RuleSet().time.reorder + RuleSet().grouping.settle
