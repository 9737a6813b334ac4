"""Fatal errors: what no other attempt will overcome, told so that a person knows what to do."""

from typing import Final

from correlator.frames.frame import FrameError
from correlator.model.version import NewerVersionError
from correlator.runtime.ports import OffsetOutOfRange

_ADVICE: Final[dict[type[Exception], str]] = {
    NewerVersionError: "start that version again: nothing was written by this one",
    FrameError: "what the service itself wrote is damaged: restore a copy of the log, or start anew under another `prefix`",
    OffsetOutOfRange: "these records are gone, or this is another log: restore a copy of the log, or start anew under another `prefix`",
}
_ADVICE_ON_FAULTS: Final = (
    "this is a fault of the program, which it would meet again: nothing of it was written; report it with the lines above, keep a copy of "
    "the log, and go back to the version before if there was one"
)


class StoppedError(Exception):
    """The worker cannot go on, and another attempt would end the same; the text says where, why and what to do."""


def stopped(name: str, place: str, error: Exception) -> StoppedError:
    """Tell which task stopped where in the log, why, and what to do."""
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), None)
    told = error if advice is not None else f"{type(error).__name__}: {error}"
    return StoppedError(f"{name} stopped at {place}: {told}; {advice or _ADVICE_ON_FAULTS}")
