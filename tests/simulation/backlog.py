"""A backlog: everything is published over several partitions before the service starts. What comes of it is held against a replay."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec

from correlator.correlate.machine import Machine
from correlator.frames.codec import decode_frame
from correlator.frames.control import Control
from correlator.frames.frame import Extra, Frame
from correlator.intake.pipeline import Intake
from correlator.intake.route import Router
from correlator.model.instant import HOUR, MINUTE, SECOND, Duration, Instant
from correlator.model.rule import AlertRule, Expiry, Grouping, Matcher, MatchOperator, RuleSet, TimeRules
from correlator.model.topology import Edge, EdgeKind, Node, NodeKind, Topology
from correlator.runtime.ports import Position, TopicPartition

from tests.builders import T0, an_event, follow, over_the_log
from tests.laws.canonical import Canonical, canonical
from tests.simulation.faults import CELLS
from tests.simulation.laws import Reference, values_of
from tests.simulation.play import RAW, TOPICS, Play, Publisher
from tests.simulation.story import SETTLING, SLOT, Delivery, Story
from tests.simulation.world import law

_SERVICES: Final = ("web", "cart", "payments", "db", "mail", "search")
_EDGES: Final = (("web", "cart"), ("web", "payments"), ("cart", "db"), ("payments", "db"), ("web", "search"))
_SLOW: Final = (Matcher("alertname", MatchOperator.EQUAL, "Slow"),)
_DOMAINS: Final = ("default", "side", "third")
_GAPS: Final = (0, 0, 1, SECOND, 5 * SECOND, 20 * SECOND, 20 * SECOND, MINUTE, 4 * MINUTE, 17 * MINUTE, 61 * MINUTE, 3 * HOUR, 25 * HOUR)
_LAGS: Final = (0, 0, 0, 1, SECOND, 9_999)
_FAULTS: Final = [cell for cell in CELLS if cell.stage in ("intake", "correlate")]
_PLAIN: Final = Extra()
_SLOTS_MOST: Final = 400
_DOWNTIME: Final[Duration] = 7 * MINUTE


class Item(msgspec.Struct, frozen=True):
    """One record of a backlog."""

    arrival: Instant
    value: bytes
    partition: int


class Backlog(msgspec.Struct, frozen=True):
    """All that lies on the log when the service starts, in order of arrival."""

    control: Control
    domains: tuple[str, ...]
    partitions: int
    is_recording: bool
    items: list[Item]

    @property
    def story(self) -> Story:
        """The same as deliveries, all due at once."""
        deliveries = []
        for partition in range(self.partitions):
            mine = [item for item in self.items if item.partition == partition]
            values, stamps = [item.value for item in mine], [item.arrival for item in mine]
            if mine:
                deliveries.append(Delivery(0, partition, values, stamps, may_wait=0, is_plain=False))
        return Story(self.control, self.control, 0, self.domains, self.partitions, self.is_recording, 0, deliveries)


def a_backlog(seed: int) -> Backlog:
    """Tell the backlog of a seed: bursts with gaps of hours, spread item by item, by service, or in blocks as `publish` does."""
    random = Random(f"backlog {seed}")
    domains = _DOMAINS[: random.randint(1, 3)]
    partitions, is_recording = random.randint(2, 4), random.random() < 0.6
    spread, weights = random.choice((_by_chance, _by_service, _in_blocks)), random.choice((_GAPS, _GAPS[:9], _GAPS[3:]))
    items, now = list[Item](), T0
    for number in range(random.choice((5, 40, 150, 300))):
        now += random.choice(weights) if random.random() < 0.3 else random.choice(_GAPS[:5])
        name = f"{random.choice((*_SERVICES, 'nowhere'))}/{random.choice(('Down', 'Slow'))}"
        status = "firing" if random.random() < 0.7 else "resolved"
        value = an_event(name, now - random.choice(_LAGS), status=status, received=now if is_recording else None)
        items.append(Item(now, value, spread(random, number, name) % partitions))
    return Backlog(Control(_rules(random), _topology(random, domains)), domains, partitions, is_recording, items)


def _by_chance(random: Random, _number: int, _name: str) -> int:
    return random.randrange(12)


def _by_service(_random: Random, _number: int, name: str) -> int:
    return sum(name.encode())


def _in_blocks(_random: Random, number: int, _name: str) -> int:
    return number // 25


def _topology(random: Random, domains: Sequence[str]) -> Topology:
    nodes = [
        Node(name, NodeKind.SERVICE, domain=domains[rank] if rank < len(domains) else random.choice(domains))
        for rank, name in enumerate(_SERVICES)
    ]
    return Topology(tuple(nodes), tuple([Edge(source, target, EdgeKind.CALLS) for source, target in _EDGES]))


def _rules(random: Random) -> RuleSet:
    alerts = random.choice(((), (AlertRule("hold", _SLOW, hold=MINUTE),), (AlertRule("brief", _SLOW, expiry=MINUTE),)))
    return RuleSet(
        time=TimeRules(max_hold=random.choice((20 * SECOND, 5 * MINUTE))),
        expiry=Expiry(native=random.choice((25 * SECOND, 15 * MINUTE))),
        grouping=Grouping(window=random.choice((15 * SECOND, 5 * MINUTE)), settle=random.choice((0, 30 * SECOND))),
        alerts=alerts,
    )


class BacklogPlay(Play):
    """Publishes a backlog, starts the service, lets it fail now and then, and waits until all is judged."""

    def __init__(self, backlog: Backlog, seed: int, *, faults: bool = False) -> None:
        super().__init__(backlog.story, seed, [])
        self.backlog = backlog
        self._has_faults = faults
        self.slots = 0

    def run(self) -> None:
        """See `Play.run`."""
        self.publish()
        self._add_tasks()
        self.go_on(lambda: self.is_read(*range(self.backlog.partitions)))
        for _ in range(0 if self.backlog.is_recording else SETTLING // (2 * MINUTE)):
            self._slot(2 * MINUTE)
        self.world.armed = None
        self._drain()

    def publish(self) -> None:
        """Put all of it on the log before anybody reads."""
        self._open()
        publisher = Publisher(self.world, self.story)
        self.world.now = self.backlog.items[-1].arrival + (0 if self.backlog.is_recording else _DOWNTIME)
        if self.backlog.is_recording:
            publisher.end()
        self.world.rest()
        assert not publisher.outbox

    def go_on(self, is_over: Callable[[], bool]) -> None:
        """Let slots pass until it is over."""
        while not is_over():
            self.slots += 1
            law(self.slots < _SLOTS_MOST, "the backlog is not read to its end: somebody waits for ever")
            if self._has_faults and self.world.armed is None:
                self.world.arm(self.world.random.choice(_FAULTS), patience=self.world.random.randint(0, 40))
            self._slot(SLOT)
        self.world.armed = None

    def is_read(self, *partitions: int) -> bool:
        """Answer whether every raw record of these partitions was taken."""
        return all(self.behind(partition) == 0 for partition in partitions)

    def behind(self, partition: int) -> int:
        """Answer how many records of a partition are not decided."""
        tp, stand = TopicPartition(RAW, partition), 0
        for commit in self.world.log.history:
            stand = commit.positions.get((f"{TOPICS.prefix}-intake", tp), Position(stand)).offset
        return len(values_of(self.world.log, tp)) - stand

    def forms(self) -> list[Canonical]:
        """Answer what each domain came to."""
        return [canonical(Reference(self.world.log, number, domain=domain).outcome) for number, domain in enumerate(self.backlog.domains)]


def late_rows(play: BacklogPlay) -> list[str]:
    """List the rows that a machine got when its position had passed them."""
    late = []
    for number, domain in enumerate(play.backlog.domains):
        machine = Machine(domain=domain, guesses=False)
        for value in values_of(play.world.log, TopicPartition(TOPICS.frames, number)):
            frame = decode_frame(value)
            effects = [frame.extras.get(row, _PLAIN).effect or first for row, first in enumerate(frame.firsts)]
            late += [f"{domain}: {frame.source} at {effect - T0}" for effect in effects if effect <= machine.position]
            machine.step(frame)
    return late


def replayed(backlog: Backlog) -> list[Canonical]:
    """Answer what the same records come to when they lie in a single partition."""
    intake = Intake("one", backlog.control, is_recording=backlog.is_recording, watermark=None)
    values, stamps = [item.value for item in backlog.items], [item.arrival for item in backlog.items]
    frames = intake.step(range(len(values)), values, None if backlog.is_recording else stamps).frames
    if backlog.is_recording:
        frames += intake.end().frames
    else:
        last = stamps[-1] + _DOWNTIME
        for now in range(last, last + SETTLING + 2 * MINUTE, 30 * SECOND):
            frames += intake.tick(now).frames
    assert Router(backlog.control.topology).domains == backlog.domains
    return [_form(frames, number, backlog) for number in range(len(backlog.domains))]


def _form(frames: list[tuple[int, Frame]], number: int, backlog: Backlog) -> Canonical:
    machine = Machine(backlog.control, domain=backlog.domains[number], guesses=False)
    return canonical(follow(machine, [over_the_log(frame) for partition, frame in frames if partition == number]))
