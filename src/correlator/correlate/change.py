"""Changes: what the lifecycle tells the other stages of an alert. A noun that stages share, no stage itself."""

import msgspec

from correlator.model.incident import Why
from correlator.model.instant import Instant
from correlator.model.word import Word
from correlator.state.records import Alert


class ChangeKind(Word):
    """What other stages must know of an alert."""

    BEGAN = "began"
    ENDED = "ended"
    NOTED = "noted"
    GONE = "gone"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One happening of one alert at one instant of the machine's position.

    `began` counts; `noted` only changes its document; `gone` brings a copy of what is forgotten. `former` is when the stretch before the
    one that starts here started, 0 when there was none; it ended at `alert.ended`.
    """

    kind: ChangeKind
    alert: Alert
    instant: Instant
    why: Why
    onset: Instant = 0
    former: Instant = 0
