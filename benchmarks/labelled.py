"""Sets of real faults with a known root, as what correlator reads: native events and a topology, made anew and kept nowhere.

`python -m benchmarks.labelled FOLDER` writes them for `correlator replay`. The sets lie beside the repository and are read in place.
In `rca_alerts` the first name of a call alert is the caller and the second the callee (the graph and the operations say so; its upstream
text says the reverse), hosts are written by address, which the graph lacks and what stands on them does not settle, and times of logs are
China's.
"""

import argparse
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from correlator.model.calendar import parse_rfc3339
from correlator.model.instant import HOUR, Instant

from loadtest.truth import Raised

FAULTS: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "faults"
"""Where the sets lie beside the repository; they are not part of it."""
MICROSS: Final = "MicroSS"
CLOUDBED: Final = "Online-Boutique-cloudbed-1"
ENTITY_LABELS: Final = ("service", "pod", "host", "client", "server")

_LOG_ZONE = 8 * HOUR
_TIMELESS: Final[Instant] = 1_700_000_000_000
_NAME_BY_CALL_KIND: Final = {"PD": "slow calls", "400": "calls answered 400", "500": "calls answered 500"}
_SECTION_BY_TYPE: Final = {"Service_Instance": "instances", "Cache_Instance": "instances", "Host": "hosts"}
_UNKNOWN_CALLER: Final = "-1"
_LABEL_BY_SECTION: Final = {"instances": "pod", "hosts": "host"}

Graph = dict[str, dict[str, dict[str, Any]]]
"""A topology file: sections of names and what is said of each."""


class Fault(msgspec.Struct, frozen=True):
    """One injected fault. `alerts` (metrics and calls) and `logs` are in order of time; copies of one fault are one `case`."""

    id: str
    case: str
    root: str
    alerts: tuple[Raised, ...] = ()
    logs: tuple[Raised, ...] = ()

    @property
    def started(self) -> Instant:
        """When its first alert fired; only for a fault that has one."""
        return self.alerts[0].at


class System(msgspec.Struct, frozen=True):
    """What one set says: its faults in the order in which they began, and the graph."""

    graph: Graph
    faults: tuple[Fault, ...]

    @property
    def shown(self) -> tuple[Fault, ...]:
        """The faults that left an alert."""
        return tuple([fault for fault in self.faults if fault.alerts])


def events_of(system: System) -> list[bytes]:
    """Answer the metric and call alerts of all faults as native events, a JSON line each, in the order in which they fired."""
    alerts = sorted(
        [alert for fault in system.faults for alert in fault.alerts], key=lambda alert: (alert.at, sorted(alert.labels.items()))
    )
    return [orjson.dumps({"at": alert.at, "status": "firing", "labels": alert.labels}) for alert in alerts]


