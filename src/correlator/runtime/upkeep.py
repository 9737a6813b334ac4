"""Upkeep of a running service: how old its backlog is, and what of the log may go.

A record that nobody has read yet must not go before it is read. The embedded log keeps it however old it is; Kafka does not, so a backlog
older than half of its retention makes the service unready while there is still time to act.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from correlator.config.settings import RetentionSettings
from correlator.model.instant import SECOND, Duration, Instant, format_duration
from correlator.runtime.correlate_task import CorrelateTask
from correlator.runtime.http import Readiness
from correlator.runtime.intake_task import IntakeTask
from correlator.runtime.metrics import Stage
from correlator.runtime.ports import Log, TopicPartition, Transient
from correlator.runtime.telemetry import Telemetry
from correlator.runtime.topics import Topics

LOOK_EVERY_S: Final = 1
CLEAN_EVERY_LOOKS: Final = 300
COUNT_EVERY_LOOKS: Final = 60
_logger: Final = logging.getLogger(__name__)


class Upkeep:
    """Looks after the log on behalf of a worker's tasks, `intakes` by raw partition and `correlates` by domain, as they are at the time."""

    def __init__(
        self,
        log: Log,
        topics: Topics,
        retention: RetentionSettings,
        *,
        intakes: Mapping[TopicPartition, IntakeTask],
        correlates: Mapping[int, CorrelateTask],
        telemetry: Telemetry,
        readiness: Readiness,
        clock: Callable[[], Instant],
    ) -> None:
        self._log = log
        self._topics = topics
        self._retention = retention
        self._intakes = intakes
        self._correlates = correlates
        self._telemetry = telemetry
        self._readiness = readiness
        self._clock = clock
        self._partitions: dict[str, int] = {}

    async def run(self) -> None:
        """Look every second, and let old records go every few minutes, first when all tasks know where they stand."""
        looks = CLEAN_EVERY_LOOKS
        while True:
            self.look()
            if looks % COUNT_EVERY_LOOKS == 0 or self._raw_topics - self._partitions.keys():
                await self.count()
            if looks >= CLEAN_EVERY_LOOKS and self._is_under_way:
                looks = 0
                await self.clean()
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def _is_under_way(self) -> bool:
        known = [task.needed_from for task in self._intakes.values()] + [task.needed_from for task in self._correlates.values()]
        return bool(self._intakes) and bool(self._correlates) and None not in known

    def look(self) -> None:
        """Measure the backlog of each stage by the age of its oldest record, and say when it comes near the retention."""
        raw = {f"{tp.topic}-{tp.partition}": task.waiting_since for tp, task in self._intakes.items()}
        frames = {f"{self._topics.frames}-{number}": task.waiting_since for number, task in self._correlates.items()}
        self._judge(Stage.INTAKE, raw, retention=self._retention.raw, setting="raw")
        self._judge(Stage.CORRELATE, frames, retention=self._retention.frames, setting="frames")

    def _judge(self, stage: Stage, since_by_partition: Mapping[str, Instant | None], *, retention: Duration, setting: str) -> None:
        now = self._clock()
        ages = {name: max(0, now - since) for name, since in since_by_partition.items() if since is not None}
        worst = max(ages, key=lambda name: ages[name], default=None)
        age = ages[worst] if worst is not None else 0
        self._telemetry.lag_age(stage, age / SECOND)
        if age <= retention // 2:
            self._readiness.ready(f"lag {stage}")
            return
        behind, kept = format_duration(age // SECOND * SECOND), format_duration(retention)
        reason = f"{stage} is {behind} behind on {worst}, whose records are kept for {kept}: speed it up, or raise log_retention.{setting}"
        self._readiness.not_ready(f"lag {stage}", reason)

    @property
    def _raw_topics(self) -> set[str]:
        """The raw topics of which we have the first partition: one worker has that, and tells for all."""
        return {tp.topic for tp in self._intakes if tp.partition == 0}

    async def count(self) -> None:
        """Say when a raw topic has more partitions than at the start: nobody reads those. Raises Refused where the topic is gone."""
        for topic in sorted(self._raw_topics):
            try:
                there = await self._log.partitions(topic)
            except Transient:
                continue  # the tasks tell of it
            known = self._partitions.setdefault(topic, there)
            if there > known:
                self._tell_unread(topic, there, known=known)

    def _tell_unread(self, topic: str, there: int, *, known: int) -> None:
        there_are = f"{topic} has {there} partitions now, and {known} when we started"
        told = f"{there_are}: nobody reads the others; set `partitions: {there}` and restart"
        if told not in self._readiness.reasons:
            _logger.warning("%s", told)
        self._readiness.not_ready(f"partitions {topic}", told)

    async def clean(self) -> None:
        """Let the log drop what is past its retention and needed by no task. Raises what cannot be overcome; a busy log is asked later."""
        try:
            await self._log.expire(self._needed_from())
        except Transient as error:
            _logger.warning("old records were not dropped: %s; it is tried again in %d s", error, LOOK_EVERY_S * CLEAN_EVERY_LOOKS)

    def _needed_from(self) -> dict[TopicPartition, int | None]:
        """Answer from where each partition is still needed; one whose task does not know is left out, and so left alone."""
        topics, needed = self._topics, dict[TopicPartition, int | None]()
        for tp, intake in self._intakes.items():
            if intake.needed_from is not None:
                needed[tp] = intake.needed_from
        for number, correlate in self._correlates.items():
            if correlate.needed_from is not None:
                needed[TopicPartition(topics.frames, number)] = correlate.needed_from
            for topic in (topics.decisions, topics.incidents, topics.alerts, topics.checkpoints):
                needed[TopicPartition(topic, number)] = None
        return {**needed, TopicPartition(topics.dead_letters, 0): None, TopicPartition(topics.control, 0): None}
