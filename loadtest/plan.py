"""The plan of a storm: faults, the services that each reaches and when, and every firing stretch of every alert."""

from collections.abc import Iterable, Sequence
from random import Random

import msgspec

from loadtest.landscape import Edge, Landscape, Service

START = 1_767_571_200_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
LONGEST_FAULT = 70 * MINUTE
MOST_SERVICES = 25
# A series that fires again sooner than this would join its former stretch in any product.
REST = 15 * MINUTE
INTERVALS = (30 * SECOND, 120 * SECOND)
FLAPS = 0.04
NEVER_RESOLVED = 0.005

CAUSES = {
    "db": ("PostgresDown", "PostgresReplicationLag", "PostgresTooManyConnections", "DiskWillFillSoon", "PostgresDeadlocks"),
    "cache": ("RedisDown", "RedisMemoryHigh", "RedisEvictionsHigh", "RedisRejectedConnections"),
    "web": ("PodCrashLooping", "DeploymentRolloutStuck", "NginxReloadFailed", "TlsHandshakeFailures"),
    "worker": ("ContainerOomKilled", "PodCrashLooping", "ConsumerGroupStalled", "JobQueueStuck"),
}
OTHER_CAUSES = (
    "ContainerOomKilled",
    "PodCrashLooping",
    "DeploymentRolloutStuck",
    "JvmHeapExhausted",
    "CpuThrottlingSevere",
    "ConfigReloadFailed",
)
SYMPTOMS = {
    "db": ("SlowQueries", "ConnectionsNearLimit", "LockWaitsHigh", "DiskIoSaturated", "CheckpointsTooFrequent"),
    "cache": ("CacheHitRatioLow", "CommandLatencyHigh", "ClientsBlocked", "NetworkOutputSaturated"),
    "worker": ("QueueBacklogGrowing", "JobsFailing", "JobDurationHigh", "RetryRateHigh", "DeadLetterGrowth", "ThreadPoolSaturated"),
}
OTHER_SYMPTOMS = (
    "HighErrorRate",
    "HighLatencyP99",
    "HighLatencyP50",
    "UpstreamTimeouts",
    "RetryRateHigh",
    "CircuitBreakerOpen",
    "ConnectionPoolExhausted",
    "ErrorBudgetBurnFast",
    "ReadinessProbeFailing",
    "RequestQueueGrowing",
)
NOISE = (
    "CertificateExpiresSoon",
    "BackupSlow",
    "NodeClockDrift",
    "DiskSpaceLow",
    "CpuThrottlingHigh",
    "LogVolumeHigh",
    "VersionMismatch",
    "PodRestarted",
)
CRITICAL = frozenset(
    ("PostgresDown", "RedisDown", "PodCrashLooping", "HighErrorRate", "ErrorBudgetBurnFast", "ContainerOomKilled", "JobQueueStuck")
)


class Settings(msgspec.Struct, frozen=True):
    """What a storm is made of. Fractions are 0 to 1: `repeats` of all events, `noise` of the stretches, `hide_edges` of the edges.

    `domains` are those of correlation that the topology file tells of. So many seconds of `late_roots` pass before a fault's root shows it.
    """

    events: int = 1_000_000
    seed: int = 1
    services: int = 200
    faults: int = 300
    hours: float = 60.0
    clusters: int = 4
    repeats: float = 0.95
    noise: float = 0.20
    hide_edges: float = 0.0
    clock_skew: float = 0.0
    concurrency: int = 6
    domains: int = 1
    late_roots: float = 0.0


class Fault(msgspec.Struct, frozen=True):
    """Something breaks at `root` in one cluster; times in epoch ms."""

    id: str
    root: str
    cluster: str
    start: int
    end: int


class Hit(msgspec.Struct, frozen=True):
    """A fault reaches a service at `onset`."""

    fault: Fault
    service: Service
    onset: int
    is_root: bool


class Stretch(msgspec.Struct, frozen=True):
    """An alert fires from `start` until it resolves at `end`, said again every `interval` ms or so; `fault` is None for noise."""

    alertname: str
    service: str
    host: str
    cluster: str
    start: int
    end: int
    interval: int
    fault: str | None
    is_resolved: bool


class Plan(msgspec.Struct, frozen=True):
    """All faults in order of start, their hits, and all stretches in order of start with the repeats that each says."""

    faults: tuple[Fault, ...]
    hits: tuple[Hit, ...]
    stretches: tuple[Stretch, ...]
    repeats: tuple[int, ...]


def dice_for(seed: int, purpose: str) -> Random:
    """A generator of its own for each purpose, so that a change of one leaves the others alone."""
    return Random(f"{seed}/{purpose}")


def causes_of(service: Service) -> tuple[str, ...]:
    """Alert names that tell a cause at a service of this role."""
    return CAUSES.get(service.role, OTHER_CAUSES)


def symptoms_of(service: Service) -> tuple[str, ...]:
    """Alert names that a service of this role shows when something below it is broken."""
    return SYMPTOMS.get(service.role, OTHER_SYMPTOMS)


