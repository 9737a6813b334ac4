"""Memory, tuned for a process that keeps millions of small objects, makes hardly any cycles, and passes blocks of MBs along batch by batch.

By default CPython walks all objects again and again as they grow in number; with a million alerts that is most of the work of a batch.
What exists at the start never dies, and what comes later is freed by reference counts, so rare walks lose nothing.

By default glibc gives large blocks back to the kernel as soon as they are freed, and each batch begins with fresh pages, cleared one by
one: a seventh of what publishing costs. Here they are kept, up to `_KEPT_BYTES`.
"""

import ctypes
import gc
from typing import Final

YOUNG: Final = 200_000
"""Objects made, less those freed, before the youngest are walked (CPython's own: 700)."""
MIDDLE: Final = 50
OLD: Final = 1_000
_KEPT_BYTES: Final = 16 * 1024 * 1024
_MAPPED_BYTES: Final = 8 * 1024 * 1024
"""Blocks from this size on are mapped one by one, and go back at once."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def settle_memory() -> None:
    """Tune collector and allocator. Called once, when the program is loaded and before its work; other C libraries stay as they are."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
