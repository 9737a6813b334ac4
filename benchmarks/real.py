"""How right the program is about real faults: labelled sets through a whole replay, and through the ranking of causes alone.

Rows of `python -m benchmarks.accuracy`; docs/accuracy.md says how each figure is made. Rules are the defaults, the same for all sets.
"""

import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from correlator.config.load import load_topology
from correlator.correlate.diagnose import diagnose
from correlator.correlate.group import Grouper
from correlator.frames.control import Control
from correlator.model.calendar import parse_rfc3339
from correlator.model.instant import SECOND, Duration, Instant
from correlator.model.rule import Grouping, RuleSet
from correlator.model.topology import Topology
from correlator.runtime.files import read_merged
from correlator.runtime.replay import BATCH_RECORDS, Replay
from correlator.state.records import Hit

from benchmarks.labelled import CLOUDBED, MICROSS, Fault, System, joined, read_sockshop, read_system, squeezed, write_system
from benchmarks.partition import Pairs, Weights, adjusted_rand, group_by_found, interval, weighted
from loadtest.truth import Raised

GAP: Final[Duration] = 30 * SECOND

_Labels = frozenset[tuple[str, str]]


class Judged(msgspec.Struct, frozen=True):
    """What became of a system's alerts: how many of each fault are in each incident, and the roots named for each, best first."""

    pairs: Pairs
    roots: Mapping[Hashable, Sequence[str]]


class Others(msgspec.Struct, frozen=True):
    """Figures to hold ours against, all the better for being larger: a naive rule's, a published one, what must hold, what is aimed at."""

    naive: float | None = None
    published: float | None = None
    must: float | None = None
    aim: float | None = None

    def verdict(self, figure: float) -> str:
        """Where a figure stands; nothing where nothing is asked."""
        if self.must is None or self.aim is None:
            return ""
        if figure >= self.aim:
            return "aim met"
        return "must met" if figure >= self.must else "MISSED"


class Line(msgspec.Struct, frozen=True):
    """A line of the table. Nine of ten resamples have a figure `between` these; None for a count of what is not a sample."""

    what: str
    figure: str
    ours: float
    between: tuple[float, float] | None = None
    others: Others = Others()


def judge(system: System) -> Judged:
    """Let a whole replay judge a system's metric and call alerts."""
    with tempfile.TemporaryDirectory(prefix="correlator-accuracy-") as name:
        events, topology = write_system(system, Path(name) / "in")
        out = Path(name) / "out"
        Replay(Control(RuleSet(), load_topology([str(topology)])[0]), out).run(read_merged([str(events)], size=BATCH_RECORDS))
        stretches, incidents = _rows(out / "alerts.jsonl"), _rows(out / "incidents.jsonl")
    roots = {incident["id"]: [cause["entity"] for cause in incident["root_causes"]] for incident in incidents}
    return Judged(pairs_of(system.faults, stretches), roots)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def pairs_of(faults: Sequence[Fault], stretches: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, Hashable]]:
    """Count what faults and incidents share: each alert of a fault is in the incident of the firing stretch that covers it.

    One that no stretch covers is a group of its own.
    """
    began: dict[_Labels, list[tuple[Instant, str | None]]] = {}
    for row in stretches:
        began.setdefault(_key(row["labels"]), []).append((parse_rfc3339(row["startsAt"])[0], row["incident"]))
    for known in began.values():
        known.sort(key=lambda entry: entry[0])
    pairs: Counter[tuple[str, Hashable]] = Counter()
    for fault in faults:
        for alert in fault.alerts:
            group = _incident_at(began.get(_key(alert.labels), []), alert.at)
            pairs[fault.id, group if group is not None else (_key(alert.labels), alert.at)] += 1
    return pairs


def _key(labels: Mapping[str, str]) -> _Labels:
    return frozenset(labels.items())


def _incident_at(stretches: Sequence[tuple[Instant, str | None]], at: Instant) -> str | None:
    place = bisect_right(stretches, at, key=lambda entry: entry[0])
    return stretches[place - 1][1] if place else None


