"""The input of the restore benchmark: the alerts of the memory benchmark in batches, as a machine meets them before its last checkpoint."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from benchmarks.memory import ALERTS, INCIDENTS, active_alerts

BATCH = 16_000


def batches(alerts: int = ALERTS, incidents: int = INCIDENTS) -> Iterator[list[dict[str, Any]]]:
    """The events in batches of one transaction, in order."""
    events = active_alerts(alerts, incidents)
    while batch := list(islice(events, BATCH)):
        yield batch


def main() -> None:
    """Tell the size of the input."""
    sizes = [len(batch) for batch in batches()]
    print(f"{sum(sizes):,} active alerts in {len(sizes)} batches")


if __name__ == "__main__":
    main()
