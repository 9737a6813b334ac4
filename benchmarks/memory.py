"""Memory: a million alerts that fire at once, in ten thousand incidents, with labels that share next to nothing."""

import gc
import resource
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import orjson

from correlator.correlate.machine import Machine
from correlator.frames.codec import decode_frame, encode_frame
from correlator.frames.control import Control
from correlator.intake.output import IntakeOutput
from correlator.intake.pipeline import Intake
from correlator.model.rule import Grouping, RuleSet
from correlator.model.topology import Topology
from correlator.runtime.allocation import settle_memory

from benchmarks.rounds import Target

TARGET = Target(must=900, aim=600)
BATCH = 16_000
SETTLED_S = 60

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


class Residence(msgspec.Struct):
    """What a million active alerts cost: growth of the whole process, with intake's caches, all incidents and all indexes."""

    alerts: int
    incidents: int
    bytes_per_alert: float
    cpu_s: float


def main() -> None:
    """Correlate the input and print what each alert costs; exits 1 when that is too much."""
    settle_memory()
    residence = reside()
    print(f"{residence.alerts:,} active alerts in {residence.incidents:,} incidents, {residence.cpu_s:.1f} CPU-s")
    figure = residence.bytes_per_alert
    print(f"{figure:.0f} B of resident memory an alert: must {TARGET.must:.0f}, aim {TARGET.aim:.0f}   {TARGET.verdict(figure)}")
    sys.exit(TARGET.exit_code(figure))


def reside(alerts: int = ALERTS, incidents: int = INCIDENTS) -> Residence:
    """Bring all alerts into a machine and measure the growth of the process."""
    control = Control(RuleSet(grouping=Grouping(group_by=("alertname", "cluster"))), Topology())
    intake, machine = Intake("memory", control), Machine(control)
    before, cpu = _resident_bytes(), process_time()
    correlate(intake, machine, active_alerts(alerts, incidents))
    gc.collect()
    grown = _resident_bytes() - before
    firing = sum(incident.firing for incident in machine.book.incidents.values())
    assert firing == alerts, f"{firing} alerts are active, not {alerts}"
    return Residence(alerts, len(machine.book.incidents), grown / alerts, process_time() - cpu)


def correlate(intake: Intake, machine: Machine, events: Iterator[dict[str, Any]]) -> None:
    """Push live events through intake, codec and machine, then tick until all are judged; what is written is dropped."""
    offset, at = 0, START
    while batch := list(islice(events, BATCH)):
        stamps = [event["at"] for event in batch]
        _step(machine, intake.step(range(offset, offset + len(batch)), [orjson.dumps(event) for event in batch], stamps))
        offset, at = offset + len(batch), stamps[-1]
    for seconds in range(1, SETTLED_S):
        _step(machine, intake.tick(at + seconds * 1000))


def _step(machine: Machine, output: IntakeOutput) -> None:
    for _, frame in output.frames:
        machine.step(decode_frame(encode_frame(frame)))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
