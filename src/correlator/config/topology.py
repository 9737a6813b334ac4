"""Checked topology files to one `Topology`: names declared once, references resolved, cycles and doubles found."""

from collections.abc import Sequence
from typing import Final

import networkx as nx

from correlator.config.located import Path
from correlator.config.nearest import Suggester
from correlator.config.problem import Findings, Mark
from correlator.config.schema import (
    DependencySection,
    EdgeSection,
    EntitySection,
    ExternalSection,
    HostSection,
    InstanceSection,
    ServiceSection,
)
from correlator.config.validate import BROKEN, Validated, path_text
from correlator.model.instant import Duration
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

NODES_LIMIT: Final = 200_000
EDGES_LIMIT: Final = 2_000_000
CYCLES_LIMIT: Final = 20
"""Cycles that are warned of one by one."""
_CYCLE_SHOWN: Final = 6
"""Names of one cycle that a message lists."""

_SECTIONS: Final[tuple[tuple[str, NodeKind, type[EntitySection]], ...]] = (
    ("services", NodeKind.SERVICE, ServiceSection),
    ("instances", NodeKind.INSTANCE, InstanceSection),
    ("hosts", NodeKind.HOST, HostSection),
    ("external", NodeKind.EXTERNAL, ExternalSection),
)
_KIND_BY_WORD: Final = {"depends_on": EdgeKind.CALLS, **{kind.value: kind for kind in EdgeKind if kind is not EdgeKind.OTHER}}
_ARTICLE: Final = {
    NodeKind.SERVICE: "a service",
    NodeKind.INSTANCE: "an instance",
    NodeKind.HOST: "a host",
    NodeKind.EXTERNAL: "an external",
}
_CALLED: Final = (NodeKind.SERVICE, NodeKind.INSTANCE, NodeKind.EXTERNAL)

_Place = tuple[Validated, Path]