def write_system(system: System, folder: Path) -> tuple[Path, Path]:
    """Write the events and the topology; answers their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    events, topology = folder / "events.jsonl", folder / "topology.yaml"
    events.write_bytes(b"".join([line + b"\n" for line in events_of(system)]))
    topology.write_bytes(orjson.dumps(system.graph, option=orjson.OPT_INDENT_2))
    return events, topology


def joined(first: System, second: System) -> System:
    """Put two systems that share no name into one stream and one topology."""
    sections = dict.fromkeys([*first.graph, *second.graph])
    graph = {section: {**first.graph.get(section, {}), **second.graph.get(section, {})} for section in sections}
    return System(graph, tuple(sorted([*first.shown, *second.shown], key=lambda fault: (fault.started, fault.id))))


def squeezed(system: System, into: System) -> System:
    """Let the faults of a system begin at equal distances all through the time of another, each as it was in itself."""
    alerts = [alert for fault in into.shown for alert in fault.alerts]
    first, last = min(alert.at for alert in alerts), max(alert.at for alert in alerts)
    count = len(system.shown)
    faults = [_moved(fault, first + (last - first) * place // count - fault.started) for place, fault in enumerate(system.shown)]
    return System(system.graph, tuple(faults))


def _moved(fault: Fault, by: int) -> Fault:
    def later(alerts: Iterable[Raised]) -> tuple[Raised, ...]:
        return tuple([Raised(alert.labels, alert.at + by, alert.end + by) for alert in alerts])

    return msgspec.structs.replace(fault, alerts=later(fault.alerts), logs=later(fault.logs))


# rca_alerts


def read_system(name: str, *, prefix: str = "", faults: Path = FAULTS) -> System:
    """Read a system of `rca_alerts`; `prefix` keeps its names apart from those of another system."""
    folder = faults / "rca_alerts"
    alerts = folder / "fault-alerts" / name
    graph = _graph(orjson.loads((folder / "system-knowledge-graphs" / "original" / name / f"{name}-KG.json").read_bytes()), prefix)
    metrics, calls, logs = [orjson.loads((alerts / f"{kind}.json").read_bytes()) for kind in ("metric/metrics", "trace/traces", "log/logs")]
    with (alerts / "label.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [
        Fault(
            prefix + row["fault_id"],
            prefix + row.get("orig_fault_id", row["fault_id"]),
            prefix + row["fault_entity"],
            _in_order(
                [*_metric_alerts(metrics.get(row["fault_id"], ()), graph, prefix), *_call_alerts(calls.get(row["fault_id"], ()), prefix)]
            ),
            _in_order(_log_alerts(logs.get(row["fault_id"], ()), graph, prefix)),
        )
        for row in rows
    ]
    return System(graph, _in_turn(found))


def _in_turn(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Order faults by their first alert; those without any stay behind the one they were written after."""
    place, keys = (0, 0), {}
    for number, fault in enumerate(faults):
        place = (fault.started if fault.alerts else place[0], number)
        keys[fault.id] = place
    return tuple(sorted(faults, key=lambda fault: keys[fault.id]))


def _in_order(alerts: Iterable[Raised]) -> tuple[Raised, ...]:
    return tuple(sorted(alerts, key=lambda alert: (alert.at, sorted(alert.labels.items()))))


def _graph(knowledge: dict[str, Any], prefix: str) -> Graph:
    """Read a knowledge graph; an edge that says the same as another one backwards (`hosts`, `has_instance`, `discovers`) is left out."""
    section_by_name = {node["id"]: _SECTION_BY_TYPE.get(node["type"], "services") for node in knowledge["nodes"]}
    graph: Graph = {section: {} for section in ("services", "instances", "hosts")}
    for name, section in section_by_name.items():
        graph[section][prefix + name] = {}
    for edge in knowledge["edges"]:
        source, target = edge["source"], prefix + edge["target"]
        entry = graph[section_by_name[source]][prefix + source]
        if edge["label"] == "instance_of":
            entry["of"] = target
        elif edge["label"] == "hosted_on":
            entry.setdefault("runs_on", []).append(target)
        elif edge["label"] in ("control_flow", "data_flow", "registers_with") and prefix + source != target:
            entry.setdefault("depends_on", []).append(target)
    return graph


def _entity_labels(graph: Graph, entity: str) -> dict[str, str]:
    """Answer the labels that an exporter puts on what it says of an entity; one that the graph lacks is a machine."""
    for section, label in _LABEL_BY_SECTION.items():
        if entity in graph[section]:
            service = graph[section][entity].get("of")
            return {label: entity, "service": service} if service else {label: entity}
    return {"service" if entity in graph["services"] else "host": entity}


def _metric_alerts(rows: Iterable[Sequence[str]], graph: Graph, prefix: str) -> list[Raised]:
    """Answer an alert for each metric; an instance's says which machine it ran on, as the set writes it."""
    found = []
    for at, entity, machine, metric, direction in rows:
        labels = _entity_labels(graph, prefix + entity)
        if "pod" in labels and machine:
            labels["host"] = prefix + machine
        found.append(_alert(int(at), f"{metric} {direction}", labels))
    return found


