"""Frames to bytes and back: MessagePack around little-endian columns, the format version first; version N reads N-1."""

import sys
from array import array
from struct import iter_unpack
from typing import Final

import msgspec

from correlator.frames.frame import Extra, Frame, FrameError, FrameKind, News
from correlator.model.alert import FINGERPRINT_BYTES
from correlator.model.version import NewerVersionError

__all__ = ["FRAME_VERSION", "FrameError", "NewerVersionError", "decode_frame", "encode_frame"]

FRAME_VERSION: Final = 1
_IS_LITTLE: Final = sys.byteorder == "little"


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


class _Version(msgspec.Struct, array_like=True):
    """The first element of any frame, whatever its format."""

    version: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Wire)
_VERSION: Final = msgspec.msgpack.Decoder(_Version)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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
            dict(sorted(frame.extras.items())),
            dict(sorted(frame.news.items())),
            frame.control,
        )
    )


def decode_frame(body: bytes) -> Frame:
    """Read a frame. Raises `NewerVersionError` for a later format and `FrameError` for bytes that are no frame."""
    wire = _decoded(body)
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


def _decoded(body: bytes) -> _Wire:
    """Read the wire form and check that its columns belong together."""
    try:
        wire = _DECODER.decode(body)
    except _UNREADABLE as error:
        _check_version(_version_of(body))
        message = f"not a frame: {error}"
        raise FrameError(message) from error
    _check_version(wire.version)
    rows = len(wire.statuses)
    widths = (len(wire.fingerprints), len(wire.counts), len(wire.firsts), len(wire.spans))
    if widths != (rows * FINGERPRINT_BYTES, rows * 4, rows * 8, rows * 4):
        message = f"not a frame: columns of {widths} bytes for {rows} rows"
        raise FrameError(message)
    if not all(0 <= row < rows for row in (*wire.extras, *wire.news)):
        message = f"not a frame: extras or news beyond its {rows} rows"
        raise FrameError(message)
    return wire


def _version_of(body: bytes) -> int:
    try:
        return _VERSION.decode(body).version
    except _UNREADABLE:
        return FRAME_VERSION


def _check_version(version: int) -> None:
    """Raise `NewerVersionError` above our version; there is none below the first yet."""
    if version > FRAME_VERSION:
        message = f"a frame of format {version} needs a newer correlator; this one reads up to {FRAME_VERSION}"
        raise NewerVersionError(message)
    if version < FRAME_VERSION:
        message = f"not a frame: format {version} never was"
        raise FrameError(message)


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
