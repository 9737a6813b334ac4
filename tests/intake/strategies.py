"""Streams of records as hypothesis draws them: mostly good native events close in time, with everything odd among them."""

from typing import Any

from hypothesis import strategies as st

from correlator.model.calendar import format_rfc3339

from tests.intake.builders import NOON, an_alert, an_event, record

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

NAMES = st.sampled_from(["checkout/latency", "checkout/errors", "cart/latency", "payments/down", "nobody/latency"])
STEPS = st.sampled_from([0, 0, 1, 500, 2 * SECOND, 9 * SECOND, 11 * SECOND, -SECOND, -9 * SECOND, -11 * SECOND, 4 * MINUTE, -6 * MINUTE])
LEAPS = st.sampled_from([6 * MINUTE, -16 * MINUTE, -2 * HOUR, -25 * HOUR, 30 * MINUTE, 61 * MINUTE, 8 * HOUR, -NOON, 73 * 365 * DAY])
ODD_KEYS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {},
        {"annotations": {"summary": "high", "note": 'a "b"\n\\ c'}},
        {"annotations": {"summary": "größer als 2 s …"}},
        {"annotations": {"n\0": "x"}},
        {"annotations": {"a": 1}},
        {"annotations": None},
        {"value": 3},
        {"value": -2.5e30},
        {"value": 2**63},
        {"value": 2**64},
        {"value": True},
        {"id": "one"},
        {"source": "a", "generatorURL": "http://x"},
        {"source": 7},
        {"id": "one", "source": "a"},
        {"id": "two", "startsAt": "2026-03-01T12:00:00Z"},
        {"id": 1},
        {"startsAt": NOON},
        {"startsAt": NOON + DAY, "endsAt": NOON + DAY},
        {"startsAt": "2026-03-01T12:00:10.5Z"},
        {"startsAt": "2026-03-01T12:00:10+01:00"},
        {"startsAt": "0001-01-01T00:00:00Z", "endsAt": ""},
        {"startsAt": NOON // 1000},
        {"startsAt": "noon"},
        {"endsAt": NOON - SECOND},
        {"endsAt": "noon"},
        {"receivedAt": "2026-03-01T12:00:02.123456Z"},
        {"receivedAt": ""},
        {"at": "2026-03-01T12:00:02.9999999Z", "id": "one"},
        {"at": ""},
        {"at": "0001-01-01T00:00:00Z"},
        {"endsAt": "0001-01-01T00:00:00Z"},
        {"at": "2026-03-01T12:00:01.5Z"},
        {"at": "2026-03-01T12:00:01"},
        {"at": None},
        {"at": NOON * 1000},
        {"at": NOON + 0.0},
        {"at": "noon"},
        {"at": 2**63},
        {"status": "burning"},
        {"labels": {}},
        {"labels": {"service": "cart"}},
        {"labels": {"alertname": "a\0"}},
        {"labels": {"alertname": "a", "pod": "ü"}},
        {"labels": {"alertname": "a", "pod": 'x"y'}},
        {"labels": {"alertname": "a", "pod": 5}},
        {"labels": {"service": "cart", "alertname": "latency"}},
        {"unknown": [1, {"a": None}]},
        {"receivedAt": NOON * 1000},
    ]
)
_TIMES = st.one_of(
    st.integers(-20 * SECOND, 20 * SECOND).map(lambda wander: NOON + wander),
    st.integers(-20 * SECOND, 20 * SECOND).map(lambda wander: format_rfc3339(NOON + wander)),
    st.sampled_from(["", "0001-01-01T00:00:00Z", None]),
)
MORE_KEYS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "startsAt": _TIMES,
        "endsAt": _TIMES,
        "id": st.sampled_from(["one", "two", "", None]),
        "source": st.sampled_from(["a", "b", None]),
    },
)
"""What publishers write beside the common keys; each is good in itself."""
RAW = st.sampled_from(
    [
        b"",
        b"{",
        b"[]",
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a\xff"}}',
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a"},"annotations":{"x":"\xc3("}}',
        b'{"at":1772366400000, "status":"firing", "labels": {"alertname" : "latency" , "service":"cart"} }',
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a\\u0000"}}',
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"\\u0061"}}',
        b'{"at":1772366400000,"at":1772366401000,"status":"firing","labels":{"alertname":"a","alertname":"b"}}',
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a"},"value":' + b"9" * 30 + b"}",
        b'{"at":1772366400000,"status":"firing","labels":{"alertname":"a"},"value":1e400}',
    ]
)


@st.composite
def streams(draw: st.DrawFn, *, is_recording: bool = True, most: int = 40) -> list[bytes]:
    """Records in log order. Their times wander by seconds, and leap now and then."""
    at, records = NOON, []
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.sampled_from(["plain"] * 6 + ["more"] * 3 + ["odd", "leap", "message", "list", "raw"]))
        status = draw(st.sampled_from(["firing", "firing", "firing", "resolved"]))
        at += abs(draw(STEPS)) // 4
        said = at + draw(STEPS) + (draw(LEAPS) if kind == "leap" else 0)
        arrived: dict[str, Any] = draw(st.sampled_from([{}, {"receivedAt": at}, {"receivedAt": said}])) if is_recording else {}
        if kind == "raw":
            records.append(draw(RAW))
        elif kind == "message":
            names = draw(st.lists(NAMES, min_size=1, max_size=3))
            times: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
                [{}, {"startsAt": said}, {"endsAt": said}, {"endsAt": said + DAY + 1}]
            )
            alerts = [an_alert(of=name, status=status, **draw(times)) for name in names]
            records.append(record({"alerts": alerts}))
        elif kind == "list":
            records.append(record([an_event(of=draw(NAMES), at=said, status=status, **arrived), {**an_event(at=at), **draw(ODD_KEYS)}]))
        else:
            odd = draw(MORE_KEYS) if kind == "more" else draw(ODD_KEYS) if kind == "odd" else {}
            time = format_rfc3339(said) if kind == "more" and draw(st.booleans()) else said
            records.append(record({**an_event(of=draw(NAMES), at=time, status=status, **arrived), **odd}))
    return records
