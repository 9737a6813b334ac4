"""A storm as files: `python -m loadtest.storm --events 1000000 --seed 1 --out DIR` writes events.jsonl, topology.yaml and truth.json.

The same settings give the same bytes. Events stand in the order of their delivery, up to 5 s out of the order of their `at`.
"""

import argparse
import heapq
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import orjson

from loadtest.landscape import Landscape, build, topology_lines
from loadtest.plan import Plan, Settings, Stretch, dice_for, make_plan, severity_of
from loadtest.truth import FaultTruth, Raised, Truth, write_truth

Event = dict[str, Any]
JITTER = 5_000
SOURCES_PER_CLUSTER = 5
PROGRESS_EVERY = 100_000


class Storm(msgspec.Struct, frozen=True):
    """A planned storm, ready to be told; `skews` is the clock error of each source in ms, zeros left out."""

    settings: Settings
    landscape: Landscape
    plan: Plan
    skews: dict[str, int]

    def truth(self) -> Truth:
        """What really happened, with each stretch's times as its source tells them."""
        services: dict[str, list[str]] = {}
        for hit in sorted(self.plan.hits, key=lambda hit: (hit.fault.id, hit.onset)):
            services.setdefault(hit.fault.id, []).append(hit.service.name)
        raised: dict[str | None, list[Raised]] = {}
        for stretch in self.plan.stretches:
            raised.setdefault(stretch.fault, []).append(self._raised(stretch))
        faults = tuple(
            FaultTruth(
                fault.id, fault.root, fault.cluster, fault.start, fault.end, tuple(services[fault.id]), tuple(raised.get(fault.id, ()))
            )
            for fault in self.plan.faults
        )
        hidden = tuple((edge.source, edge.target) for edge in self.landscape.edges if edge.is_hidden)
        return Truth(faults=faults, noise=tuple(raised.get(None, ())), hidden_edges=hidden, skewed_sources=self.skews)

    def _raised(self, stretch: Stretch) -> Raised:
        skew = self.skews.get(source_of(stretch), 0)
        return Raised(labels=labels_of(stretch), at=stretch.start + skew, end=stretch.end + skew)


def make_storm(settings: Settings) -> Storm:
    """Plan a storm; raises ValueError when the settings cannot be met."""
    landscape = build(
        dice_for(settings.seed, "landscape"), services=settings.services, clusters=settings.clusters, hide_edges=settings.hide_edges
    )
    return Storm(settings=settings, landscape=landscape, plan=make_plan(settings, landscape), skews=_skews(settings, landscape))


def _skews(settings: Settings, landscape: Landscape) -> dict[str, int]:
    """One source of each cluster has a clock that is off by up to `clock_skew` seconds, at least half of it."""
    if not settings.clock_skew:
        return {}
    dice, most = dice_for(settings.seed, "skews"), settings.clock_skew * 1_000
    wrong = ((f"prometheus-{cluster}-{dice.randrange(SOURCES_PER_CLUSTER)}", dice.choice((-1, 1))) for cluster in landscape.clusters)
    return {source: round(sign * dice.uniform(most / 2, most)) for source, sign in wrong}


def source_of(stretch: Stretch) -> str:
    """The Prometheus that watches this service in this cluster."""
    return f"prometheus-{stretch.cluster}-{_number(stretch.service) % SOURCES_PER_CLUSTER}"


def _number(text: str) -> int:
    """A number of a text that no hash seed changes."""
    number = 7
    for byte in text.encode():
        number = (number * 31 + byte) & 0xFFFFFFFF
    return number


def labels_of(stretch: Stretch) -> dict[str, str]:
    """The labels as sent, save for their order; the pod follows from service, host and cluster."""
    return {
        "alertname": stretch.alertname,
        "service": stretch.service,
        "severity": severity_of(stretch.alertname),
        "host": stretch.host,
        "cluster": stretch.cluster,
        "pod": f"{stretch.service}-{_number(stretch.cluster + stretch.service) & 0xFFFF:04x}-{_number(stretch.host) & 0xFFFF:04x}",
    }


