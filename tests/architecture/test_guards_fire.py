"""Every guard is fed what it must find and what it must let pass: a guard that cannot fire guards nothing."""

import pytest

from tests.architecture import guards


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import time as t",
        "from time import monotonic",
        "def f():\n    import datetime",
        "from zoneinfo import ZoneInfo",
        "import random",
        "from uuid import uuid4",
        "import importlib.util",
        "at = datetime.now()",
        "at = now()",
        "day = date.today()",
        "at = clock.time_ns()",
    ],
)
def test_a_clock_in_the_core_is_found(source: str) -> None:
    assert guards.clocks(source)


@pytest.mark.parametrize(
    "source", ["def on_time(now: int) -> None: ...", "timeout = rule.timeout", "from correlator.model import calendar", "due = now + 5"]
)
def test_time_as_an_argument_is_no_clock(source: str) -> None:
    assert not guards.clocks(source)


def test_the_calendar_may_import_dates() -> None:
    assert not guards.clocks("from datetime import datetime\nfrom zoneinfo import ZoneInfo", is_calendar=True)


@pytest.mark.parametrize("source", ["import time", "datetime.now(UTC)", "date.today()", "import random"])
def test_not_even_the_calendar_may_ask_for_today(source: str) -> None:
    assert guards.clocks(source, is_calendar=True)


@pytest.mark.parametrize(
    "source",
    ["open('rules.yaml')", "print(row)", "__import__('time')", "eval('1')", "key = hash(name)", "key = id(alert)", "async def step(): ..."],
)
def test_the_world_in_the_core_is_found(source: str) -> None:
    assert guards.world(source)


@pytest.mark.parametrize("source", ["span.open(at)", "incident.id", "def __hash__(self):\n    return hash(self.key)"])
def test_our_own_words_are_not_the_world(source: str) -> None:
    assert not guards.world(source)


def _function_of(lines: int) -> str:
    return "def f():\n" + "    x = 1\n" * (lines - 1)


def test_a_function_of_exactly_sixty_lines_passes() -> None:
    assert not guards.lengths(_function_of(60))


@pytest.mark.parametrize("prefix", ["", "async ", "class A:\n"])
def test_a_function_of_sixty_one_lines_is_found(prefix: str) -> None:
    source = _function_of(61)
    if prefix.startswith("class"):
        source = "".join(f"    {line}\n" for line in source.splitlines())
    assert guards.lengths(prefix + source)


def test_a_module_of_exactly_five_hundred_lines_passes() -> None:
    assert not guards.lengths("x = 1\n" * 500)


def test_a_module_of_five_hundred_and_one_lines_is_found() -> None:
    assert guards.lengths("x = 1\n" * 501)


@pytest.mark.parametrize(
    "clause",
    ["except:", "except Exception:", "except BaseException as error:", "except (ValueError, Exception):", "except builtins.Exception:"],
)
def test_a_blanket_catch_is_found(clause: str) -> None:
    assert guards.blanket_catches(f"try:\n    f()\n{clause}\n    pass")


def test_suppressing_everything_is_found() -> None:
    assert guards.blanket_catches("with contextlib.suppress(Exception):\n    f()")


@pytest.mark.parametrize("clause", ["except ValueError:", "except (KeyError, DecodeError):", "except* OSError:"])
def test_a_named_catch_passes(clause: str) -> None:
    assert not guards.blanket_catches(f"try:\n    f()\n{clause}\n    pass")


@pytest.mark.parametrize("source", ["time.sleep(1)", "async def test():\n    await asyncio.sleep(0)", "from time import sleep\nsleep(1)"])
def test_a_sleep_in_a_test_is_found(source: str) -> None:
    assert guards.sleeps(source)


def test_a_sleep_in_a_string_passes() -> None:
    assert not guards.sleeps("source = 'time.sleep(1)'")


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(rows): pass",
        "for x in frozenset(rows): pass",
        "y = [x for x in {row.key for row in rows}]",
        "y = {x: 1 for x in set(rows)}",
        "for x in old.keys() - new.keys(): pass",
        "for x in known.union(other): pass",
        "y = list(set(rows))",
        "y = ','.join({1, 2})",
        "for i, x in enumerate(set(rows)): pass",
        "y = [*set(rows)]",
        "seen = set()\nfor x in seen: pass",
        "def f(keys: frozenset[str]):\n    for x in keys: pass",
        "def f(keys: set[str]):\n    gone = keys - {1}\n    return tuple(gone)",
        "class A:\n    _dirty: set[str]\n    def rows(self):\n        for x in self._dirty: pass",
        "class A:\n    def __init__(self):\n        self._dirty = set()\n    def rows(self):\n        return [x for x in self._dirty]",
    ],
)
def test_an_iterated_set_is_found(source: str) -> None:
    assert guards.set_iterations(source)


@pytest.mark.parametrize(
    "source",
    [
        "for x in sorted({1, 2}): pass",
        "for x in (1, 2): pass",
        "y = {x + 1 for x in {1, 2}}",
        "n = len(set(rows))",
        "seen = set(rows)\nseen = sorted(seen)\nfor x in seen: pass",
        "def f():\n    seen = set()\ndef g(seen):\n    for x in seen: pass",
        "for x in dict.fromkeys(rows): pass",
    ],
)
def test_an_ordered_walk_passes(source: str) -> None:
    assert not guards.set_iterations(source)


@pytest.mark.parametrize("path", ["/wo" + "rk/main", "cd /ro" + "ot", "'/tm" + "p/brief/x'", "pip install --index" + "-url x"])
def test_a_machine_path_is_found(path: str) -> None:
    assert guards.machine_paths(path)


@pytest.mark.parametrize("path", ["/workers/3", "tests/work", "/root_causes/0", "the root/leaf", "/var/bench", "site-root/work"])
def test_an_ordinary_path_passes(path: str) -> None:
    assert not guards.machine_paths(path)


def test_a_finding_names_its_line() -> None:
    assert [str(finding) for finding in guards.clocks("x = 1\nimport time")] == ["2: imports time"]
