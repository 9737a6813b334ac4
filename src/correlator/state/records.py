"""What correlate remembers: alerts, turns that wait to be judged, incidents; each one row of state."""

from typing import Final

import msgspec

from correlator.model.alert import AlertState, Status
from correlator.model.event import Origin
from correlator.model.incident import IncidentState, Why
from correlator.model.instant import Duration, Instant
from correlator.model.version import NewerVersionError
from correlator.state.looks import Names, annotations_in, labels_in, pack_looks, shared_names
from correlator.state.wheel import ASLEEP

Row = tuple[bytes, bytes | None]
"""A key and its packed value; None deletes the key."""

ALERT_PREFIX: Final = b"a"
INCIDENT_PREFIX: Final = b"i"
MACHINE_KEY: Final = b"m"
TURN_PREFIX: Final = b"t"


class Alert(msgspec.Struct, gc=False):
    """One alert. `names` and `looks` are its labels and annotations, packed (see `state.looks`).

    `last_seen` is the newest firing statement known; `recent` holds the other ones later than the machine's position, and `before` the
    newest that is not, so that a resolve which comes out of order can split the stretch exactly. `until` is the end that the newest
    statement gave, 0 for none: an explicit one, or, where it was late, its expiry counted from its arrival; while it is set no time
    after the position is known.
    `denied` is the newest resolved statement since the stretch ended, `sighted` the newest instant at which any statement was judged.
    `former` are other incidents that were not over when the alert went on to its present one.
    `is_steady` says that a firing statement changes nothing but `last_seen` and `count`.
    """

    fingerprint: bytes
    names: Names
    looks: bytes
    value: float | None
    expiry: Duration
    origin: Origin
    state: AlertState = AlertState.RESOLVED
    started: Instant = 0
    ended: Instant = 0
    last_seen: Instant = 0
    before: Instant = 0
    until: Instant = 0
    count: int = 0
    recent: tuple[Instant, ...] = ()
    incident: str | None = None
    reason: Why | None = Why.NEVER_FIRED
    entity: str | None = None
    hold: Duration = 0
    keep: Duration = 0
    guess: str | None = None
    waiting: int = 0
    wake: int = ASLEEP
    is_steady: bool = False
    is_changed: bool = False
    denied: Instant = 0
    sighted: Instant = 0
    former: tuple[str, ...] = ()

    @property
    def key(self) -> bytes:
        """The key that orders timers."""
        return self.fingerprint

    @property
    def labels(self) -> dict[str, str]:
        """The labels, as received."""
        return labels_in(self.names, self.looks)

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the statement that started the stretch."""
        return annotations_in(self.names, self.looks)

    def newest_until(self, instant: Instant) -> Instant:
        """Answer the newest firing time known that is not later than an instant."""
        if self.last_seen <= instant:
            return self.last_seen
        return max([at for at in self.recent if at <= instant], default=self.before)

    def hear(self, ats: list[Instant], position: Instant) -> None:
        """Note firing times of a firing alert, keeping those that a resolve might still fall between."""
        if ats[-1] <= position and not self.recent and self.last_seen <= ats[0] and (len(ats) == 1 or ats == sorted(ats)):
            if ats[-1] > self.last_seen:
                self.before = max(self.before, self.last_seen if len(ats) == 1 else ats[-2])
                self.last_seen = ats[-1]
            return
        known = sorted({*self.recent, *ats, self.last_seen})
        self.last_seen = known.pop()
        older = [at for at in known if at <= position]
        if older:
            self.before = max(self.before, older[-1])
        self.recent = tuple(known[len(older) :])

    def look(self, labels: dict[str, str], annotations: dict[str, str]) -> None:
        """Change labels and annotations."""
        self.names, self.looks = pack_looks(labels, annotations)


class AlertRow(msgspec.Struct, array_like=True, gc=False):
    """An alert as it is stored: all that is not derived."""

    version: int
    names: Names
    looks: bytes
    value: float | None
    expiry: Duration
    origin: Origin
    state: AlertState
    started: Instant
    ended: Instant
    last_seen: Instant
    before: Instant
    until: Instant
    count: int
    recent: tuple[Instant, ...]
    incident: str | None
    reason: Why | None
    entity: str | None
    hold: Duration
    keep: Duration
    guess: str | None
    denied: Instant
    sighted: Instant
    former: tuple[str, ...]


class _Looks1(msgspec.Struct, array_like=True, gc=False):
    """Where a row of version 1 differs: labels and annotations stood in it as two maps."""

    version: int
    labels: dict[str, str]
    annotations: dict[str, str]


class _Versioned(msgspec.Struct, array_like=True, gc=False):
    """The first element of any row."""

    version: int


class Turn(msgspec.Struct, array_like=True, gc=False):
    """A run that may change its alert, waiting to be judged in the order of (effect, at, fingerprint, status, order).

    `order` counts queued turns.
    """

    effect: Instant
    at: Instant
    fingerprint: bytes
    status: int
    count: int
    more: list[Instant] = []
    flags: int = 0
    expires: Instant | None = None
    annotations: bytes | None = None
    value: float | None = None
    order: int = 0
    labels: bytes | None = None


def split_turn(turn: Turn) -> list[Turn]:
    """Answer a run as turns: one for firing items; one per time for resolved ones, since each may end another stretch.

    And one per time where firing items bring labels outside the identity: what others say between two of them may change these.
    """
    if not turn.more or (turn.status == Status.FIRING and turn.labels is None):
        return [turn]
    rest = [msgspec.structs.replace(turn, effect=at, at=at, count=1, more=[]) for at in turn.more]
    return [msgspec.structs.replace(turn, count=turn.count - len(rest), more=[]), *rest]


class Hit(msgspec.Struct, array_like=True):
    """An entity as an incident shows it: its first alert, how many, and when it last had a new one."""

    entity: str
    onset: Instant
    last: Instant
    condition: str
    fingerprint: bytes
    alerts: int = 1


class Gone(msgspec.Struct, array_like=True, gc=False):
    """What an incident keeps of a member that is forgotten, or fires anew elsewhere, while the incident's document may still be written."""

    labels: dict[str, str]
    entity: str | None
    started: Instant
    ended: Instant


