"""The service dependency graph: nodes, typed edges, and which of them an alert belongs to."""

from collections import deque
from functools import cached_property
from typing import Final

import msgspec
import xxhash

from correlator.model.instant import Duration
from correlator.model.word import Word


class NodeKind(Word):
    """What a node of the graph is."""

    SERVICE = "service"
    INSTANCE = "instance"
    HOST = "host"
    EXTERNAL = "external"


class EdgeKind(Word):
    """What an edge means; it points from what depends to what it depends on."""

    CALLS = "calls"
    RUNS_ON = "runs_on"
    STORES_IN = "stores_in"
    OF = "of"
    OTHER = "other"


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entity an alert can belong to; `name` is unique in its topology."""

    name: str
    kind: NodeKind
    owner: str | None = None
    tier: int | None = None
    zone: str | None = None
    domain: str | None = None


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """`source` depends on `target`; `delay` is how long a fault takes to show at the source, where declared.

    `label` is the kind as it was written, where it is none of the built-in kinds.
    """

    source: str
    target: str
    kind: EdgeKind
    delay: Duration | None = None
    label: str | None = None


DEPENDENTS_MOST: Final = 5_000
"""Nobody follows a fault further than over this many entities."""
REMEMBERED_MOST: Final = 2_000

ENTITY_LABELS: Final = ("pod", "instance", "service", "host")
_LABELS_IN_ORDER: Final = (*ENTITY_LABELS, "server", "client")
"""Labels that may name an entity, the most specific first."""


class Topology(msgspec.Struct, frozen=True, dict=True):
    """The graph as declared. `split_by` names labels whose values each have a copy of it (a cluster, say)."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    split_by: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the content."""
        return xxhash.xxh3_64_hexdigest(msgspec.json.encode(self))

    @cached_property
    def node_by_name(self) -> dict[str, Node]:
        """Nodes by name, in declaration order."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def dependencies(self) -> dict[str, tuple[Edge, ...]]:
        """Edges by their source: what each node depends on."""
        return _grouped(self.edges, by_source=True)

    @cached_property
    def dependents(self) -> dict[str, tuple[Edge, ...]]:
        """Edges by their target: what depends on each node."""
        return _grouped(self.edges, by_source=False)

    @cached_property
    def _reached(self) -> dict[str, tuple[str, ...]]:
        return {}

    def all_dependents(self, name: str) -> tuple[str, ...]:
        """Answer all that depends on a node, directly or not, nearest first, up to `DEPENDENTS_MOST`. Remembered for some nodes."""
        known = self._reached.get(name)
        if known is None:
            if len(self._reached) >= REMEMBERED_MOST:
                self._reached.clear()
            known = self._reached[name] = self._spread(name)
        return known

    def _spread(self, name: str) -> tuple[str, ...]:
        seen, queue = {name: None}, deque([name])
        while queue and len(seen) <= DEPENDENTS_MOST:
            for edge in self.dependents.get(queue.popleft(), ()):
                if edge.source not in seen:
                    seen[edge.source] = None
                    queue.append(edge.source)
        return tuple(list(seen)[1 : DEPENDENTS_MOST + 1])

    def entity_of(self, labels: dict[str, str]) -> str | None:
        """Answer the most specific label value that is a node here, or None when no label names one.

        An alert about a call (`client` and `server`) belongs to its server where no plainer label is known.
        """
        nodes = self.node_by_name
        for label in _LABELS_IN_ORDER:
            node = nodes.get(labels[label]) if label in labels else None
            if node is not None:
                return node.name  # one text for all its alerts
        return None

    def scope_of(self, labels: dict[str, str]) -> tuple[str, ...]:
        """Answer which copy of the graph these labels speak of: the values of `split_by`, empty where a label is missing."""
        return tuple([labels.get(label, "") for label in self.split_by]) if self.split_by else ()


def _grouped(edges: tuple[Edge, ...], *, by_source: bool) -> dict[str, tuple[Edge, ...]]:
    groups: dict[str, list[Edge]] = {}
    for edge in edges:
        groups.setdefault(edge.source if by_source else edge.target, []).append(edge)
    return {name: tuple(group) for name, group in groups.items()}
