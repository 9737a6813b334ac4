"""A recording of a few lines, good and bad, and the files that go with it."""

import json
from collections.abc import Iterable
from pathlib import Path

START = 1_767_571_200_000
"""2026-01-05T00:00:00Z."""

TOPOLOGY = """\
services:
  shop: {owner: front, tier: 1, depends_on: [payments]}
  payments: {owner: money}
"""
RULES = """\
grouping: {settle: 30s}
"""
SETTINGS = """\
rules: [rules.yaml]
topology: [topology.yaml]
topics:
  - {name: events, arrival: item}
  - {name: others, arrival: item, partitions: 2}
"""


def an_event(after_s: int, status: str = "firing", **labels: str) -> dict[str, object]:
    """Make an event of the shop, so many seconds into the recording."""
    made_of = {"alertname": "HighErrorRate", "service": "payments", "severity": "critical", **labels}
    return {"at": START + after_s * 1_000, "status": status, "labels": made_of}


GOOD = (an_event(0), an_event(30), an_event(60, service="shop"), an_event(300, "resolved"), an_event(330, "resolved", service="shop"))
"""Two alerts: payments fires for five minutes, shop for four and a half."""
WEBHOOK = {
    "version": "4",
    "status": "firing",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "DiskFull", "service": "payments"}, "startsAt": "2026-01-05T00:06:00Z"},
        {"status": "firing", "labels": {}, "startsAt": "2026-01-05T00:06:00Z"},
    ],
}
"""Alertmanager's shape; the second alert has no labels."""


def write_lines(path: Path, records: Iterable[object]) -> Path:
    """Write JSON lines; text among the records is written as it stands."""
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def tell(folder: Path) -> None:
    """Write the story into a folder: events, topology and rules."""
    write_lines(folder / "events.jsonl", [*GOOD, '{"at": ', WEBHOOK, {"at": START, "status": "firing", "labels": {"service": "shop"}}])
    write_lines(folder / "good.jsonl", GOOD)
    (folder / "topology.yaml").write_text(TOPOLOGY, encoding="utf-8")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
