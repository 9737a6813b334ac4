"""The topics of one application: their names, settings, and which record is what."""

from typing import Final

import msgspec

from correlator.config.settings import RetentionSettings
from correlator.runtime.ports import Headers, TopicPartition, TopicSettings

END_HEADER: Final[Headers] = (("correlator-end", b"1"),)
"""Marks the record with which `publish` closes a recording: it carries nothing and moves time on."""
CHECKPOINT_KEY: Final = b"@"
"""The checkpoint row that says up to which frame the other rows are complete."""
SCHEMA_HEADER: Final = ("schema", b"1")
_RETENTION: Final = RetentionSettings()

LARGEST_RECORD: Final = 16 * 1024 * 1024
"""Bytes of our own records: a frame of 16,000 new alerts with all their labels has about 6 MB, rules and topology less."""


class Topics(msgspec.Struct, frozen=True):
    """Names under one prefix, so that two applications can share a log."""

    prefix: str

    def raw(self, name: str) -> str:
        """Name a raw topic."""
        return f"{self.prefix}.{name}"

    @property
    def control(self) -> str:
        """Accepted rules and topologies by digest; the newest is in force."""
        return f"{self.prefix}.control"

    @property
    def frames(self) -> str:
        """The internal log, a partition for each domain."""
        return f"{self.prefix}.frames"

    @property
    def checkpoints(self) -> str:
        """Rows of state, partitioned as frames."""
        return f"{self.prefix}.checkpoints"

    @property
    def incidents(self) -> str:
        """Incident documents by id."""
        return f"{self.prefix}.incidents"

    @property
    def alerts(self) -> str:
        """Alert documents by fingerprint."""
        return f"{self.prefix}.alerts"

    @property
    def decisions(self) -> str:
        """Judgements, append-only."""
        return f"{self.prefix}.decisions"

    @property
    def dead_letters(self) -> str:
        """Refused records with their original bytes."""
        return f"{self.prefix}.dead-letters"

    def settings(self, raw: dict[str, int], domains: int, retention: RetentionSettings = _RETENTION) -> list[TopicSettings]:
        """Answer all topics as they must be: `raw` maps each raw topic to its number of partitions."""
        gone = retention.tombstones
        return [
            *[TopicSettings(self.raw(name), partitions, retention=retention.raw) for name, partitions in raw.items()],
            TopicSettings(self.control, compacted=True, retention=gone, largest=LARGEST_RECORD),
            TopicSettings(self.frames, domains, retention=retention.frames, largest=LARGEST_RECORD),
            TopicSettings(self.checkpoints, domains, compacted=True, retention=gone, largest=LARGEST_RECORD),
            TopicSettings(self.incidents, domains, compacted=True, retention=gone, largest=LARGEST_RECORD),
            TopicSettings(self.alerts, domains, compacted=True, retention=gone, largest=LARGEST_RECORD),
            TopicSettings(self.decisions, domains, retention=retention.decisions, largest=LARGEST_RECORD),
            TopicSettings(self.dead_letters, retention=retention.dead_letters, largest=LARGEST_RECORD),
        ]

    def partition(self, topic: str, number: int = 0) -> TopicPartition:
        """Name a partition."""
        return TopicPartition(topic, number)
