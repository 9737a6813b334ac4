"""Laws of a change of rules: whatever they are and wherever they come, nothing is lost, and a restart changes nothing.

Intake goes over to new rules some batches after the control frame lies in the log: rows routed by the rules before come after it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from correlator.correlate.machine import Machine
from correlator.frames.control import Control, control_frame
from correlator.frames.frame import Frame
from correlator.intake.pipeline import Intake
from correlator.model.instant import MINUTE, SECOND, Duration
from correlator.model.topology import Topology

from tests.builders import T0, over_the_log
from tests.laws.streams import CONTROLS, Item, streams
from tests.laws.test_restart import all_rows, written
from tests.laws.test_same import LONG, cuts, split


def with_reorder(control: Control, reorder: Duration) -> Control:
    time = msgspec.structs.replace(control.rules.time, reorder=reorder)
    return msgspec.structs.replace(control, rules=msgspec.structs.replace(control.rules, time=time))


CHANGES: Final = [
    *CONTROLS.values(),
    *[with_reorder(control, reorder) for control in CONTROLS.values() for reorder in (0, 2 * MINUTE)],
    msgspec.structs.replace(CONTROLS["default"], topology=Topology()),
    with_reorder(CONTROLS["short"], 59 * SECOND),
]
changes: Final = st.tuples(st.sampled_from(CHANGES), st.sampled_from(CHANGES), st.integers(0, 5), st.integers(0, 4))
"""Rules before and after, the batch at which intake goes over to them, and how many batches sooner their control frame lies in the log."""


def frames_over(batches: Sequence[Sequence[bytes]], change: tuple[Control, Control, int, int]) -> list[Frame]:
    """Take a recording through intake while its rules change; answer the log of frames with both control frames."""
    before, after, switch, lead = change
    switch = min(switch, len(batches))
    intake, offset = Intake("raw-0", before, is_recording=True, watermark=T0), 0
    frames = [control_frame(before)]
    for number, batch in enumerate(batches):
        if number == max(switch - lead, 0):
            frames.append(control_frame(after))
        if number == switch:
            intake.adopt(after)
        frames += [frame for _, frame in intake.step(range(offset, offset + len(batch)), list(batch)).frames]
        offset += len(batch)
    frames += [frame for _, frame in intake.end().frames]
    return [over_the_log(frame) for frame in frames]


@given(streams(gaps=LONG), cuts, changes)
def test_every_item_has_one_verdict_though_the_rules_change(
    items: list[Item], places: list[int], change: tuple[Control, Control, int, int]
) -> None:
    machine, forwarded = Machine(), 0
    for frame in frames_over(split([item.written() for item in items], places), change):
        machine.step(frame)
        forwarded += frame.items
        assert forwarded == sum(machine.verdicts.values()) + machine.waiting
    assert (forwarded, machine.waiting) == (len(items), 0)


@given(items=streams(gaps=LONG), places=cuts, change=changes, at=st.integers(0, 30), back=st.integers(0, 4))
def test_a_restart_around_a_change_of_rules_changes_no_byte(
    items: list[Item], places: list[int], *, change: tuple[Control, Control, int, int], at: int, back: int
) -> None:
    frames = frames_over(split([item.written() for item in items], places), change)
    crash = at % (len(frames) + 1)
    checkpoint = max(crash - back, 0)
    never_stopped, restored = Machine(), Machine()
    for frame in frames[:checkpoint]:
        never_stopped.step(frame)
    saved = all_rows({}, never_stopped) if checkpoint else {}
    restored.restore(saved)
    for frame in frames[checkpoint:crash]:
        restored.step(frame)
        never_stopped.step(frame)
    for frame in frames[crash:]:
        assert written(restored.step(frame)) == written(never_stopped.step(frame))
    assert all_rows(saved, restored) == all_rows(saved, never_stopped)
    assert restored.verdicts == never_stopped.verdicts
