"""The log in Apache Kafka: the port's laws over aiokafka, which only this folder knows.

One client serves a log's questions (topics, bounds, positions), each reader has its own (a fetch that waits holds up its connection),
each writer is a producer of its own: what fences it, and what is thrown away with it, is its transactional id.
"""

from correlator.runtime.kafka.access import Access, access_of
from correlator.runtime.kafka.log import KafkaLog

__all__ = ["Access", "KafkaLog", "access_of"]