class TopologyCompiler:
    """Merges checked files; `compile` answers the graph, which is only to be used when no errors were found."""

    def __init__(self, files: Sequence[Validated], *, findings: Findings, suggester: Suggester) -> None:
        self._files = files
        self._findings = findings
        self._suggester = suggester
        self._own_kinds: dict[str, str] = {}
        self._kinds: dict[str, NodeKind] = {}
        self._places: dict[str, _Place] = {}
        self._edges: dict[tuple[str, str, EdgeKind, str | None], Edge] = {}
        self._edge_places: dict[tuple[str, str], _Place] = {}

    @property
    def services(self) -> int:
        """How many services are declared, broken ones too."""
        return sum(1 for kind in self._kinds.values() if kind is NodeKind.SERVICE)

    @property
    def edges(self) -> int:
        """How many edges were found sound."""
        return len(self._edges)

    def compile(self) -> Topology:
        """Declare every name, then resolve what refers to them, then look at the graph as a whole."""
        for file in self._files:
            for section, kind, _ in _SECTIONS:
                self._declare(file, section, kind=kind)
        self._check_limits()
        split_by = self._split_by()
        nodes = self._nodes()
        for file in self._files:
            self._entity_edges(file)
            for path, edge in file.members("edges", EdgeSection):
                self._long_edge(edge, (file, path))
        self._warn_of_cycles()
        return Topology(nodes=tuple(nodes), edges=tuple(self._edges.values()), split_by=split_by)

    def _declare(self, file: Validated, section: str, *, kind: NodeKind) -> None:
        for name in file.names(section):
            place = (file, (section, name))
            if name in self._kinds:
                first = _key_mark(self._places[name])
                as_what = "" if kind is self._kinds[name] else f" as {_ARTICLE[self._kinds[name]]}"
                self._findings.error(_key_mark(place), f"duplicate name '{name}', first declared{as_what} at {first}")
                continue
            if not name.isprintable():
                self._findings.error(_key_mark(place), f"the name {name!r} holds a character that cannot be seen")
            self._kinds[name] = kind
            self._places[name] = place

    def _check_limits(self) -> None:
        if len(self._kinds) > NODES_LIMIT:
            name = list(self._kinds)[NODES_LIMIT]
            self._findings.error(
                _key_mark(self._places[name]), f"more than {NODES_LIMIT} services, instances, hosts and externals together"
            )

    def _split_by(self) -> tuple[str, ...]:
        labels: tuple[str, ...] = ()
        first: Mark | None = None
        for file in self._files:
            written = file.scalar("split_by")
            if not isinstance(written, list):
                continue
            where = file.document.mark(("split_by",), of_key=True)
            here = tuple([str(label) for label in written])
            if first is None:
                labels, first = here, where
            elif here != labels:
                self._findings.error(where, f"'split_by' differs from the one at {first}; the whole graph is split by the same labels")
        return labels

    def _nodes(self) -> list[Node]:
        nodes: list[Node] = []
        domains: dict[str, str | None] = {}
        for section, kind, schema in _SECTIONS:  # services first: an instance is in its service's domain
            for file in self._files:
                general = file.scalar("domain")
                for path, entity in file.members(section, schema):
                    domain = entity.domain or (domains.get(entity.of) if isinstance(entity, InstanceSection) else None)
                    domain = domain or (general if isinstance(general, str) else None)
                    name = str(path[1])
                    domains[name] = domain
                    nodes.append(Node(name=name, kind=kind, owner=entity.owner, tier=entity.tier, zone=entity.zone, domain=domain))
        return nodes

    def _entity_edges(self, file: Validated) -> None:
        for path, service in file.members("services", ServiceSection):
            for rank, dependency in enumerate(service.depends_on):
                self._dependency(str(path[1]), dependency, place=(file, (*path, "depends_on", rank)))
            self._runs_on(service.runs_on, (file, path))
        for path, instance in file.members("instances", InstanceSection):
            if self._is_one_of(instance.of, (NodeKind.SERVICE,), place=(file, (*path, "of"))):
                # The service suffers from its instance, so it is the one that depends.
                self._add(Edge(source=instance.of, target=str(path[1]), kind=EdgeKind.OF), (file, path))
            self._runs_on(instance.runs_on, (file, path))

    def _dependency(self, source: str, dependency: str | DependencySection, *, place: _Place) -> None:
        delay: Duration | None = None
        target = dependency if isinstance(dependency, str) else dependency.target
        if isinstance(dependency, DependencySection):
            file, path = place
            place = (file, (*path, "name" if dependency.service is None else "service"))
            delay = dependency.delay
        if self._is_one_of(target, _CALLED, place=place):
            self._add(Edge(source=source, target=target, kind=EdgeKind.CALLS, delay=delay), place)

    def _runs_on(self, hosts: tuple[str, ...], place: _Place) -> None:
        file, path = place
        for rank, host in enumerate(hosts):
            where = (file, (*path, "runs_on", rank))
            if self._is_one_of(host, (NodeKind.HOST,), place=where):
                self._add(Edge(source=str(path[1]), target=host, kind=EdgeKind.RUNS_ON), where)

    def _long_edge(self, written: EdgeSection, place: _Place) -> None:
        file, path = place
        kind = _KIND_BY_WORD.get(written.kind, EdgeKind.OTHER)
        sources, targets = _allowed(kind)
        has_source = self._is_one_of(written.source, sources, place=(file, (*path, "from")))
        has_target = self._is_one_of(written.target, targets, place=(file, (*path, "to")))
        if not (has_source and has_target):
            return
        source, target = written.source, written.target
        if kind is EdgeKind.OF:
            source, target = target, source  # as for `of` of an instance
        label = written.kind if kind is EdgeKind.OTHER else None
        if label is not None and label not in self._own_kinds:
            self._own_kinds[label] = self._suggester.hint(label, _KIND_BY_WORD)
        meant = self._own_kinds.get(label or "")
        if meant:
            self._findings.warning(file.document.mark((*path, "kind")), f"'{label}' is a kind of your own", hint=meant)
        self._add(Edge(source=source, target=target, kind=kind, delay=written.delay, label=label), place)

    def _is_one_of(self, name: str, allowed: tuple[NodeKind, ...], *, place: _Place) -> bool:
        """Answer whether the name is declared as an allowed kind; record the mistake where it is not."""
        kind = self._kinds.get(name)
        if kind in allowed:
            return True
        if name == BROKEN:
            return False
        file, path = place
        if self._findings.is_full:
            self._findings.error(Mark(file.document.file), "")
        elif kind is None:
            hint = self._suggester.hint(name, self._kinds)
            self._findings.error(file.document.mark(path), f"{path_text(path)}: nothing is called '{name}'", hint=hint)
        else:
            wanted = " or ".join(_ARTICLE[each] for each in allowed)
            message = f"{path_text(path)}: '{name}' is {_ARTICLE[kind]}, not {wanted}"
            self._findings.error(file.document.mark(path), message, hint=_cure(path, kind))
        return False

    def _add(self, edge: Edge, place: _Place) -> None:
        file, path = place
        if edge.source == edge.target:
            self._findings.warning(file.document.mark(path), f"'{edge.source}' depends on itself; the edge is left out")
            return
        key = (edge.source, edge.target, edge.kind, edge.label)
        earlier = self._edges.get(key)
        if earlier is not None:
            other = "" if earlier.delay == edge.delay else " with another delay; the first one holds"
            kind = edge.label or edge.kind.value
            message = f"the edge '{edge.source}' {kind} '{edge.target}' is written twice{other}"
            self._findings.warning(file.document.mark(path), message)
            return
        if len(self._edges) == EDGES_LIMIT:
            self._findings.error(file.document.mark(path), f"more than {EDGES_LIMIT} edges")
            return
        self._edges[key] = edge
        self._edge_places.setdefault((edge.source, edge.target), place)

    def _warn_of_cycles(self) -> None:
        graph = nx.DiGraph()
        graph.add_edges_from([(edge.source, edge.target) for edge in self._edges.values()])
        rank = {name: number for number, name in enumerate(self._kinds)}
        knots = [sorted(knot, key=rank.__getitem__) for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
        knots.sort(key=lambda knot: rank[knot[0]])
        for knot in knots[:CYCLES_LIMIT]:
            cycle = _shortest_cycle(graph, knot)
            file, path = self._edge_places[cycle[0], cycle[1]]
            more = f"; {len(knot)} names are on cycles here" if len(knot) > len(cycle) - 1 else ""
            self._findings.warning(file.document.mark(path), f"cycle: {_listed(cycle)}{more}")
        if len(knots) > CYCLES_LIMIT:
            where = Mark(self._files[-1].document.file)
            self._findings.warning(where, f"{len(knots) - CYCLES_LIMIT} more cycles, not listed")


def _shortest_cycle(graph: "nx.DiGraph[str]", knot: list[str]) -> list[str]:
    """Answer a shortest cycle through the first name of a strongly connected component, that name at both ends."""
    first, members = knot[0], frozenset(knot)
    came_from: dict[str, str] = {}
    frontier = [first]
    while first not in came_from:
        reached: list[str] = []
        for name in frontier:
            for target in graph.successors(name):
                if target in members and target not in came_from:
                    came_from[target] = name
                    reached.append(target)
        frontier = reached
    cycle = [first]
    while len(cycle) == 1 or cycle[-1] != first:
        cycle.append(came_from[cycle[-1]])
    return cycle[::-1]


def _listed(cycle: list[str]) -> str:
    if len(cycle) <= _CYCLE_SHOWN + 1:
        return " -> ".join(cycle)
    return " -> ".join([*cycle[:_CYCLE_SHOWN], f"({len(cycle) - _CYCLE_SHOWN - 1} more)", cycle[-1]])


def _allowed(kind: EdgeKind) -> tuple[tuple[NodeKind, ...], tuple[NodeKind, ...]]:
    """Answer which kinds of entity an edge may come from and lead to."""
    anything = tuple(NodeKind)
    if kind is EdgeKind.RUNS_ON:
        return anything, (NodeKind.HOST,)
    if kind is EdgeKind.OF:
        return (NodeKind.INSTANCE,), (NodeKind.SERVICE,)
    return anything, anything


def _cure(path: Path, kind: NodeKind) -> str:
    if kind is NodeKind.HOST and "depends_on" in path:
        return "write it in 'runs_on'"
    if kind is not NodeKind.HOST and "runs_on" in path:
        return "write it in 'depends_on'"
    return ""


def _key_mark(place: _Place) -> Mark:
    file, path = place
    return file.document.mark(path, of_key=True)
