"""Faults: what can go wrong at each call of the port, and the plan of a run that lets it."""

from collections import Counter
from random import Random
from typing import Final, NamedTuple

CRASH_BEFORE: Final = "crash before"
CRASH_AFTER: Final = "crash after"
LOST_REQUEST: Final = "lost request"
LOST_REPLY: Final = "lost reply"
CANCELLED: Final = "cancelled"
FENCED: Final = "fenced"
SLOW: Final = "nothing came"
REDELIVERED: Final = "redelivered"
REORDERED: Final = "reordered"
KINDS: Final = (CRASH_BEFORE, CRASH_AFTER, LOST_REQUEST, LOST_REPLY, CANCELLED, FENCED, SLOW, REDELIVERED, REORDERED)
"""The process dies around a call; the call or its answer gets lost; the task is stopped there; a rival takes over there;
a poll is given nothing though records wait."""

_TASK_CALLS: Final = ("start", "committed", "bounds", "poll", "begin", "send", "send_offsets", "commit", "close")
_CALLS: Final = {
    "intake": _TASK_CALLS,
    "correlate": _TASK_CALLS,
    "control": ("bounds", "poll", "start", "begin", "send", "commit", "close"),
    "publisher": ("start", "begin", "send", "commit", "abort", "close"),
}
AT_START: Final = ("start", "committed", "bounds", "close")
"""Calls that a task makes only when it begins or ends: it is made anew so that they happen."""


class Cell(NamedTuple):
    """One fault at one call of one stage. `call` is `delivery` for what a publisher may do to its input."""

    stage: str
    call: str
    kind: str


def _cells() -> list[Cell]:
    """List what can happen. Closing promises no errors; nobody takes a publisher's place, and it has nothing to be stopped for."""
    cells = [Cell("publisher", "delivery", REDELIVERED), Cell("publisher", "delivery", REORDERED)]
    for stage, calls in _CALLS.items():
        kinds = KINDS[:4] if stage == "publisher" else KINDS[:6]
        for call in calls:
            cells += [Cell(stage, call, kind) for kind in kinds if call != "close" or kind not in (LOST_REQUEST, LOST_REPLY)]
    return cells + [Cell(stage, "poll", SLOW) for stage, calls in _CALLS.items() if "poll" in calls]


CELLS: Final = _cells()
_AT_FIRST: Final = [cell for cell in CELLS if cell.stage == "control"]
"""What can happen while rules are put in force, once a run."""
ONLY_ONCE: Final = ("begin", "send", "commit")
"""Calls that are not made any more when they are."""
_LATER: Final = [cell for cell in CELLS if cell.stage != "control"]
Counts = Counter[Cell]


def a_plan(seed: int) -> list[Cell]:
    """Answer the faults of a run, in order; consecutive seeds go through all cells evenly."""
    once = _turns([cell for cell in _AT_FIRST if cell.call in ONLY_ONCE], seed, each=4)
    often = _turns([cell for cell in _AT_FIRST if cell.call not in ONLY_ONCE], seed, each=3)
    return sorted(once, key=_ends_it) + often + _turns(_LATER, seed, each=20)


def _ends_it(cell: Cell) -> bool:
    """Answer whether the rules are in force after this fault."""
    return cell.kind == FENCED or (cell.call, cell.kind) in (("commit", CRASH_AFTER), ("commit", LOST_REPLY))


def _turns(cells: list[Cell], seed: int, *, each: int) -> list[Cell]:
    place = seed * each
    order = Random(place // len(cells)).sample(cells, len(cells)) + Random(place // len(cells) + 1).sample(cells, len(cells))
    return order[place % len(cells) :][:each]


def parse_plan(text: str) -> list[Cell]:
    """Read a plan as it is printed: `stage.call.kind` in order, separated by commas; tildes stand for blanks. Raises ValueError."""
    cells = [Cell(*part.split(".")) for part in text.replace("~", " ").split(",") if part]
    unknown = [cell for cell in cells if cell not in CELLS]
    if unknown:
        raise ValueError(f"no such fault: {unknown[0]}")
    return cells


def written(plan: list[Cell]) -> str:
    """Write a plan so that a command line can take it."""
    return ",".join([".".join(cell) for cell in plan]).replace(" ", "~")


def table(counts: Counts) -> str:
    """Draw how often each fault happened at each call; a dot where it cannot."""
    width = max(len(kind) for kind in KINDS) + 2
    lines = [f"{'':24}" + "".join([f"{kind:>{width}}" for kind in KINDS])]
    for stage, call in dict.fromkeys([(cell.stage, cell.call) for cell in CELLS]):
        columns = [str(counts[Cell(stage, call, kind)]) if Cell(stage, call, kind) in CELLS else "." for kind in KINDS]
        lines.append(f"{stage + ' ' + call:24}" + "".join([f"{column:>{width}}" for column in columns]))
    return "\n".join(lines)
