"""Counting together: the metrics of several processes as one, in prometheus_client's multiprocess mode.

Its files are named by the number of a worker, not by its process: one that is started anew counts on where the last stopped, so no sum
goes back, and there are never more files than workers.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, values
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder of the files; prometheus_client's own."""


def count_as(worker: int) -> None:
    """Count as the worker of this number, from now on, in the folder that the environment names. Called before the first metric is made."""
    assert FOLDER in os.environ, "the supervisor names a folder"
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def is_counted_together() -> bool:
    """Answer whether this process is one of several that count together."""
    return FOLDER in os.environ


def registry_of(folder: Path, pids: Mapping[int, int]) -> CollectorRegistry:
    """Make a registry that shows what all workers count, and the processes in `pids` by the worker's number, as they are at the time."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    registry.register(_Processes(pids))
    return registry


class Done(NamedTuple):
    """What a run came to: items received and judged (several domains may judge one source's), and the seconds of CPU that it took."""

    events: int
    judged: int
    cpu_s: float


def done(registry: CollectorRegistry, cpu_s: float) -> Done:
    """Sum up what a registry has counted."""
    return Done(_sum(registry, "items_received"), _sum(registry, "items_judged"), cpu_s)


def _sum(registry: CollectorRegistry, counter: str) -> int:
    """Add up all series of a counter."""
    samples = [sample for family in registry.collect() for sample in family.samples]
    return int(sum(sample.value for sample in samples if sample.name == f"correlator_{counter}_total"))


def forget_gauges(folder: Path, worker: int) -> None:
    """Forget what a worker that ended said of itself; what it counted stays."""
    mark_process_dead(worker, str(folder))  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """Memory, CPU and files of each worker's process, labelled with its number: these begin anew with each process."""

    def __init__(self, pids: Mapping[int, int]) -> None:
        self._pids = pids

    def collect(self) -> Iterable[Family]:
        families: dict[str, Family] = {}
        for worker, pid in sorted(self._pids.items()):
            for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(found.name, type(found)(found.name, found.documentation, labels=["worker"]))  # type: ignore[call-arg]
                for sample in found.samples:
                    family.add_sample(sample.name, {"worker": str(worker)}, sample.value)
        return families.values()
