"""Rows of state: what is packed is what is unpacked, and a newer row stops the reader."""

import msgspec
import pytest

from correlator.model.alert import AlertState
from correlator.model.event import Flag, Origin
from correlator.model.incident import IncidentState, Why
from correlator.model.version import NewerVersionError
from correlator.state.looks import pack_looks
from correlator.state.records import (
    ROW_VERSION,
    Alert,
    Gone,
    Hit,
    Incident,
    Turn,
    pack_alert,
    pack_incident,
    pack_turn,
    turn_key,
    unpack_alert,
    unpack_incident,
    unpack_turn,
)

FINGERPRINT = bytes(range(16))


def an_alert() -> Alert:
    return Alert(
        FINGERPRINT,
        *pack_looks({"alertname": "a"}, {"summary": "it is slow"}),
        2.5,
        900_000,
        Origin.NATIVE,
        state=AlertState.FIRING,
        started=1,
        ended=2,
        last_seen=3,
        before=4,
        until=5,
        count=6,
        recent=(7, 8),
        incident="i",
        reason=Why.HELD,
        entity="checkout",
        hold=9,
        keep=10,
        guess="g",
        denied=11,
        sighted=12,
        former=("h",),
    )


def an_incident() -> Incident:
    hit = Hit("checkout", 1, 2, "latency", FINGERPRINT, 3)
    return Incident(
        "ab12",
        ("prod",),
        IncidentState.OPEN,
        1,
        2,
        members=[FINGERPRINT],
        hits={"checkout": hit},
        guesses={FINGERPRINT: 4},
        why=[Why.JOINED],
        unlisted=5,
        gone={FINGERPRINT: Gone({}, None, 1, 2)},
    )


def a_turn() -> Turn:
    return Turn(1, 2, FINGERPRINT, 0, 3, [4, 5], Flag.LATE, 6, b"{}", 7.5, 8)


def test_an_alert_survives_its_row() -> None:
    alert = an_alert()
    key, value = pack_alert(alert)
    assert value is not None
    assert unpack_alert(key, value) == alert
    assert alert.key == FINGERPRINT


def test_an_alert_is_read_from_a_row_of_the_version_before() -> None:
    key, value = pack_alert(an_alert())
    now = msgspec.msgpack.decode(value or b"")
    before = msgspec.msgpack.encode([1, {"alertname": "a"}, {"summary": "it is slow"}, *now[3:]])
    assert unpack_alert(key, before) == an_alert()


def test_alerts_of_one_kind_share_their_names_after_a_restore() -> None:
    one, other = (unpack_alert(*pack_alert(an_alert())) for _ in range(2))  # type: ignore[arg-type]
    assert one.names is other.names


def test_what_is_derived_is_not_stored() -> None:
    plain, busy = an_alert(), an_alert()
    busy.waiting, busy.wake, busy.is_steady, busy.is_changed = 3, 77, True, True
    assert pack_alert(plain) == pack_alert(busy)


def test_an_incident_survives_its_row() -> None:
    key, value = pack_incident(an_incident())
    assert value is not None
    assert (key, unpack_incident(value)) == (b"iab12", an_incident())


def test_a_turn_survives_its_row() -> None:
    key, value = pack_turn(a_turn())
    assert value is not None
    assert (key, unpack_turn(value)) == (turn_key(a_turn()), a_turn())


def test_rows_of_turns_lie_in_the_order_in_which_they_were_queued() -> None:
    keys = [turn_key(msgspec.structs.replace(a_turn(), order=order)) for order in (0, 1, 255, 256, 2**40)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("value", [msgspec.msgpack.encode([ROW_VERSION + 1, "other", "shape"]), msgspec.msgpack.encode([300])])
def test_a_newer_row_stops_the_reader(value: bytes) -> None:
    for unpack in (lambda row: unpack_alert(b"a" + FINGERPRINT, row), unpack_incident, unpack_turn):
        with pytest.raises(NewerVersionError, match="needs a newer correlator"):
            unpack(value)


@pytest.mark.parametrize(
    ("state", "is_live"),
    [
        (IncidentState.PENDING, True),
        (IncidentState.OPEN, True),
        (IncidentState.REOPENED, True),
        (IncidentState.RESOLVED, False),
        (IncidentState.CLOSED, False),
        (IncidentState.WITHDRAWN, False),
    ],
)
def test_only_an_unresolved_incident_is_live(state: IncidentState, is_live: bool) -> None:  # noqa: FBT001
    assert Incident("i", (), state).is_live is is_live
