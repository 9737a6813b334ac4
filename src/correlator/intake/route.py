"""Route: which domain, and so which partition of the frames topic, an alert belongs to.

In: labels. Out: a partition number. Remembers the topology's domains.
"""

from typing import Final

from correlator.model.topology import Topology

DEFAULT_DOMAIN: Final = "default"


class Router:
    """Maps labels to a frames partition; services that name no domain, and unknown ones, are in the default domain."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        named = sorted({node.domain for node in topology.nodes if node.domain is not None and node.domain != DEFAULT_DOMAIN})
        self.domains: tuple[str, ...] = (DEFAULT_DOMAIN, *named)
        self._partition_by_domain = {domain: number for number, domain in enumerate(self.domains)}

    def partition_of(self, entity: str | None) -> int:
        """Answer the partition of an entity, 0 for one that is unknown."""
        node = self._topology.node_by_name.get(entity) if entity is not None else None
        return self._partition_by_domain[node.domain] if node is not None and node.domain is not None else 0

    def domain_of(self, entity: str) -> str:
        """Answer the domain of an entity."""
        return self.domains[self.partition_of(entity)]
