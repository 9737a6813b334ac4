"""Batches put together."""

from correlator.runtime.ports import Batch
from correlator.runtime.segments import joined

FIRST = Batch([3, 4], [30, 40], [None, None], [b"a", b"b"])
SECOND = Batch([5], [50], [None], [b"c"])


def test_empty_batches_are_nothing_among_others() -> None:
    whole = joined([Batch(), FIRST, Batch(), SECOND, Batch()])
    assert (list(whole.offsets), list(whole.timestamps), list(whole.values)) == ([3, 4, 5], [30, 40, 50], [b"a", b"b", b"c"])
    assert joined([FIRST, Batch()]) is FIRST
    assert len(joined([Batch(), Batch()])) == 0
