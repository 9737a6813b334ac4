"""Memory that batches pass along: its pages stay with the program, in a process of its own since nothing takes that back."""

import subprocess
import sys
from ctypes import CDLL

import pytest

_BATCHES = """
import resource, sys
from correlator.runtime.allocation import settle_memory
if sys.argv[1] == "settled":
    settle_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(101):
    before = faults() if number == 1 else before if number else 0
    blocks = [bytes(512 * 1024) for _ in range(8)]
    del blocks
print(faults() - before)
"""
"""A hundred batches of eight segments; the first one is not counted."""


def page_faults(state: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _BATCHES, state], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(CDLL(None), "mallopt"), reason="the allocator is not glibc's")
def test_a_batch_takes_the_pages_of_the_one_before() -> None:
    assert page_faults("settled") < page_faults("as python is") / 10
