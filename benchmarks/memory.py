"""The input of the memory benchmark: a million alerts that fire at once, in ten thousand incidents, with labels that share next to nothing.

`python -m benchmarks.memory` writes it as JSON lines to standard output.
"""

import sys
from collections.abc import Iterator
from typing import Any

import orjson

ALERTS, INCIDENTS = 1_000_000, 10_000
CLUSTERS = 10
START = 1_767_571_200_000
SEVERITIES = ("critical", "warning", "info")


def active_alerts(alerts: int = ALERTS, incidents: int = INCIDENTS) -> Iterator[dict[str, Any]]:
    """Firing events of `alerts` alerts: six labels and two annotations, distinct but for alertname, severity and cluster.

    Alertname and cluster tell the incident, 100 alerts to each by default; those of one incident come within 10 ms, one after another.
    """
    each = -(-alerts // incidents)
    for number in range(alerts):
        incident = number // each
        yield {"at": START + number // 10, "status": "firing", "labels": _labels(number, incident), "annotations": _annotations(number)}


def _labels(number: int, incident: int) -> dict[str, str]:
    return {
        "alertname": f"Condition{incident // CLUSTERS:04d}",
        "severity": SEVERITIES[incident % len(SEVERITIES)],
        "cluster": f"cluster-{incident % CLUSTERS}",
        "service": f"service-{number:07d}",
        "host": f"node-{number:07d}.example.net",
        "pod": f"service-{number:07d}-5d8f{number % 0xFFFF:04x}",
    }


def _annotations(number: int) -> dict[str, str]:
    return {
        "summary": f"service-{number:07d} has been out of its bounds for five minutes",
        "description": f"reading {number * 7919 % 1_000_003} beyond the threshold, sample {number:07d}",
    }


def main() -> None:
    """Write the input to standard output."""
    for event in active_alerts():
        sys.stdout.buffer.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
