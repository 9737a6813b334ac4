"""`correlator`, but it kills itself with SIGKILL at a named place: `CORRELATOR_DIES=offsets:17 python -m loadtest.doomed run …`.

For chaos runs only, since no clock can hit these places: nothing in the product knows of them. After the colon stands which time it
is fatal. A transaction here is one that carries positions.

- `restore`: the rows of a machine were read, the frames behind them not yet.
- `begin`: a transaction is open, and nothing of it is sent.
- `offsets`: records and positions of a transaction are with the broker, and nobody has said that it shall end.
- `commit`: the broker confirmed a commit, and the worker has not heard of it.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

from correlator.cli import main as correlator
from correlator.correlate.machine import Machine

PLACES = ("restore", "begin", "offsets", "commit")
VARIABLE = "CORRELATOR_DIES"


class Doom:
    """Counts how often a place was reached."""

    def __init__(self, place: str, times: int) -> None:
        self._place = place
        self._left = times

    def at(self, place: str) -> None:
        """Die if it is time."""
        if place == self._place:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def doomed(doom: Doom) -> None:
    """Put the places into the classes on which they lie."""
    begin: Callable[..., Awaitable[Any]] = AIOKafkaProducer.begin_transaction
    commit: Callable[..., Awaitable[Any]] = AIOKafkaProducer.commit_transaction
    restore = Machine.restore

    async def begins(producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        await begin(producer)
        doom.at("begin")

    async def commits(producer: Any) -> None:  # noqa: ANN401
        doom.at("offsets")
        await commit(producer)
        doom.at("commit")

    def restores(machine: Machine, rows: Mapping[bytes, bytes]) -> None:
        restore(machine, rows)
        doom.at("restore")

    AIOKafkaProducer.begin_transaction, AIOKafkaProducer.commit_transaction = begins, commits
    Machine.restore = restores  # type: ignore[method-assign, assignment] # the one place that only its owner could name


def main() -> None:
    """Run the command line of `correlator` until the place is reached."""
    place, _, times = os.environ[VARIABLE].partition(":")
    if place not in PLACES:
        raise SystemExit(f"{VARIABLE}: '{place}' is none of {', '.join(PLACES)}")
    doomed(Doom(place, int(times or 1)))
    correlator()


if __name__ == "__main__":
    main()
