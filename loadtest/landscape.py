"""The invented company that a storm strikes: services in layers, what each depends on, and the hosts where it runs."""

from collections.abc import Iterator
from random import Random

import msgspec

DOMAINS = (
    "payments",
    "orders",
    "catalog",
    "search",
    "cart",
    "checkout",
    "shipping",
    "inventory",
    "pricing",
    "promo",
    "accounts",
    "identity",
    "sessions",
    "reviews",
    "media",
    "messaging",
    "billing",
    "invoices",
    "fraud",
    "loyalty",
    "returns",
    "analytics",
    "reports",
    "geo",
    "partners",
)
ROLES = (("web", 0), ("gateway", 1), ("api", 2), ("worker", 2), ("engine", 3), ("sync", 3), ("cache", 4), ("db", 4))
BOTTOM = 4
REPLICAS_BY_LAYER = (36, 30, 24, 18, 14)
HOSTS = 120
CLUSTERS = ("eu-1", "eu-2", "us-1", "ap-1")
ZONES = ("a", "b", "c")
EXTERNALS = (
    ("card-network", "vendor-desk"),
    ("sms-carrier", "vendor-desk"),
    ("mail-relay", "vendor-desk"),
    ("tax-registry", "finance-systems"),
    ("parcel-tracker", "logistics-desk"),
    ("map-tiles", "vendor-desk"),
)
SHARED_DOMAINS = ("identity", "sessions", "pricing", "inventory")
DELAYS_MS = (2_000, 4_000, 6_000, 10_000, 15_000, 20_000, 30_000, 45_000)


class Service(msgspec.Struct, frozen=True):
    """A service, the same in every cluster; layer 0 faces customers, the bottom layer keeps data."""

    name: str
    domain: str
    role: str
    layer: int
    hosts: tuple[str, ...]


class Edge(msgspec.Struct, frozen=True):
    """`source` depends on `target`; trouble travels back along it in about `delay` ms. A hidden edge is not in the topology file."""

    source: str
    target: str
    kind: str
    delay: int
    is_declared: bool
    is_hidden: bool


class Landscape(msgspec.Struct, frozen=True):
    """Services in order of creation and the edges between them; the graph stands once per cluster."""

    services: tuple[Service, ...]
    edges: tuple[Edge, ...]
    clusters: tuple[str, ...]

    def dependents(self) -> dict[str, tuple[Edge, ...]]:
        """Edges by what they point at: the ways on which a fault spreads."""
        found: dict[str, list[Edge]] = {}
        for edge in self.edges:
            found.setdefault(edge.target, []).append(edge)
        return {target: tuple(edges) for target, edges in found.items()}


def build(dice: Random, *, services: int, clusters: int, hide_edges: float) -> Landscape:
    """Invent a landscape; `hide_edges` is the fraction of edges that the topology file will not tell."""
    if not 1 <= clusters <= len(CLUSTERS):
        raise ValueError(f"clusters must be 1 to {len(CLUSTERS)}, not {clusters}")
    crew = tuple(_service(dice, number) for number in range(services))
    edges: list[Edge] = []
    for service in crew:
        targets = _targets(dice, service, crew)
        edges.extend(_edge(dice, service, target, hide_edges=hide_edges) for target in targets)
    return Landscape(services=crew, edges=(*edges, *_external_edges(dice, crew)), clusters=CLUSTERS[:clusters])


def _service(dice: Random, number: int) -> Service:
    role, layer = ROLES[number % len(ROLES)]
    turn, place = divmod(number // len(ROLES), len(DOMAINS))
    domain = DOMAINS[place] if turn == 0 else f"{DOMAINS[place]}{turn + 1}"
    chosen = dice.sample(range(HOSTS), REPLICAS_BY_LAYER[layer])
    hosts = tuple(f"node-{host:03d}" for host in sorted(chosen))
    return Service(name=f"{domain}-{role}", domain=domain, role=role, layer=layer, hosts=hosts)


def _targets(dice: Random, service: Service, crew: tuple[Service, ...]) -> list[Service]:
    """Up to six deeper services: mostly of the own domain, some of others, the shared domains more often."""
    deeper = [other for other in crew if service.layer < other.layer <= service.layer + 2]
    own = [other for other in deeper if other.domain == service.domain]
    foreign = [other for other in deeper if other.domain != service.domain and other.layer < BOTTOM]
    chosen = dice.sample(own, min(len(own), dice.randint(2, 3)))
    if foreign:
        weights = [4 if other.domain in SHARED_DOMAINS else 1 for other in foreign]
        for other in dice.choices(foreign, weights, k=dice.randint(1, 3)):
            if other not in chosen:
                chosen.append(other)
    return chosen


def _edge(dice: Random, source: Service, target: Service, *, hide_edges: float) -> Edge:
    kind = "stores_in" if target.role == "db" else "calls"
    delay, is_declared, is_hidden = dice.choice(DELAYS_MS), dice.random() < 0.15, dice.random() < hide_edges
    return Edge(source=source.name, target=target.name, kind=kind, delay=delay, is_declared=is_declared, is_hidden=is_hidden)


def _external_edges(dice: Random, crew: tuple[Service, ...]) -> Iterator[Edge]:
    callers = [service.name for service in crew if service.role in {"sync", "engine"}]
    for name, _ in EXTERNALS:
        for caller in dice.sample(callers, min(2, len(callers))):
            yield Edge(source=caller, target=name, kind="calls", delay=5_000, is_declared=False, is_hidden=False)


def topology_lines(landscape: Landscape, *, domains: int = 1) -> Iterator[str]:
    """The topology file, a line per service, without the hidden edges.

    With more than one correlation domain each business domain is in one of them, in turn: the first is the default one.
    """
    business = sorted({service.domain for service in landscape.services})
    rank_by_domain = {domain: rank % domains for rank, domain in enumerate(business)}
    calls: dict[str, list[str]] = {}
    for edge in landscape.edges:
        if edge.kind == "calls" and not edge.is_hidden:
            calls.setdefault(edge.source, []).append(_target_text(edge))
    yield "split_by: [cluster]\nservices:\n"
    for service in landscape.services:
        depends_on, runs_on = ", ".join(calls.get(service.name, ())), ", ".join(service.hosts)
        tier, rank = min(service.layer + 1, 3), rank_by_domain[service.domain]
        domain = f"domain: part-{rank}, " if rank else ""
        owner = f"owner: team-{service.domain}, {domain}"
        yield f"  {service.name}: {{{owner}tier: {tier}, depends_on: [{depends_on}], runs_on: [{runs_on}]}}\n"
    yield "hosts:\n"
    for number in range(HOSTS):
        yield f"  node-{number:03d}: {{zone: {ZONES[number % len(ZONES)]}}}\n"
    yield "external:\n"
    for name, owner in EXTERNALS:
        yield f"  {name}: {{owner: {owner}}}\n"
    yield from _stores(landscape)


def _target_text(edge: Edge) -> str:
    return f"{{service: {edge.target}, delay: {edge.delay // 1000}s}}" if edge.is_declared else edge.target


def _stores(landscape: Landscape) -> Iterator[str]:
    stores = [edge for edge in landscape.edges if edge.kind == "stores_in" and not edge.is_hidden]
    if stores:
        yield "edges:\n"
    for edge in stores:
        delay = f", delay: {edge.delay // 1000}s" if edge.is_declared else ""
        yield f"  - {{from: {edge.source}, to: {edge.target}, kind: stores_in{delay}}}\n"
