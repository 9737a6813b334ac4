"""Progress of long work: a bar with rate on a terminal, a line now and then elsewhere, always on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

EVERY_S: Final = 5.0


@contextmanager
def progress(title: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many bytes of `total_bytes` are done; yields what to call with each number of bytes read."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total_bytes).advance
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda read: bar.advance(task, read)


class _Lines:
    """Progress where there is no terminal."""

    def __init__(self, title: str, total_bytes: int | None) -> None:
        self._title = title
        self._total = total_bytes
        self._read = 0
        self._start = self._said = time.monotonic()
        self._console = Console(stderr=True, highlight=False)

    def advance(self, read: int) -> None:
        self._read += read
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            share = f" ({100 * self._read / self._total:.0f} %)" if self._total else ""
            rate = self._read / (now - self._start) / 1e6
            self._console.print(f"{self._title}: {self._read / 1e6:.0f} MB{share}, {rate:.1f} MB/s")
