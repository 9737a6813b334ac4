"""What a test run starts ends with it, even when the run is killed."""

import os
import subprocess
import sys
from pathlib import Path
from select import select

from loadtest.leash import Leash

ROOT = Path(__file__).parents[2]
OWNER = """
import subprocess, sys
from loadtest.leash import Leash
kept = subprocess.Popen(["sleep", "100"], stdout=subprocess.PIPE)
leash = Leash(kept.pid)
print(kept.pid, flush=True)
sys.stdin.read()
"""


def test_a_process_on_a_leash_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        kept = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
    assert select([kept], [], [], 10)[0] == [kept], "it lives on"
    os.close(kept)


def test_a_leash_that_was_let_go_harms_nobody() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(input(), end='')"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as kept:
        Leash(kept.pid).end()
        assert kept.communicate(b"alive")[0] == b"alive"
    assert kept.returncode == 0