def stream(storm: Storm) -> Iterator[Event]:
    """All events in order of delivery."""
    dice, stretches = dice_for(storm.settings.seed, "stream"), storm.plan.stretches
    tellers: dict[int, _Teller] = {}
    # An entry: when it is delivered, of which stretch, its place in the stretch, and its true time.
    due = [(stretch.start + dice.randrange(JITTER), place, 0, stretch.start) for place, stretch in enumerate(stretches)]
    heapq.heapify(due)
    while due:
        _, place, number, at = due[0]
        if number == 0:
            tellers[place] = _Teller(stretches[place], storm.skews, repeats=storm.plan.repeats[place])
        teller = tellers[place]
        yield teller.event(dice, at, number=number)
        if number + 1 < teller.count:
            heapq.heapreplace(due, teller.next_due(dice, place, number=number + 1))
        else:
            heapq.heappop(due)
            del tellers[place]


class _Teller:
    """Says one stretch, in the key order of its source and by its source's clock."""

    def __init__(self, stretch: Stretch, skews: dict[str, int], *, repeats: int) -> None:
        self.count = 1 + repeats + stretch.is_resolved
        self._stretch = stretch
        self._step = (stretch.end - stretch.start) / (repeats + 1)
        self._resolves_at = repeats + 1
        self._source = source_of(stretch)
        self._skew = skews.get(self._source, 0)
        self._summary = f"{stretch.alertname} on {stretch.service}"
        # One source in five writes its keys the other way round, as another version of the sender would.
        self._is_reversed = self._source.endswith("-3")
        labels = labels_of(stretch)
        self._labels = dict(reversed(labels.items())) if self._is_reversed else labels

    def next_due(self, dice: Random, place: int, *, number: int) -> tuple[int, int, int, int]:
        """When the event of this number is due; never before its predecessor, for jitter stays below the distance between two."""
        shift = 0.0 if number == self._resolves_at else dice.random() * 0.4 - 0.2
        at = self._stretch.start + round((number + shift) * self._step)
        return at + round(dice.random() * min(JITTER, self._step / 2)), place, number, at

    def event(self, dice: Random, at: int, *, number: int) -> Event:
        """The event, with a value and a text that no other has."""
        value, trace = round(dice.random() * 1_000, 2), dice.getrandbits(32)
        status = "resolved" if number == self._resolves_at else "firing"
        annotations = {"summary": self._summary, "description": f"now {value}, trace {trace:08x}"}
        if self._is_reversed:
            return {
                "source": self._source,
                "value": value,
                "annotations": annotations,
                "labels": self._labels,
                "status": status,
                "at": at + self._skew,
            }
        return {
            "at": at + self._skew,
            "status": status,
            "labels": self._labels,
            "annotations": annotations,
            "value": value,
            "source": self._source,
        }


def write_storm(settings: Settings, folder: Path, *, tell: Callable[[str], None] = lambda _: None) -> Truth:
    """Write the three files of a storm into a folder; `tell` hears of the progress."""
    folder.mkdir(parents=True, exist_ok=True)
    storm = make_storm(settings)
    with (folder / "topology.yaml").open("w", encoding="utf-8") as topology:
        topology.writelines(topology_lines(storm.landscape, domains=settings.domains))
    truth = storm.truth()
    write_truth(truth, folder / "truth.json")
    with (folder / "events.jsonl").open("wb") as file:
        for number, event in enumerate(stream(storm), 1):
            file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
            if number % PROGRESS_EVERY == 0:
                tell(f"{number:,} of {settings.events:,} events")
    return truth


def parse_settings(arguments: list[str]) -> tuple[Settings, Path]:
    """Read the command line: an option for each field of Settings, and the folder."""
    parser = argparse.ArgumentParser(prog="loadtest.storm", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for field in msgspec.structs.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    chosen = vars(parser.parse_args(arguments))
    return msgspec.convert({field: chosen[field] for field in Settings.__struct_fields__}, Settings), chosen["out"]


def main() -> None:
    """Write a storm, with progress on standard error."""
    settings, folder = parse_settings(sys.argv[1:])
    truth = write_storm(settings, folder, tell=lambda line: print(line, file=sys.stderr))
    alerts = sum(len(fault.alerts) for fault in truth.faults)
    print(f"{len(truth.faults)} faults with {alerts} firing stretches, {len(truth.noise)} of noise, in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
