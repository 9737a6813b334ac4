"""Frames to bytes and back: MessagePack around little-endian columns, the format version first; version N reads N-1."""

import sys
from array import array
from struct import iter_unpack
from typing import Final

import msgspec

from correlator.frames.frame import Extra, Frame, FrameKind, News
from correlator.model.alert import FINGERPRINT_BYTES

FRAME_VERSION: Final = 1
_IS_LITTLE: Final = sys.byteorder == "little"


class NewerVersionError(Exception):
    """A frame or row was written by a newer correlator than this one; this worker must stop and be upgraded."""


class FrameError(Exception):
    """Bytes on the internal log are no frame."""


class _Wire(msgspec.Struct, array_like=True):
    version: int
    kind: FrameKind
    source: str
    watermark: int
    digest: str
    fingerprints: bytes
    statuses: bytes
    counts: bytes
    firsts: bytes
    spans: bytes
    extras: dict[int, Extra]
    news: dict[int, News]
    control: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)


def encode_frame(frame: Frame) -> bytes:
    """Write a frame as bytes; equal frames give equal bytes."""
    return _ENCODER.encode(
        _Wire(
            FRAME_VERSION,
            frame.kind,
            frame.source,
            frame.watermark,
            frame.digest,
            b"".join(frame.fingerprints),
            bytes(frame.statuses),
            _column("I", frame.counts),
            _column("q", frame.firsts),
            _column("I", [last - first for first, last in zip(frame.firsts, frame.lasts, strict=True)]),
            frame.extras,
            frame.news,
            frame.control,
        )
    )


def decode_frame(body: bytes) -> Frame:
    """Read a frame. Raises `NewerVersionError` for a later format and `FrameError` for bytes that are no frame."""
    check_version(body)
    try:
        wire = _DECODER.decode(body)
    except msgspec.DecodeError as error:
        message = f"not a frame: {error}"
        raise FrameError(message) from error
    firsts = _values("q", wire.firsts)
    return Frame(
        kind=wire.kind,
        source=wire.source,
        watermark=wire.watermark,
        digest=wire.digest,
        fingerprints=[fingerprint for (fingerprint,) in iter_unpack(f"{FINGERPRINT_BYTES}s", wire.fingerprints)],
        statuses=list(wire.statuses),
        counts=_values("I", wire.counts),
        firsts=firsts,
        lasts=[first + span for first, span in zip(firsts, _values("I", wire.spans), strict=True)],
        extras=wire.extras,
        news=wire.news,
        control=wire.control,
    )


def check_version(body: bytes) -> None:
    """Raise `NewerVersionError` when the array's first element is a version above ours; other faults are left to the decoder."""
    if len(body) > 1 and FRAME_VERSION < body[1] < 0x80:  # noqa: PLR2004 - MessagePack: small positive integers are themselves
        message = f"a frame of format {body[1]} needs a newer correlator; this one reads up to {FRAME_VERSION}"
        raise NewerVersionError(message)


def _column(code: str, values: list[int]) -> bytes:
    column = array(code, values)
    if not _IS_LITTLE:
        column.byteswap()
    return column.tobytes()


def _values(code: str, column: bytes) -> list[int]:
    values = array(code)
    values.frombytes(column)
    if not _IS_LITTLE:
        values.byteswap()
    return values.tolist()
