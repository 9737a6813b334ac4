"""The topics of one application: their names, settings, and which record is what."""

from typing import Final

import msgspec

from correlator.config.settings import OWN_TOPICS, RetentionSettings
from correlator.runtime.ports import Headers, Refused, TopicPartition, TopicSettings

END_HEADER: Final[Headers] = (("correlator-end", b"1"),)
"""Marks the record with which `publish` closes a recording: it carries nothing and moves time on."""
CHECKPOINT_KEY: Final = b"@"
"""The checkpoint row that says up to which frame the other rows are complete."""
IMPORTING: Final = b"importing"
"""Stands in that row's place while `correlator state import` is under way: what else lies there may be a part."""
SCHEMA_HEADER: Final = ("schema", b"1")
"""The version of a document's schema; it changes when a consumer must."""
REVISION_HEADER: Final = "revision"
_RETENTION: Final = RetentionSettings()

_ONE_PARTITION: Final = ("control", "dead-letters")

LARGEST_RECORD: Final = 16 * 1024 * 1024
"""Bytes of our own records: a frame has about 2 MB, rules and topology of 100,000 services may have several."""


def is_end(headers: Headers) -> bool:
    """Tell whether a record with these headers closes a recording."""
    return any((name, value) == END_HEADER[0] for name, value in headers)


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

    # Who writes, and where they stand: whoever starts a writer of these ids stops the task that had it.

    @property
    def workers_group(self) -> str:
        """The group that shares the work; it holds no positions."""
        return f"{self.prefix}-workers"

    @property
    def intake_group(self) -> str:
        """Positions in raw partitions."""
        return f"{self.prefix}-intake"

    @property
    def correlate_group(self) -> str:
        """Positions in frames."""
        return f"{self.prefix}-correlate"

    @property
    def control_writer(self) -> str:
        """The transactional id of whoever puts rules in force."""
        return f"{self.prefix}-control"

    def intake_writer(self, tp: TopicPartition) -> str:
        """Name the transactional id of a raw partition's intake."""
        return f"{self.prefix}-intake-{tp.topic}-{tp.partition}"

    def correlate_writer(self, partition: int) -> str:
        """Name the transactional id of a domain's machine."""
        return f"{self.prefix}-correlate-{partition}"

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


def other_partitions(wanted: TopicSettings, found: int) -> Refused:
    """Make the error of a topic that is there with another number of partitions: it says whose number is to change, and how."""
    own = next((name for name in OWN_TOPICS if wanted.name.endswith(f".{name}")), None)
    there = f"topic {wanted.name} has {found} partition{'s' if found > 1 else ''}"
    if own is None:
        return Refused(
            f"{there} and the settings say {wanted.partitions}: set `partitions: {found}` for it in the settings (`topics`), or change "
            "the topic as docs/operate.md says, 'Changing partition counts'"
        )
    if own in _ONE_PARTITION:
        return Refused(f"{there} and must have 1: delete it, and the service makes it anew")
    return Refused(
        f"{there} and needs {wanted.partitions}, one for each domain of the topology: go back to the topology that it was made for, "
        "or start anew under another `prefix` (docs/operate.md, 'Changing partition counts')"
    )


def complete_up_to(marker: bytes | None) -> int:
    """Read the row `CHECKPOINT_KEY`: from which frame on a restore steps; 0 without one. Raises Refused amid an import of state."""
    if marker == IMPORTING:
        raise Refused("an import of state was not finished here: run `correlator state import --force` again")
    return int(marker) if marker is not None else 0