_LIVE_STATES: Final = (IncidentState.PENDING, IncidentState.OPEN, IncidentState.REOPENED)


class Incident(msgspec.Struct, array_like=True):
    """One incident. `hits` are its entities by name, in order of joining; `guesses` the alerts listed before they were judged.

    `members` are its alerts in order of joining (`has_lost`: some are forgotten, and may come back as strangers); those beyond a limit
    are only counted, as `unlisted`. `worst_members` are the first ones of its worst severity. `last_new` bounds its joining window.
    `due` is when it is woken: to settle, to close, or to be forgotten.
    """

    id: str
    scope: tuple[str, ...]
    state: IncidentState = IncidentState.PENDING
    opened: Instant = 0
    updated: Instant = 0
    last_new: Instant = 0
    due: Instant = 0
    revision: int = 0
    firing: int = 0
    was_open: bool = False
    worst: int = 0
    members: list[bytes] = []
    has_lost: bool = False
    hits: dict[str, Hit] = {}
    guesses: dict[bytes, Instant] = {}
    why: list[Why] = []
    unlisted: int = 0
    gone: dict[bytes, Gone] = {}
    worst_members: list[bytes] = []

    @property
    def seniority(self) -> tuple[Instant, bytes]:
        """When it began and its first member: the smaller is the older incident. Ids may come from a guess, which must decide nothing."""
        return self.opened, self.members[0] if self.members else b""

    @property
    def is_live(self) -> bool:
        """Answer whether alerts may still join it without reopening it."""
        return self.state in _LIVE_STATES


ROW_VERSION: Final = 2
"""Version 2 holds the looks of alerts as they lie in memory; nothing else differs from version 1."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_ALERT: Final = msgspec.msgpack.Decoder(AlertRow)
_ALERT_PARTS: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])
_LOOKS_1: Final = msgspec.msgpack.Decoder(_Looks1)
_INCIDENT: Final = msgspec.msgpack.Decoder(tuple[int, Incident])
_TURN: Final = msgspec.msgpack.Decoder(tuple[int, Turn])
_VERSION: Final = msgspec.msgpack.Decoder(_Versioned)


def check_row_version(value: bytes) -> int:
    """Answer the version of a row of any kind, its first element. Raises `NewerVersionError` when a newer correlator wrote it."""
    version = _VERSION.decode(value).version
    if version > ROW_VERSION:
        message = f"a row of format {version} needs a newer correlator; this one reads up to {ROW_VERSION}"
        raise NewerVersionError(message)
    return version


def pack_alert(alert: Alert) -> Row:
    """Answer an alert's row."""
    row = AlertRow(
        ROW_VERSION,
        alert.names,
        alert.looks,
        alert.value,
        alert.expiry,
        alert.origin,
        alert.state,
        alert.started,
        alert.ended,
        alert.last_seen,
        alert.before,
        alert.until,
        alert.count,
        alert.recent,
        alert.incident,
        alert.reason,
        alert.entity,
        alert.hold,
        alert.keep,
        alert.guess,
        alert.denied,
        alert.sighted,
        alert.former,
    )
    return ALERT_PREFIX + alert.fingerprint, _ENCODE(row)


def unpack_alert(key: bytes, value: bytes) -> Alert:
    """Read an alert's row; what is derived (waiting, steadiness, timers) is left to the stage that owns it.

    Raises `NewerVersionError`.
    """
    row = _ALERT.decode(value if check_row_version(value) > 1 else _upgraded(value))
    return Alert(
        key[1:],
        shared_names(*row.names),
        row.looks,
        row.value,
        row.expiry,
        row.origin,
        row.state,
        row.started,
        row.ended,
        row.last_seen,
        row.before,
        row.until,
        row.count,
        row.recent,
        row.incident,
        row.reason,
        row.entity,
        row.hold,
        row.keep,
        row.guess,
        denied=row.denied,
        sighted=row.sighted,
        former=row.former,
    )


def _upgraded(value: bytes) -> bytes:
    """Write an alert's row of version 1 as one of this version."""
    looks, parts = _LOOKS_1.decode(value), _ALERT_PARTS.decode(value)
    names, values = pack_looks(looks.labels, looks.annotations)
    return _ENCODE([ROW_VERSION, names, values, *parts[3:]])


def pack_incident(incident: Incident) -> Row:
    """Answer an incident's row."""
    return INCIDENT_PREFIX + incident.id.encode(), _ENCODE((ROW_VERSION, incident))


def unpack_incident(value: bytes) -> Incident:
    """Read an incident's row. Raises `NewerVersionError`."""
    check_row_version(value)
    return _INCIDENT.decode(value)[1]


def turn_key(turn: Turn) -> bytes:
    """Answer the key of a waiting turn's row: its number, since two turns may be equal in all else."""
    return TURN_PREFIX + turn.order.to_bytes(8, "big")


def pack_turn(turn: Turn) -> Row:
    """Answer a waiting turn's row."""
    return turn_key(turn), _ENCODE((ROW_VERSION, turn))


def unpack_turn(value: bytes) -> Turn:
    """Read a waiting turn's row. Raises `NewerVersionError`."""
    check_row_version(value)
    return _TURN.decode(value)[1]
