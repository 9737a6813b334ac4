"""Intake behind records on which the program fails: each of them set aside, every other taken once."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.runtime.caution import ASIDE_MOST, Caution
from correlator.runtime.ports import Batch


class FaultError(Exception):
    """The program failed on a record."""


def judge(batch: Batch, bad: frozenset[int]) -> None:
    """Fail as the program does when one of these records is among the batch."""
    if bad.intersection(batch.offsets):
        raise FaultError


def attempt(caution: Caution, bad: frozenset[int], position: int, *, end: int, taken: list[int]) -> int:
    """Take batches as an intake task does until all is taken or one fails; answer the position that was committed."""
    while position < end:
        batch = Batch(list(range(position, min(position + caution.most(position), end))))
        if not (len(batch) == 1 and position in caution.aside):
            try:
                with caution.taking(batch):
                    judge(batch, bad)
            except FaultError:
                return position
            taken += batch.offsets
        position = batch.offsets[-1] + 1
    return position


@given(st.integers(1, 300), st.integers(1, 80), st.frozensets(st.integers(0, 299), max_size=12))
def test_every_bad_record_is_set_aside_and_every_good_one_taken_once(end: int, records: int, bad: frozenset[int]) -> None:
    caution, position, taken, lives = Caution(records), 0, list[int](), 0
    while (position := attempt(caution, bad, position, end=end, taken=taken)) < end:
        assert caution.blames("a fault")
        lives += 1
    there = sorted(offset for offset in bad if offset < end)
    assert sorted(caution.aside) == there
    assert taken == [offset for offset in range(end) if offset not in bad]
    assert lives <= len(there) * (records.bit_length() + 1)


def test_without_records_in_hand_no_input_is_blamed() -> None:
    caution = Caution(10)
    assert not caution.blames("a fault")
    with caution.taking(Batch([1, 2])):
        pass
    assert not caution.blames("a fault")


def test_when_nothing_but_faults_comes_it_is_the_program_that_is_broken() -> None:
    caution, position, taken = Caution(4), 0, list[int]()
    everything = frozenset(range(1_000))
    while (position := attempt(caution, everything, position, end=1_000, taken=taken)) < 1_000 and caution.blames("a fault"):
        pass
    assert position == ASIDE_MOST
    assert len(caution.aside) == ASIDE_MOST
