"""Custody: the writers of a whole application in one hand, so that its state stands still while it is read or replaced."""

from collections.abc import Mapping, Sequence

from correlator.runtime.ports import Log, Messages, Position, TopicPartition, Writer
from correlator.runtime.topics import Topics


class Custody:
    """Takes every writer's place. A service that runs is fenced: it ends, or loses its place, as soon as it would write."""

    def __init__(self, log: Log, topics: Topics, *, raw: Sequence[TopicPartition], domains: int) -> None:
        self._topics = topics
        self.control = log.writer(topics.control_writer)
        self._intakes = {tp: log.writer(topics.intake_writer(tp)) for tp in raw}
        self._correlates = [log.writer(topics.correlate_writer(number)) for number in range(domains)]

    @property
    def _writers(self) -> list[Writer]:
        return [self.control, *self._intakes.values(), *self._correlates]

    async def take(self) -> None:
        """Start all writers: afterwards nobody else can commit, and the log shows all that they ever did. Raises as `Writer.start`."""
        for writer in self._writers:
            await writer.start()

    async def close(self) -> None:
        """Let go."""
        for writer in self._writers:
            await writer.close()

    async def write(self, domain: int, sent: Mapping[TopicPartition, Messages], *, judged: int | None = None) -> None:
        """Write records in a domain's place, and where its machine stands in frames, in one transaction. Raises as `Writer.commit`."""
        writer = self._correlates[domain]
        await writer.begin()
        for tp, messages in sent.items():
            await writer.send(tp, messages)
        if judged is not None:
            await writer.send_offsets(self._topics.correlate_group, {TopicPartition(self._topics.frames, domain): Position(judged)})
        await writer.commit()

    async def stand(self, tp: TopicPartition, position: Position) -> None:
        """Write where intake stands in a raw partition."""
        writer = self._intakes[tp]
        await writer.begin()
        await writer.send_offsets(self._topics.intake_group, {tp: position})
        await writer.commit()
