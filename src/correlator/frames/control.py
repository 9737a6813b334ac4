"""Control frames: one rule set and topology, carried by the log so that every machine adopts them at one place."""

from typing import Final

import msgspec

from correlator.frames.frame import Frame, FrameError, FrameKind
from correlator.model.instant import Instant
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology
from correlator.model.version import NewerVersionError

CONTROL_VERSION: Final = 1


class Control(msgspec.Struct, frozen=True):
    """What a control frame carries."""

    rules: RuleSet
    topology: Topology
    version: int = CONTROL_VERSION

    @property
    def digest(self) -> str:
        """One name for both: what documents and frames call `rules_digest`."""
        return f"{self.rules.digest}-{self.topology.digest}"


class _Version(msgspec.Struct):
    version: int = CONTROL_VERSION


_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def control_frame(control: Control, *, source: str = "control", watermark: Instant = 0) -> Frame:
    """Wrap rules and topology for the log; such a frame moves no time."""
    return Frame(FrameKind.CONTROL, source, watermark, control.digest, control=msgspec.msgpack.encode(control))


def read_control(body: bytes) -> Control:
    """Unwrap the payload of a control frame. Raises `FrameError` for bytes that are none, `NewerVersionError` for a later format."""
    try:
        version = msgspec.msgpack.decode(body, type=_Version).version
        if version > CONTROL_VERSION:
            message = f"rules of format {version} need a newer correlator; this one reads up to {CONTROL_VERSION}"
            raise NewerVersionError(message)
        return msgspec.msgpack.decode(body, type=Control)
    except _UNREADABLE as error:
        message = f"not a control payload: {error}"
        raise FrameError(message) from error
