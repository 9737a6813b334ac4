"""Stories: small random storms over a small topology, cut into deliveries to raw partitions. Equal seeds tell equal stories.

The world of a story is as dense as its laws need: every partition hears something every few seconds, so that no source falls out
and twenty witnesses are there soon after a doubtful step of time.
"""

from random import Random
from typing import Final

import msgspec

from correlator.frames.control import Control
from correlator.model.instant import MINUTE, SECOND, Duration, Instant
from correlator.model.rule import AlertRule, Expiry, Grouping, Identity, Matcher, MatchOperator, Retention, RuleSet
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology

from tests.builders import T0

SLOT: Final = SECOND
"""Deliveries and restarts happen once a slot of virtual time."""
YEAR_2100: Final[Instant] = 4_102_444_800_000
WARM_UP: Final = 4
"""Slots before the first delivery and between it and the first fault: sources must have registered before one may lag."""
FIRST_RECORDS: Final = 24
"""Records of a partition's first delivery: the arrival clock of a recording believes its start after twenty witnesses."""
SETTLING: Final[Duration] = 26 * MINUTE
"""How long a live story goes on in silence: longer than anything that its rules wait for."""
_SERVICES: Final = ("web", "cart", "payments", "db", "mail", "search")
_EDGES: Final = (("web", "cart"), ("web", "payments"), ("cart", "db"), ("payments", "db"), ("web", "search"))
_CONDITIONS: Final = ("Down", "Slow", "Errors")
_BROKEN: Final = (b"{", b"", b"\xff\xfe", b'{"status": "firing"}', b'{"at": 1, "status": "firing", "labels": {}}', b"[]", b"null", b"NaN")
_SLOW: Final = (Matcher("alertname", MatchOperator.EQUAL, "Slow"),)
_FREE: Final = ("replica",)


class Delivery(msgspec.Struct, frozen=True):
    """Records that a publisher sends to one partition in one transaction, no sooner than in `slot`; `stamps` are their own times.

    `may_wait` says for how many slots the whole delivery may be held back with no more disorder than `reorder` allows.
    `is_plain` says that sending it twice may change counts alone.
    """

    slot: int
    partition: int
    values: list[bytes]
    stamps: list[Instant]
    may_wait: int
    is_plain: bool


class Story(msgspec.Struct, frozen=True):
    """The input of a run, and all that is configured about it. In slot `changes_at` the rules become `later`."""

    control: Control
    later: Control
    changes_at: int
    domains: tuple[str, ...]
    partitions: int
    is_recording: bool
    slots: int
    deliveries: list[Delivery]

    @property
    def facts(self) -> str:
        """Say in a line what kind of story this is."""
        kind = "a recording" if self.is_recording else "live"
        rules = ", ".join(rule.name for rule in self.control.rules.alerts) or "none"
        records = sum(len(delivery.values) for delivery in self.deliveries)
        shape = f"{self.partitions} partitions, {len(self.domains)} domains"
        return f"{kind}, {shape}, {records} records in {self.slots} slots, alert rules: {rules}"


def items_of(value: bytes) -> int:
    """Count the items of a record as a person would: those of a list one by one, anything else is one."""
    try:
        document = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1
    return max(len(document), 1) if isinstance(document, list) else 1


def a_story(seed: int) -> Story:
    """Tell the story of a seed."""
    random = Random(f"story {seed}")
    domains = ("default", "side") if random.random() < 0.4 else ("default",)
    control = Control(_rules(random), _topology(domains))
    is_recording = random.random() < 0.5
    teller = _Teller(random, control, is_recording=is_recording)
    partitions, slots = random.randint(1, 3), random.randint(25, 60)
    deliveries = [teller.first(partition) for partition in range(partitions)]
    for slot in range(2 * WARM_UP, slots):
        deliveries += [teller.delivery(slot, partition) for partition in range(partitions)]
    changes_at = Random(f"change {seed}").randint(2 * WARM_UP + 1, slots - 1)
    return Story(control, _changed(control), changes_at, domains, partitions, is_recording, slots, deliveries)


def _changed(control: Control) -> Control:
    """Answer rules and a topology with another digest that judge the alerts of a story as those before do."""
    nobody = AlertRule("nobody", (Matcher("service", MatchOperator.EQUAL, "not there"),), hold=MINUTE)
    rules = msgspec.structs.replace(control.rules, alerts=(*control.rules.alerts, nobody))
    nodes = (*control.topology.nodes, Node("not there", NodeKind.SERVICE))
    return Control(rules, msgspec.structs.replace(control.topology, nodes=nodes))


def _topology(domains: tuple[str, ...]) -> Topology:
    side = domains[1] if len(domains) > 1 else None
    nodes = [Node(name, NodeKind.SERVICE, owner=f"{name}-team", tier=1 + rank % 3) for rank, name in enumerate(_SERVICES)]
    sided = [msgspec.structs.replace(node, domain=side if node.name in ("mail", "search") else None) for node in nodes]
    return Topology(tuple(sided), tuple([Edge(source, target, EdgeKind.CALLS) for source, target in _EDGES]))


