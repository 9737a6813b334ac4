"""How right the first judgement is: storms with known truth through intake and machine, beside naive rules on the same alerts.

`python -m benchmarks.accuracy [--seeds 5] [--only storms|real]` prints one table: the storms of this file, then the real faults of
`benchmarks.real`. Only firing stretches that a fault caused are scored: each belongs to its
fault (truth) and to the incident its alert was in (output), joined by labels and `startsAt`. A fault is *found* when an opened incident
has it as majority (more than half of its stretches, noise counted) and holds more than half of the fault's stretches. `root@1` and
`root@3` are shares of all faults, so one that is not found is a miss. A *false* incident was opened and holds noise only. `reduction` is
1 - opened incidents / stretches.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import mean

import msgspec
import orjson

from correlator.config.load import load_topology
from correlator.correlate.machine import Effects, Machine
from correlator.correlate.render import Stretch
from correlator.frames.control import Control
from correlator.frames.frame import Frame
from correlator.intake.pipeline import Intake
from correlator.model.incident import Why
from correlator.model.rule import RuleSet
from correlator.model.topology import EdgeKind, Topology

from benchmarks import real
from benchmarks.labelled import FAULTS
from benchmarks.partition import adjusted_rand, pairwise_f1
from loadtest.landscape import topology_lines
from loadtest.plan import Settings
from loadtest.storm import Storm, make_storm, stream
from loadtest.truth import Raised, Truth

FIRST_SEED = 101
BATCH = 4_000
WINDOW = 300_000
PLAIN = Settings(events=60_000, faults=30, hours=6.0, clusters=2, repeats=0.95, noise=0.17, concurrency=6)
VARIANTS = {
    "plain": PLAIN,
    "hidden": msgspec.structs.replace(PLAIN, hide_edges=0.2),
    "skewed": msgspec.structs.replace(PLAIN, clock_skew=30.0),
    "late root": msgspec.structs.replace(PLAIN, late_roots=30.0),
}

Key = tuple[frozenset[tuple[str, str]], int]
"""A stretch: its labels and its first firing."""


class Scene(msgspec.Struct, frozen=True):
    """A storm made ready: the truth, the graph as declared, and the frames that intake makes of it."""

    truth: Truth
    control: Control
    frames: list[Frame]


class Grouping(msgspec.Struct, frozen=True):
    """What a judge answers: the group of each stretch, the groups that were shown to people, and the roots named for each, best first."""

    group_by_stretch: Mapping[Key, Hashable]
    opened: Mapping[Hashable, Sequence[str]]
    turn_us: float = 0.0


class Score(msgspec.Struct, frozen=True):
    """Shares lie between 0 and 1; `turn_us` is CPU of the machine per stretch in microseconds."""

    ari: float
    f1: float
    found: float
    root_1: float
    root_3: float
    false: float
    reduction: float
    turn_us: float


def make_scene(settings: Settings) -> Scene:
    """Plan a storm and let intake read it."""
    storm = make_storm(settings)
    control = Control(RuleSet(), _topology(storm))
    intake = Intake("storm", control, is_recording=True)
    lines = [orjson.dumps(event) for event in stream(storm)]
    frames: list[Frame] = []
    for start in range(0, len(lines), BATCH):
        batch = lines[start : start + BATCH]
        frames += [frame for _, frame in intake.step(range(start, start + len(batch)), batch).frames]
    frames += [frame for _, frame in intake.end().frames]
    return Scene(storm.truth(), control, frames)


def _topology(storm: Storm) -> Topology:
    with tempfile.TemporaryDirectory(prefix="correlator-accuracy-") as folder:
        path = Path(folder) / "topology.yaml"
        path.write_text("".join(topology_lines(storm.landscape)), encoding="utf-8")
        return load_topology([str(path)])[0]


def by_machine(scene: Scene) -> Grouping:
    """Let the real machine judge."""
    machine = Machine(scene.control, guesses=False)
    stretches: list[Stretch] = []
    moved: dict[str, str] = {}
    opened: dict[Hashable, Sequence[str]] = {}
    seconds = 0.0
    for frame in scene.frames:
        begin = time.process_time()
        effects = machine.step(frame)
        seconds += time.process_time() - begin
        stretches += effects.stretches
        moved |= effects.moved
        _note_opened(effects, opened)
    stretches += machine.open_stretches
    groups: dict[Key, Hashable] = {_key_of(stretch): _kept(stretch.incident, moved) for stretch in stretches}
    return Grouping(groups, opened, seconds / len(groups) * 1e6)


def _kept(incident: str | None, moved: Mapping[str, str]) -> str | None:
    """Answer the incident that one became part of, if any."""
    while incident is not None and incident in moved:
        incident = moved[incident]
    return incident


def _note_opened(effects: Effects, opened: dict[Hashable, Sequence[str]]) -> None:
    for identifier, document in effects.incidents.items():
        if document is not None and (identifier in opened or Why.SETTLED in document.why):
            opened[identifier] = [cause.entity for cause in document.root_causes]


def _key_of(stretch: Stretch) -> Key:
    return frozenset(stretch.labels.items()), stretch.started


def _key(raised: Raised) -> Key:
    return frozenset(raised.labels.items()), raised.at


def _all_raised(scene: Scene) -> list[Raised]:
    """Every stretch in the order in which its source says it fired."""
    raised = [*scene.truth.noise, *[alert for fault in scene.truth.faults for alert in fault.alerts]]
    return sorted(raised, key=lambda alert: (alert.at, sorted(alert.labels.items())))


def by_labels(scene: Scene, *labels: str) -> Grouping:
    """Group as Alertmanager's `group_by` does: a group lasts while one of its alerts fires."""
    groups: dict[Key, Hashable] = {}
    opened: dict[Hashable, Sequence[str]] = {}
    until: dict[tuple[str, ...], int] = {}
    turns: Counter[tuple[str, ...]] = Counter()
    for raised in _all_raised(scene):
        values = tuple([raised.labels[label] for label in labels])
        if raised.at > until.get(values, 0):
            turns[values] += 1
        until[values] = max(until.get(values, 0), raised.end)
        group = (*values, turns[values])
        groups[_key(raised)] = group
        opened.setdefault(group, [raised.labels["service"]])
    return Grouping(groups, opened)


