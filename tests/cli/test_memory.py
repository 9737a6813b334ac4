"""Memory does not grow with the input: a storm three times as large here, and one of 1 GB at night (HYPOTHESIS_PROFILE=night)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.plan import Settings
from loadtest.storm import write_storm
from tests.cli.program import peak_kib
from tests.profile import IS_NIGHT

EVENT_BYTES = 340
SMALL_BYTES, LARGE_BYTES = 20_000_000, 1_000_000_000 if IS_NIGHT else 60_000_000
GROWTH_KIB_MOST = 60 * 1024 if IS_NIGHT else 32 * 1024
"""Buffers and caches fill up to their limits; 40 MB more of an input that is kept in memory would take more than that."""
PARSE = (("parse", "-"),)
REPLAY = (("replay", "-", "--topology", "topology.yaml", "--out", "out"),)
SERVICE = (
    ("publish", "--embedded", "log", "-"),
    ("run", "--embedded", "log", "--listen", "off", "--topology", "topology.yaml", "--until-idle"),
)

pytestmark = pytest.mark.timeout(1_800 if IS_NIGHT else 120)


@pytest.fixture(scope="module")
def storms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two storms with the same faults and alerts, of few repeats and of many."""
    folders = tmp_path_factory.mktemp("small"), tmp_path_factory.mktemp("large")
    for folder, size in zip(folders, (SMALL_BYTES, LARGE_BYTES), strict=True):
        write_storm(Settings(events=size // EVENT_BYTES), folder)
    return folders


def growths(commands: tuple[tuple[str, ...], ...], storms: tuple[Path, Path]) -> Iterator[tuple[str, int]]:
    """Yield for each command, run one after the other, by how many KiB its peak grows from the small storm to the large one."""
    for arguments in commands:
        small, large = (peak_kib(*arguments, given=folder / "events.jsonl", cwd=folder) for folder in storms)
        yield arguments[0], large - small


@pytest.mark.parametrize("commands", [REPLAY, SERVICE, *[PARSE] * IS_NIGHT], ids=lambda commands: commands[-1][0])
def test_a_larger_input_needs_no_more_memory(storms: tuple[Path, Path], commands: tuple[tuple[str, ...], ...]) -> None:
    grown = dict(growths(commands, storms))
    assert max(grown.values()) < GROWTH_KIB_MOST, grown
