"""Explanations as text for the person who was woken: the answer first, then the order of events with reasons."""

from collections.abc import Iterator
from itertools import chain
from textwrap import wrap
from typing import Final

import msgspec

from correlator.cli.plural import counted
from correlator.explain.case import clock_of
from correlator.explain.steps import ENDS, ENTRIES
from correlator.model.explanation import AlertTold, IncidentTold, Step
from correlator.model.incident import IncidentState

WIDTH: Final = 118
ROWS_FIRST, ROWS_LAST = 40, 20
_WHAT_WIDEST: Final = 44
_CAME_IN: Final = "came in"


class _Row(msgspec.Struct):
    """Steps that are told as one: the first of them, how many, how many alerts, and when the last was."""

    step: Step
    alerts: dict[str | None, None]
    last: str


def incident_told(told: IncidentTold, *, is_brief: bool = False) -> str:
    """Write an incident's explanation; a brief one leaves out the order of events."""
    withdrawn = told.state is IncidentState.WITHDRAWN  # and so nothing that its title could tell
    lines = [
        f"Incident {told.id}" if withdrawn else told.title,
        f"{told.state} · {told.priority} · {told.owner or 'owner unknown'} · {told.id}",
        "",
    ]
    lines += chain.from_iterable(map(_paragraph, told.answer))
    if not is_brief:
        lines += ["", *_order(told.steps, told.left_out, day=told.opened)]
    return "\n".join(lines) + "\n"


def alert_told(told: AlertTold, *, is_brief: bool = False) -> str:
    """Write an alert's explanation; a brief one leaves out the order of events."""
    labels = " ".join([f"{name}={value}" for name, value in told.labels.items()])
    lines = [told.alert, f"fingerprint {told.fingerprint}"]
    if not is_brief:
        lines += wrap(labels, WIDTH, break_on_hyphens=False)
    lines += ["", *chain.from_iterable(map(_paragraph, told.answer))]
    if not is_brief and told.steps:
        lines += ["", *_order(told.steps, told.left_out, day=told.starts_at)]
    return "\n".join(lines) + "\n"


def _paragraph(sentence: str) -> list[str]:
    return wrap(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


# The order of events


def _order(steps: list[Step], left_out: int, *, day: str) -> Iterator[str]:
    yield f"What happened, in order (UTC, {day[:10]})"
    rows = _rows(steps)
    if not rows:
        yield "  no decisions are kept of it; a replay writes them with --decisions"
    widest = max([min(len(_what(row)), _WHAT_WIDEST) for row in rows], default=0)
    told = [list(_row(row, day, widest)) for row in rows]
    hidden = len(told) - ROWS_FIRST - ROWS_LAST
    shown = told if hidden <= 0 else [*told[:ROWS_FIRST], [f"  … {hidden} more; --json has all …"], *told[-ROWS_LAST:]]
    yield from chain.from_iterable(shown)
    if left_out:
        yield f"  … and {left_out} later ones that are not listed"


def _rows(steps: list[Step]) -> list[_Row]:
    """Fold steps that say the same: alerts of one place that came in, and ends, from one move of the incident to the next."""
    rows, moves = dict[tuple[object, ...], _Row](), 0
    for step in steps:
        moves += step.fingerprint is None
        key = (moves, *_kind(step))
        row = rows.pop(key, None) if step.why in ENDS else rows.get(key)  # ends stand where the last of them is
        row = rows[key] = row if row is not None else _Row(step, {}, step.at)
        row.alerts[step.fingerprint] = None
        row.last = step.at
    return list(rows.values())


def _kind(step: Step) -> tuple[object, ...]:
    if step.fingerprint is None or step.why in ENDS:
        return (step.why, step.rule)
    place = step.entity or (step.alert or "").rpartition(" at ")[2]
    return (_CAME_IN if step.why in ENTRIES[:2] else step.why, step.incident, place, step.rule)


def _row(row: _Row, day: str, widest: int) -> Iterator[str]:
    is_end = row.step.why in ENDS
    what, start = _what(row), _clock(row.last if is_end else row.step.at, day)
    indent = 2 + len(start) + 2
    head = f"  {start}  {what.ljust(widest)}  "
    span = f" (the first at {_clock(row.step.at, day)})" if is_end else f" (the last at {_clock(row.last, day)})"
    because = row.step.because + (span if row.last != row.step.at else "")
    if len(what) > widest:
        yield f"  {start}  {what}"
        head = " " * (indent + widest + 2)
    yield from wrap(
        because,
        WIDTH + 20,
        initial_indent=head,
        subsequent_indent=" " * (indent + widest + 2),
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _what(row: _Row) -> str:
    if row.step.fingerprint is None:
        return "the incident"
    if row.step.why in ENDS and len(row.alerts) > 1:
        return counted(len(row.alerts), "alert")
    more = len(row.alerts) - 1
    return (row.step.alert or "") + (f", {more} more there" if more else "")


def _clock(time: str, day: str) -> str:
    """Write the time of day, with the day where that is another."""
    return clock_of(time).rstrip("Z") if time[:10] == day[:10] else f"{time[:10]} {clock_of(time).rstrip('Z')}"
