"""Frames as bytes: round trips, the committed form, and what is no frame."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from correlator.frames.codec import FRAME_VERSION, FrameError, NewerVersionError, decode_frame, encode_frame
from correlator.frames.control import Control, control_frame, read_control
from correlator.frames.frame import Extra, Frame, FrameKind, News
from correlator.model.event import Flag, Origin
from correlator.model.rule import AlertRule, Matcher, MatchOperator, RuleSet
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

INSTANTS = st.integers(-(2**53), 2**53)
SPANS = st.integers(0, 2**31 - 1)
TEXTS = st.text(max_size=6)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rows = draw(st.integers(0, 6))
    firsts = draw(st.lists(INSTANTS, min_size=rows, max_size=rows))
    numbers = st.integers(0, rows - 1) if rows else st.nothing()
    extras = st.builds(Extra, st.sampled_from(Flag), st.none() | INSTANTS, st.none() | INSTANTS, st.lists(INSTANTS, max_size=3))
    news = st.builds(News, st.binary(max_size=5), st.binary(max_size=5), st.none() | st.floats(allow_nan=False), st.sampled_from(Origin))
    return Frame(
        draw(st.sampled_from(FrameKind)),
        draw(TEXTS),
        draw(INSTANTS),
        draw(TEXTS),
        draw(st.lists(st.binary(min_size=16, max_size=16), min_size=rows, max_size=rows)),
        draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)),
        draw(st.lists(st.integers(1, 2**32 - 1), min_size=rows, max_size=rows)),
        firsts,
        [first + draw(SPANS) for first in firsts],
        draw(st.dictionaries(numbers, extras)),
        draw(st.dictionaries(numbers, news)),
        draw(st.binary(max_size=5)),
    )


def a_frame() -> Frame:
    return Frame(
        FrameKind.ROWS,
        "raw/3",
        1_772_366_400_000,
        "0123456789abcdef",
        [bytes(range(16)), bytes(range(16, 32))],
        [0, 3],
        [5, 1],
        [1_772_366_395_000, 1_772_365_000_000],
        [1_772_366_400_000, 1_772_365_000_000],
        {0: Extra(more=[1_772_366_400_000]), 1: Extra(Flag.LATE, 1_772_366_400_000, 1_772_370_000_000)},
        {1: News(b'{"alertname":"latency"}', b"{}", 2.5, Origin.ALERTMANAGER)},
    )


GOLDEN = bytes.fromhex(
    "9d0100a57261772f33cf0000019ca9450a00b030313233343536373839616263646566c420000102030405060708090a0b0c"
    "0d0e0f101112131415161718191a1b1c1d1e1fc4020003c4080500000001000000c41078f644a99c01000040ad2fa99c0100"
    "00c408881300000000000082009400c0c091cf0000019ca9450a00019401cf0000019ca9450a00cf0000019ca97bf8809081"
    "0194c4177b22616c6572746e616d65223a226c6174656e6379227dc4027b7dcb4004000000000000ac616c6572746d616e61"
    "676572c400"
)


@given(frames())
def test_a_frame_survives_its_bytes(frame: Frame) -> None:
    assert decode_frame(encode_frame(frame)) == frame


@given(frames())
def test_equal_frames_give_equal_bytes_in_whatever_order_they_were_filled(frame: Frame) -> None:
    filled_backwards = msgspec.structs.replace(frame, extras=dict(reversed(frame.extras.items())), news=dict(reversed(frame.news.items())))
    assert encode_frame(filled_backwards) == encode_frame(frame)


def test_the_committed_bytes_of_format_one_are_written() -> None:
    assert encode_frame(a_frame()) == GOLDEN


def test_the_committed_bytes_of_format_one_are_read() -> None:
    assert decode_frame(GOLDEN) == a_frame()


def test_columns_are_little_endian() -> None:
    first = a_frame().firsts[0]
    assert first.to_bytes(8, "little") in GOLDEN


def rewritten(**changes: Any) -> bytes:  # noqa: ANN401
    """The golden frame with other elements, by their place on the wire."""
    wire = msgspec.msgpack.decode(GOLDEN, strict=False)
    places = {"version": 0, "kind": 1, "fingerprints": 5, "statuses": 6, "counts": 7, "firsts": 8, "spans": 9, "extras": 10, "news": 11}
    for name, value in changes.items():
        wire[places[name]] = value
    return msgspec.msgpack.encode(wire)


@pytest.mark.parametrize("version", [FRAME_VERSION + 1, 127, 128, 70_000])
def test_a_newer_format_stops_the_reader(version: int) -> None:
    with pytest.raises(
        NewerVersionError, match=f"a frame of format {version} needs a newer correlator; this one reads up to {FRAME_VERSION}"
    ):
        decode_frame(rewritten(version=version))


def test_a_newer_format_of_another_shape_stops_the_reader_too() -> None:
    with pytest.raises(NewerVersionError):
        decode_frame(msgspec.msgpack.encode([FRAME_VERSION + 1, {"all": "new"}]))
    with pytest.raises(NewerVersionError):
        decode_frame(msgspec.msgpack.encode([FRAME_VERSION + 1, *range(40)]))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"garbage",
        GOLDEN[:-1],
        GOLDEN + b"\0",
        rewritten(version=0),
        rewritten(version=-1),
        rewritten(kind=9),
        rewritten(fingerprints=b"short"),
        rewritten(statuses=b""),
        rewritten(counts=b"\0\0\0"),
        rewritten(firsts=bytes(8)),
        rewritten(spans=bytes(12)),
        rewritten(extras={2: [0, None, None, []]}),
        rewritten(extras={-1: [0, None, None, []]}),
        rewritten(news={7: [b"{}"]}),
        b"\x91" * 100_000,
    ],
)
def test_what_is_no_frame_is_told_so(body: bytes) -> None:
    with pytest.raises(FrameError, match="not a frame"):
        decode_frame(body)


@given(
    st.binary(max_size=80)
    | st.tuples(st.integers(0, len(GOLDEN)), st.binary(max_size=4)).map(lambda cut: GOLDEN[: cut[0]] + cut[1] + GOLDEN[cut[0] + 1 :])
)
def test_any_bytes_are_a_frame_or_one_of_two_errors(body: bytes) -> None:
    try:
        frame = decode_frame(body)
    except (FrameError, NewerVersionError):
        return
    assert len(frame.fingerprints) == len(frame.statuses) == len(frame.counts) == len(frame.firsts) == len(frame.lasts)


def test_a_frame_knows_how_many_items_its_rows_stand_for() -> None:
    assert a_frame().items == 6


def test_control_survives_its_frame() -> None:
    rules = RuleSet(alerts=(AlertRule("slow", match=(Matcher("alertname", MatchOperator.MATCHES, "slow.*"),), hold=5, expiry=7),))
    topology = Topology(
        (Node("a", NodeKind.SERVICE, tier=1), Node("b", NodeKind.HOST)), (Edge("a", "b", EdgeKind.RUNS_ON, 3),), ("cluster",)
    )
    control = Control(rules, topology)
    frame = decode_frame(encode_frame(control_frame(control)))
    assert frame.kind is FrameKind.CONTROL
    assert read_control(frame.control) == control
    assert frame.digest == control.digest == read_control(frame.control).digest


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x01", b"\x82\xa5rules\x80\xa8topology\x01", b"\xa1\xff"])
def test_a_control_payload_that_is_none_is_told_so(body: bytes) -> None:
    with pytest.raises(FrameError, match="not a control payload"):
        read_control(body)
