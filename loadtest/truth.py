"""The ground truth of a storm: which fault raised which alert, so that grouping and root causes can be scored."""

from pathlib import Path

import msgspec


class Raised(msgspec.Struct, frozen=True):
    """One firing stretch: the labels as sent, and the `at` (epoch ms, by the sender's clock) of its first firing and of its end."""

    labels: dict[str, str]
    at: int
    end: int


class FaultTruth(msgspec.Struct, frozen=True):
    """One injected fault; `start` and `end` in epoch ms of true time, `services` in the order in which it reached them."""

    id: str
    root: str
    cluster: str
    start: int
    end: int
    services: tuple[str, ...]
    alerts: tuple[Raised, ...]


class Truth(msgspec.Struct, frozen=True):
    """All that a scorer needs: the faults, the noise that belongs to none, and what the topology does not tell."""

    faults: tuple[FaultTruth, ...]
    noise: tuple[Raised, ...]
    hidden_edges: tuple[tuple[str, str], ...] = ()
    skewed_sources: dict[str, int] = {}


def write_truth(truth: Truth, path: Path) -> None:
    """Write the truth as one JSON document."""
    path.write_bytes(msgspec.json.encode(truth) + b"\n")


def read_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote; raises msgspec.ValidationError when the file is something else."""
    return msgspec.json.decode(path.read_bytes(), type=Truth)