def _rules(random: Random) -> RuleSet:
    alerts = random.choice(
        (
            (),
            (),
            (AlertRule("hold", _SLOW, hold=5 * SECOND),),
            (AlertRule("keep", _SLOW, keep_firing=8 * SECOND),),
            (AlertRule("hold and keep", _SLOW, hold=4 * SECOND, keep_firing=6 * SECOND),),
            (AlertRule("now", _SLOW, settle=0),),
            (AlertRule("brief", _SLOW, expiry=7 * SECOND),),
        )
    )
    return RuleSet(
        identity=Identity(ignore=_FREE if random.random() < 0.5 else ()),
        expiry=Expiry(native=random.choice((12 * SECOND, 25 * SECOND, MINUTE))),
        grouping=Grouping(window=random.choice((15 * SECOND, MINUTE)), settle=random.choice((0, 5 * SECOND, 15 * SECOND))),
        retention=Retention(close_after=random.choice((10 * SECOND, MINUTE)), closed=2 * MINUTE, alert=MINUTE),
        alerts=alerts,
    )


class _Teller:
    """Makes up deliveries; all chance comes from the one generator."""

    def __init__(self, random: Random, control: Control, *, is_recording: bool) -> None:
        self._random = random
        self._rules = control.rules
        self._is_recording = is_recording
        self._replicas = ("a", "b") if control.rules.identity.ignore else ("a",)
        self._oddity = random.choice((0.0, 0.02, 0.06))
        self._density = random.choice((1, 3, 6))

    def first(self, partition: int) -> Delivery:
        """Tell what a partition hears first: every service, so that it registers in every domain."""
        start = T0 + WARM_UP * SLOT
        names = [f"{_SERVICES[rank % len(_SERVICES)]}/{_CONDITIONS[rank % len(_CONDITIONS)]}" for rank in range(FIRST_RECORDS)]
        values = [self._event(name, at=start, arrival=start) for name in names]
        return Delivery(WARM_UP, partition, values, [start] * len(values), may_wait=0, is_plain=True)

    def delivery(self, slot: int, partition: int) -> Delivery:
        """Tell what a partition hears in a slot."""
        arrival = T0 + slot * SLOT
        lags: list[Duration] = []
        values: list[bytes] = []
        stamps: list[Instant] = []
        for _ in range(self._random.randint(1, self._density)):
            lag = self._lag()
            value, stamp = self._record(arrival, lag)
            values.append(value)
            stamps.append(stamp)
            lags.append(lag)
        slack = (self._rules.time.reorder - 1 - max(lags)) // SLOT
        is_plain = all(stamp == arrival for stamp in stamps) and b"4102444800000" not in b"".join(values)
        return Delivery(slot, partition, values, stamps, may_wait=max(slack, 0) if is_plain else 0, is_plain=is_plain)

    def _lag(self) -> Duration:
        lags = (0, 0, 1, 250, SECOND, 3 * SECOND)
        if self._random.random() < 2 * self._oddity:
            return self._random.choice((9_999, 10 * SECOND, 10_001, 20 * SECOND, 16 * MINUTE))
        return self._random.choice(lags)

    def _record(self, arrival: Instant, lag: Duration) -> tuple[bytes, Instant]:
        if self._random.random() >= self._oddity:
            return self._event(self._name(), at=arrival - lag, arrival=arrival), arrival
        kind = self._random.choice(("broken", "claims 2100", "speaks of 2100", "list"))
        if kind == "broken":
            return self._random.choice(_BROKEN), arrival
        if kind == "claims 2100":
            return self._event(self._name(), at=arrival, arrival=YEAR_2100), arrival if self._is_recording else YEAR_2100
        if kind == "speaks of 2100":
            return self._event(self._name(), at=YEAR_2100, arrival=arrival), arrival
        good = [self._event(self._name(), at=arrival, arrival=arrival) for _ in range(self._random.randint(1, 3))]
        return b"[" + b",".join([*good, b'{"labels": 1}']) + b"]", arrival

    def _name(self) -> str:
        return f"{self._random.choice((*_SERVICES, 'nowhere'))}/{self._random.choice(_CONDITIONS)}"

    def _event(self, name: str, *, at: Instant, arrival: Instant) -> bytes:
        service, _, condition = name.partition("/")
        status = "firing" if self._random.random() < 0.7 else "resolved"
        labels = {"alertname": condition, "service": service, "severity": "critical", "replica": self._random.choice(self._replicas)}
        event: dict[str, object] = {"at": at, "status": status, "labels": labels}
        if self._is_recording:
            event["receivedAt"] = arrival
        if self._random.random() < 0.1:
            event["annotations"] = {"summary": f"{name} \u00e4 \\ {at}"}
        return msgspec.json.encode(event)
