"""One broker for all tests of a run that speak to Kafka."""

from collections.abc import Iterator

import pytest

from loadtest.broker import Broker
from tests.runtime.brokers import broker_or_skip


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real broker, started when the first test asks for it."""
    with broker_or_skip() as started:
        yield started
