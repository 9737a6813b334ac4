"""Control records: what comes back is what was put in, and what is none is said to be none."""

import msgspec
import pytest

from correlator.frames.control import Control, control_frame, read_control
from correlator.frames.frame import FrameError
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.model.version import NewerVersionError


def test_a_control_record_comes_back_as_it_was_with_its_digest() -> None:
    control = Control(RuleSet(), Topology())
    read = read_control(control_frame(control).control)
    assert (read, read.digest) == (control, control.digest)


@pytest.mark.parametrize("value", [b"", b"\xc1", msgspec.msgpack.encode(["not", "a", "control"])])
def test_what_is_no_control_record_is_a_frame_error(value: bytes) -> None:
    with pytest.raises(FrameError):
        read_control(value)


def test_a_newer_control_record_says_that_it_needs_a_newer_correlator() -> None:
    newer = msgspec.structs.replace(Control(RuleSet(), Topology()), version=99)
    with pytest.raises(NewerVersionError, match="rules of format 99 need a newer correlator"):
        read_control(msgspec.msgpack.encode(newer))