def _call_alerts(rows: Iterable[Sequence[str]], prefix: str) -> list[Raised]:
    return [
        _alert(int(at), _NAME_BY_CALL_KIND[kind], {"client": prefix + caller, "server": prefix + callee, "operation": operation})
        for at, caller, callee, operation, kind in rows
    ]


def _log_alerts(rows: Iterable[Sequence[Any]], graph: Graph, prefix: str) -> list[Raised]:
    """Answer an alert for each template, when its first line was written."""
    return [
        _alert(_log_instant(lines[0]), f"log template {template}", _entity_labels(graph, prefix + entity))
        for entity, template, lines, _, _ in rows
    ]


def _log_instant(line: str) -> Instant:
    return parse_rfc3339(line.split(" |", 1)[0])[0] - _LOG_ZONE


def _alert(at: Instant, name: str, labels: Mapping[str, str]) -> Raised:
    return Raised({"alertname": name, "severity": "warning", **labels}, at, at)


# sockshop_alerts


def read_sockshop(*, part: str = "test", faults: Path = FAULTS) -> System:
    """Read the failures of one part of `sockshop_alerts`, in the order of its table; it tells no times, so all of a failure is at once.

    Its own graph joins instances both ways, neighbours on a node as well as callers. What calls what is taken from the call alerts of all
    failures, service by service: any map of the shop says the same.
    """
    folder = faults / "sockshop_alerts"
    nodes, metrics, calls, logs = [
        orjson.loads((folder / "raw" / f"{kind}.json").read_bytes()) for kind in ("nodes", "metrics", "traces", "logs")
    ]
    graph = _shop(next(iter(nodes.values())), [call for rows in calls.values() for call in rows])
    with (folder / "label.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["data_type"] == part]
    found = []
    for place, row in enumerate(rows):
        at, index = _TIMELESS + place * HOUR, row["index"]
        own = [_alert(at, f"{metric} {direction}", _entity_labels(graph, entity)) for entity, metric, direction in metrics[index]]
        called = [_shop_call(at, call) for call in calls[index] if call[1] != _UNKNOWN_CALLER]
        templates = [
            _alert(at, f"log template {template.rsplit('-', 1)[1]}", _entity_labels(graph, entity)) for entity, template in logs[index]
        ]
        found.append(Fault(index, index, row["instance"], (*own, *called), tuple(templates)))
    return System(graph, tuple(found))


def _shop(instances: Iterable[str], calls: Iterable[Sequence[str]]) -> Graph:
    graph: Graph = {"services": {_service(name): {} for name in instances}, "instances": {}, "hosts": {}}
    for name in instances:
        graph["instances"][name] = {"of": _service(name)}
    for caller, callee in dict.fromkeys((_service(caller), _service(callee)) for caller, callee, _, _ in calls):
        if caller != callee and caller in graph["services"] and callee in graph["services"]:
            graph["services"][caller].setdefault("depends_on", []).append(callee)
    return graph


def _service(instance: str) -> str:
    return instance.rsplit("-", 1)[0]


def _shop_call(at: Instant, call: Sequence[str]) -> Raised:
    caller, callee, operation, kind = call
    client = {} if caller == _UNKNOWN_CALLER else {"client": caller}
    return _alert(at, _NAME_BY_CALL_KIND[kind], {**client, "server": callee, "operation": operation})


def main() -> None:
    """Write every system, for `correlator replay` and for people to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faults", type=Path, default=FAULTS, help="where the sets lie")
    arguments = parser.parse_args()
    first, second = [read_system(name, prefix=f"{name}/", faults=arguments.faults) for name in (MICROSS, CLOUDBED)]
    systems = {MICROSS: first, CLOUDBED: second, "squeezed": joined(squeezed(first, into=second), second)}
    for name, system in systems.items():
        events, topology = write_system(system, arguments.folder / name)
        print(f"{events} {topology}")


if __name__ == "__main__":
    main()