def severity_of(alertname: str) -> str:
    """The severity that the rule of this name carries."""
    if alertname in CRITICAL:
        return "critical"
    return "info" if alertname in NOISE[4:] else "warning"


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split a whole number in proportion to weights, exactly: by largest remainder, the earlier first among equals."""
    scale = max(total, 0) / (sum(weights) or 1)
    shares = [int(weight * scale) for weight in weights]
    order = sorted(range(len(weights)), key=lambda place: (shares[place] - weights[place] * scale, place))
    for place in order[: max(total, 0) - sum(shares)]:
        shares[place] += 1
    return shares


def make_plan(settings: Settings, landscape: Landscape) -> Plan:
    """Plan the whole storm; raises ValueError when so many faults do not fit into the hours."""
    wanted = max(round(settings.events * (1 - settings.repeats) / 2 / (1 + FLAPS)), settings.faults)
    noisy = round(wanted * settings.noise)
    faults = _faults(settings, landscape)
    hits = _hits(settings, landscape, faults)
    roster = _Roster(dice_for(settings.seed, "alerts"))
    shares = apportion(wanted - noisy - len(faults), _weights(settings, hits))
    planned: list[Stretch] = []
    for hit, share in zip(hits, shares, strict=True):
        planned += roster.of_hit(hit, share + hit.is_root)
    planned += _noise(settings, landscape, noisy, roster=roster)
    stretches = _unresolved(settings, sorted(_flapping(settings, planned), key=_order))
    return Plan(faults=faults, hits=hits, stretches=stretches, repeats=_repeats(settings, stretches))


def _order(stretch: Stretch) -> tuple[int, str, str, str, str]:
    return stretch.start, stretch.service, stretch.alertname, stretch.host, stretch.cluster


def _faults(settings: Settings, landscape: Landscape) -> tuple[Fault, ...]:
    dice, chosen = dice_for(settings.seed, "faults"), list[Fault]()
    run = round(settings.hours * HOUR)
    longest = min(LONGEST_FAULT, run // 4)
    for _ in range(settings.faults):
        chosen.append(_fault(dice, landscape, chosen, room=(run, longest, settings.concurrency)))
    ordered = sorted(chosen, key=lambda fault: (fault.start, fault.root, fault.cluster))
    return tuple(msgspec.structs.replace(fault, id=f"fault-{number:03d}") for number, fault in enumerate(ordered, 1))


def _fault(dice: Random, landscape: Landscape, others: list[Fault], *, room: tuple[int, int, int]) -> Fault:
    run, longest, concurrency = room
    weights = [1 if service.layer < 2 else 4 for service in landscape.services]
    for _ in range(2_000):
        length = dice.randint(longest * 2 // 7, longest)
        # The last minutes are kept free: what a fault raises ends a little after it.
        start = START + dice.randint(0, run - length - longest // 5)
        root = dice.choices(landscape.services, weights)[0].name
        fault = Fault(id="", root=root, cluster=dice.choice(landscape.clusters), start=start, end=start + length)
        if _fits(fault, others, concurrency):
            return fault
    raise ValueError(f"{len(others) + 1} faults do not fit: take more hours, fewer faults or a concurrency above {concurrency}")


def _fits(fault: Fault, others: Iterable[Fault], concurrency: int) -> bool:
    """At most `concurrency` at any moment, and never two of one root and cluster close together: nobody could tell those apart."""
    near = [other for other in others if other.start < fault.end + REST and fault.start < other.end + REST]
    if any((other.root, other.cluster) == (fault.root, fault.cluster) for other in near):
        return False
    moments = [fault.start, *(other.start for other in near if fault.start <= other.start <= fault.end)]
    return all(sum(other.start <= moment <= other.end for other in near) < concurrency for moment in moments)


def _hits(settings: Settings, landscape: Landscape, faults: Iterable[Fault]) -> tuple[Hit, ...]:
    dice, dependents = dice_for(settings.seed, "spread"), landscape.dependents()
    crew = {service.name: service for service in landscape.services}
    found: list[Hit] = []
    for fault in faults:
        onsets = _spread(dice, fault, dependents)
        onsets[fault.root] += round(settings.late_roots * SECOND)
        found += [Hit(fault=fault, service=crew[name], onset=onset, is_root=name == fault.root) for name, onset in onsets.items()]
    return tuple(found)


def _spread(dice: Random, fault: Fault, dependents: dict[str, tuple[Edge, ...]]) -> dict[str, int]:
    """Onset by service, the root first: each dependent is reached more or less surely, less so the further away."""
    onsets, frontier = {fault.root: fault.start}, [(fault.root, 0)]
    for name, depth in frontier:
        for edge in dependents.get(name, ()):
            if edge.source in onsets or len(onsets) >= MOST_SERVICES or dice.random() > 0.9 - 0.1 * depth:
                continue
            onset = onsets[name] + round(edge.delay * dice.uniform(0.5, 1.5))
            if onset < fault.end - MINUTE:
                onsets[edge.source] = onset
                frontier.append((edge.source, depth + 1))
    return onsets


def _weights(settings: Settings, hits: Iterable[Hit]) -> list[float]:
    dice = dice_for(settings.seed, "weights")
    return [dice.uniform(2, 5) * (1.5 if hit.is_root else 1) for hit in hits]


class _Roster:
    """Chooses which alert of which host fires next, and remembers all stretches, so that no alert fires twice at once."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._turns: dict[tuple[str, str, str], int] = {}
        self._taken: dict[tuple[str, str, str, str], list[tuple[int, int]]] = {}

    def of_hit(self, hit: Hit, count: int) -> list[Stretch]:
        """What a service shows of a fault: `count` stretches of two to five names, the first of them at the onset."""
        names = self._names(hit)
        found: list[Stretch] = []
        for number in range(count):
            start = hit.onset + (round(self._dice.triangular(0, 90 * SECOND, 5 * SECOND)) if number else 0)
            end = hit.fault.end + round(self._dice.uniform(5, 90) * SECOND)
            span = (min(start, hit.fault.end - MINUTE // 2), end)
            stretch = self.place(hit.service, hit.fault.cluster, alertname=names[number % len(names)], span=span)
            if stretch:
                found.append(msgspec.structs.replace(stretch, fault=hit.fault.id))
        return found

    def place(self, service: Service, cluster: str, *, alertname: str, span: tuple[int, int]) -> Stretch | None:
        """The stretch on the host whose turn it is; None when this alert is firing on all hosts."""
        turns_key = service.name, cluster, alertname
        turn = self._turns.setdefault(turns_key, self._dice.randrange(len(service.hosts)))
        for further in range(len(service.hosts)):
            host = service.hosts[(turn + further) % len(service.hosts)]
            taken = self._taken.setdefault((*turns_key, host), [])
            if all(end + REST < span[0] or span[1] + REST < start for start, end in taken):
                taken.append(span)
                self._turns[turns_key] = turn + further + 1
                return Stretch(alertname, service.name, host, cluster, *span, self._dice.randint(*INTERVALS), None, is_resolved=True)
        return None

    def _names(self, hit: Hit) -> list[str]:
        symptoms = symptoms_of(hit.service)
        count = self._dice.randint(2, min(4, len(symptoms)))
        if not hit.is_root:
            return self._dice.sample(symptoms, count)
        causes = self._dice.sample(causes_of(hit.service), 2)
        return causes + self._dice.sample(symptoms, count - 1)


def _noise(settings: Settings, landscape: Landscape, count: int, *, roster: _Roster) -> list[Stretch]:
    """Alerts that belong to no fault: anything, anywhere, at any time."""
    dice, found = dice_for(settings.seed, "noise"), list[Stretch]()
    run = round(settings.hours * HOUR)
    longest = min(LONGEST_FAULT, run // 4)
    for _ in range(count):
        service, cluster = dice.choice(landscape.services), dice.choice(landscape.clusters)
        alertname = dice.choice(NOISE if dice.random() < 0.6 else symptoms_of(service) + causes_of(service))
        length = dice.randint(longest // 20, longest)
        start = START + dice.randint(0, run - length)
        stretch = roster.place(service, cluster, alertname=alertname, span=(start, start + length))
        if stretch:
            found.append(stretch)
    return found


def _flapping(settings: Settings, stretches: Iterable[Stretch]) -> Iterable[Stretch]:
    """Some resolve for a moment and fire again: two stretches of one alert."""
    dice = dice_for(settings.seed, "flaps")
    for stretch in stretches:
        length = stretch.end - stretch.start
        if dice.random() >= FLAPS or length < 6 * MINUTE:
            yield stretch
            continue
        middle = stretch.start + round(length * dice.uniform(0.3, 0.6))
        yield msgspec.structs.replace(stretch, end=middle)
        yield msgspec.structs.replace(stretch, start=middle + dice.randint(MINUTE, 2 * MINUTE))


def _unresolved(settings: Settings, stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """A few are never said to resolve; only such that never fire again, or the next stretch would look like a repeat."""
    dice = dice_for(settings.seed, "unresolved")
    last = {(stretch.alertname, stretch.service, stretch.host, stretch.cluster): place for place, stretch in enumerate(stretches)}
    silent = {place for place in last.values() if dice.random() < NEVER_RESOLVED}
    return tuple(msgspec.structs.replace(stretch, is_resolved=place not in silent) for place, stretch in enumerate(stretches))


def _repeats(settings: Settings, stretches: Sequence[Stretch]) -> tuple[int, ...]:
    """How often each stretch says again that it fires, so that the whole storm has exactly as many events as asked for."""
    resolved = sum(stretch.is_resolved for stretch in stretches)
    weights = [(stretch.end - stretch.start) / stretch.interval for stretch in stretches]
    return tuple(apportion(settings.events - len(stretches) - resolved, weights))