def by_gap(system: System) -> Pairs:
    """The naive rule: a group ends when nothing has fired for half a minute, whatever the alerts are about."""
    alerts = sorted([(alert.at, fault.id) for fault in system.faults for alert in fault.alerts])
    pairs: Counter[tuple[str, Hashable]] = Counter()
    group, last = 0, alerts[0][0] if alerts else 0
    for at, fault in alerts:
        group, last = group + (at - last > GAP), at
        pairs[fault, group] += 1
    return pairs


def ranked_by_given(system: System, topology: Topology) -> dict[str, list[str]]:
    """Rank the causes of each fault, given which alerts belong to it, logs included, one fault after the other as they happened."""
    grouper = Grouper(topology, Grouping())
    ranked = {}
    for fault in system.faults:
        hits = hits_of((*fault.alerts, *fault.logs), topology)
        ranked[fault.id] = [cause.entity for cause in diagnose(hits, topology, grouper.reaches_of)] if hits else []
    return ranked


def hits_of(alerts: Sequence[Raised], topology: Topology) -> dict[str, Hit]:
    """Answer the entities that an incident of exactly these alerts would show."""
    hits: dict[str, Hit] = {}
    for alert in sorted(alerts, key=lambda alert: (alert.at, sorted(alert.labels.items()))):
        entity = topology.entity_of(alert.labels)
        if entity is None:
            continue
        known = hits.get(entity)
        if known is None:
            hits[entity] = Hit(entity, alert.at, alert.at, alert.labels["alertname"], b"")
        else:
            known.last, known.alerts = alert.at, known.alerts + 1
    return hits


def ranked_by_own(system: System, judged: Judged) -> dict[str, Sequence[str]]:
    """Answer the roots that the incident of each fault names; a fault that was not found has none."""
    found = group_by_found(judged.pairs)
    return {fault.id: judged.roots.get(found[fault.id], ()) if fault.id in found else () for fault in system.faults}


# Lines


def grouping_lines(what: str, system: System, judged: Judged, *, asked: Sequence[Others] = (Others(), Others())) -> list[Line]:
    """Score the groups of a system: the adjusted Rand index over its alerts, the faults found, and how many incidents there were.

    `asked` is of the first two figures; the naive ones are measured here.
    """
    naive, cases = by_gap(system), {fault.id: fault.case for fault in system.shown}
    found = group_by_found(judged.pairs)

    def index(weights: Weights) -> float:
        return adjusted_rand(weighted(judged.pairs, weights))

    def count(weights: Weights) -> float:
        return sum([weights[fault] for fault in found]) * len(cases) / sum(weights.values())

    of_index = msgspec.structs.replace(asked[0], naive=adjusted_rand(naive))
    of_count = msgspec.structs.replace(asked[1], naive=len(group_by_found(naive)))
    return [
        Line(what, "ARI", index(dict.fromkeys(cases, 1)), interval(index, cases), of_index),
        Line(what, f"found of {len(cases)}", len(found), interval(count, cases), of_count),
        Line(what, "incidents", _groups(judged.pairs), others=Others(naive=_groups(naive))),
    ]


def _groups(pairs: Pairs) -> int:
    return len({group for _, group in pairs})


def root_lines(what: str, system: System, ranked: Mapping[str, Sequence[str]], *, others: Sequence[Others]) -> list[Line]:
    """Score named roots at 1 and at 3, over all faults; `others` are the figures to hold these two against."""
    cases = {fault.id: fault.case for fault in system.faults}
    lines = []
    for most, other in zip((1, 3), others, strict=True):
        share = _share({fault.id: fault.root in ranked[fault.id][:most] for fault in system.faults})
        lines.append(Line(what, f"root@{most}", share(dict.fromkeys(cases, 1)), interval(share, cases), other))
    return lines


def _share(right: Mapping[str, bool]) -> Callable[[Weights], float]:
    return lambda weights: sum([weights[fault] for fault, is_right in right.items() if is_right]) / sum(weights.values())


