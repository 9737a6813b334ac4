"""`correlator demo` where there is no terminal: lines that say what they are, and a summary in the words of `replay`."""

import re
from pathlib import Path

from tests.cli.program import correlator

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_terminal_the_lines_have_a_heading_and_the_summary_is_not_broken() -> None:
    ended = correlator("demo", "--seconds", "0", cwd=ROOT)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "incidents of more than one alert, as they change; times are those of the events"
    assert lines[1].split() == ["updated", "id", "rev", "state", "P", "incident"]
    told = lines.index("")
    assert lines[told + 1] == "20,332 events: 229 new, 229 update, 19,874 repeat"
    assert re.fullmatch(r"\d+ incidents: 3 of the 3 faults, \d+ of noise; \d+ of one alert each", lines[told + 2])