def by_graph(scene: Scene) -> Grouping:
    """The plain rule: an alert joins the latest incident within one hop whose last new alert is at most five minutes old."""
    graph = scene.control.topology
    groups: dict[Key, Hashable] = {}
    opened: dict[Hashable, Sequence[str]] = {}
    last: dict[int, int] = {}
    hits: dict[tuple[str, str], dict[int, None]] = {}
    for number, raised in enumerate(_all_raised(scene)):
        service, cluster = raised.labels["service"], raised.labels["cluster"]
        near = [group for name in _one_hop(graph, service) for group in hits.get((cluster, name), ())]
        joinable = [group for group in near if raised.at - last[group] <= WINDOW]
        group = max(joinable, key=lambda group: (last[group], -group)) if joinable else number
        last[group] = raised.at
        hits.setdefault((cluster, service), {})[group] = None
        groups[_key(raised)] = group
        opened.setdefault(group, [service])
    return Grouping(groups, opened)


def _one_hop(graph: Topology, service: str) -> list[str]:
    below = [edge.target for edge in graph.dependencies.get(service, ()) if edge.kind is not EdgeKind.RUNS_ON]
    return [service, *below, *[edge.source for edge in graph.dependents.get(service, ())]]


def measure(scene: Scene, grouping: Grouping) -> Score:
    """Score one judge on one storm."""
    fault_by_stretch = {_key(raised): fault.id for fault in scene.truth.faults for raised in fault.alerts}
    pairs = Counter((fault, grouping.group_by_stretch.get(key, key)) for key, fault in fault_by_stretch.items())
    sizes = Counter(grouping.group_by_stretch.values())
    found = _found(pairs, sizes, grouping.opened)
    roots = {fault.id: fault.root for fault in scene.truth.faults}
    troubled = {group for _, group in pairs}
    faults = len(roots)
    return Score(
        ari=adjusted_rand(pairs),
        f1=pairwise_f1(pairs),
        found=len(found) / faults,
        root_1=sum(grouping.opened[group][:1] == [roots[fault]] for fault, group in found.items()) / faults,
        root_3=sum(roots[fault] in grouping.opened[group][:3] for fault, group in found.items()) / faults,
        false=sum(group not in troubled for group in grouping.opened),
        reduction=1 - len(grouping.opened) / len(grouping.group_by_stretch),
        turn_us=grouping.turn_us,
    )


def _found(pairs: Counter[tuple[str, Hashable]], sizes: Counter[Hashable], opened: Mapping[Hashable, Sequence[str]]) -> dict[str, Hashable]:
    wholes: Counter[str] = Counter()
    for (fault, _), count in pairs.items():
        wholes[fault] += count
    return {fault: group for (fault, group), count in pairs.items() if group in opened and 2 * count > max(sizes[group], wholes[fault])}


JUDGES: dict[str, Callable[[Scene], Grouping]] = {
    "machine": by_machine,
    "labels: cluster, alertname": lambda scene: by_labels(scene, "cluster", "alertname"),
    "labels: cluster, service": lambda scene: by_labels(scene, "cluster", "service"),
    "graph: one hop, 5 min": by_graph,
}


def average(scores: Sequence[Score]) -> Score:
    """The mean of each figure."""
    return Score(*[mean(getattr(score, field) for score in scores) for field in Score.__struct_fields__])


def table(scores: Mapping[tuple[str, str], Sequence[Score]]) -> str:
    """A line for each storm and judge: means over the seeds, and the worst ARI."""
    heads = f"{'ARI':>6}{'worst':>7}{'F1':>6}{'found':>7}{'root@1':>8}{'root@3':>8}{'false':>7}{'reduction':>11}{'us/turn':>9}"
    lines = [f"{'storm':10}{'judge':28}{heads}"]
    for (storm, judge), all_scores in scores.items():
        score, worst = average(all_scores), min(one.ari for one in all_scores)
        lines.append(
            f"{storm:10}{judge:28}{score.ari:6.3f}{worst:7.3f}{score.f1:6.3f}{score.found:7.2f}{score.root_1:8.2f}{score.root_3:8.2f}"
            f"{score.false:7.0f}{score.reduction:11.2f}{score.turn_us:9.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Score everything that was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("storms", "real"), help="leave out the other part of the table")
    parser.add_argument("--faults", type=Path, default=FAULTS, help="where the sets of real faults lie")
    arguments = parser.parse_args()
    if arguments.only != "real":
        print(storm_table(arguments.seeds))
    if arguments.only != "storms":
        lines, absent = real.lines_of(arguments.faults)
        print(*([] if arguments.only else [""]), real.table(lines), *absent, sep="\n")


def storm_table(seeds: int) -> str:
    """Score all judges on all storms, as many of each as there are seeds."""
    scores: dict[tuple[str, str], list[Score]] = {(storm, judge): [] for storm in VARIANTS for judge in JUDGES}
    for storm, settings in VARIANTS.items():
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            scene = make_scene(msgspec.structs.replace(settings, seed=seed))
            for judge, group in JUDGES.items():
                scores[storm, judge].append(measure(scene, group(scene)))
    return table(scores)


if __name__ == "__main__":
    main()