def topology_of(system: System) -> Topology:
    """Load a system's topology as the program does."""
    with tempfile.TemporaryDirectory(prefix="correlator-accuracy-") as name:
        return load_topology([str(write_system(system, Path(name))[1])])[0]


SQUEEZED: Final = (Others(must=0.93, aim=0.98), Others(must=185, aim=200))
OWN: Final = {
    MICROSS: (Others(must=0.33, aim=0.40), Others(must=0.48, aim=0.55)),
    CLOUDBED: (Others(must=0.36, aim=0.48), Others(must=0.60, aim=0.72)),
}
GIVEN: Final = {
    MICROSS: (Others(0.191, 0.362, 0.45, 0.52), Others(0.414, 0.500, 0.60, 0.66)),
    CLOUDBED: (Others(0.186, 0.214, 0.46, 0.60), Others(0.286, 0.357, 0.74, 0.82)),
}
SOCKSHOP: Final = (Others(0.461, 0.863, 0.66, 0.75), Others(0.780, 0.954, 0.88, 0.92))
"""Naive figures are of the most metric alerts, by the scripts beside the sets; published ones of the papers, sockshop's supervised."""


def lines_of_rca(faults: Path) -> list[Line]:
    """Answer all lines of `rca_alerts`: two systems, each alone and both in one stream."""
    systems = {name: read_system(name, prefix=f"{name}/", faults=faults) for name in (MICROSS, CLOUDBED)}
    both = joined(squeezed(systems[MICROSS], into=systems[CLOUDBED]), systems[CLOUDBED])
    judged = {name: judge(system) for name, system in systems.items()}
    lines = grouping_lines("both, squeezed", both, judge(both), asked=SQUEEZED)
    for name, system in systems.items():
        lines += grouping_lines(_short(name), system, judged[name])
    for name, system in systems.items():
        lines += root_lines(f"{_short(name)}, own groups", system, ranked_by_own(system, judged[name]), others=OWN[name])
    for name, system in systems.items():
        lines += root_lines(f"{_short(name)}, given groups", system, ranked_by_given(system, topology_of(system)), others=GIVEN[name])
    return lines


def _short(name: str) -> str:
    return name.removeprefix("Online-Boutique-")


def lines_of_sockshop(faults: Path) -> list[Line]:
    """Answer the lines of `sockshop_alerts`: its test part, unsupervised, as a stream of one incident a failure."""
    system = read_sockshop(faults=faults)
    return root_lines("sockshop, given groups", system, ranked_by_given(system, topology_of(system)), others=SOCKSHOP)


SETS: Final[dict[str, Callable[[Path], list[Line]]]] = {"rca_alerts": lines_of_rca, "sockshop_alerts": lines_of_sockshop}


def lines_of(faults: Path) -> tuple[list[Line], list[str]]:
    """Score every set that is there; answers the lines, and a sentence for each set that is not."""
    lines, absent = list[Line](), list[str]()
    for name, lines_of_set in SETS.items():
        if (faults / name).is_dir():
            lines += lines_of_set(faults)
        else:
            absent.append(f"{name}: skipped, not below {faults}")
    return lines, absent


def table(lines: Sequence[Line]) -> str:
    """A line for each figure, with what others reach, what must hold and what is aimed at."""
    rows = [f"{'real faults':26}{'figure':14}{'naive':>8}{'published':>11}{'ours':>8}{'90 %':>14}{'must':>8}{'aim':>8}"]
    for line in lines:
        places = 3 if line.figure.startswith(("ARI", "root")) else 0
        naive, published, must, aim = [
            "-" if figure is None else f"{figure:.{places}f}"
            for figure in (line.others.naive, line.others.published, line.others.must, line.others.aim)
        ]
        between = "-".join([f"{end:.{places}f}" for end in line.between or ()])
        text = f"{line.what:26}{line.figure:14}{naive:>8}{published:>11}{line.ours:>8.{places}f}{between:>14}{must:>8}{aim:>8}"
        rows.append(f"{text}  {line.others.verdict(line.ours)}".rstrip())
    return "\n".join(rows)
