"""The cycle collector, tuned for a process that keeps millions of small objects and makes hardly any cycles.

By default CPython walks all objects again and again as they grow in number; with a million alerts that is most of the work of a batch.
What exists at the start never dies, and what comes later is freed by reference counts, so rare walks lose nothing.
"""

import gc
from typing import Final

YOUNG: Final = 200_000
"""Objects made, less those freed, before the youngest are walked (CPython's own: 700)."""
MIDDLE: Final = 50
OLD: Final = 1_000


def settle_collector() -> None:
    """Leave out what exists now, and walk the rest rarely. Called once, when the program is loaded and before its work."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
