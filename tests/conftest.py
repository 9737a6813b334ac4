"""What every test shares: the hypothesis profiles, and one broker for all that speak to Kafka."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from loadtest.broker import Broker, BrokerError, running
from tests.profile import PROFILE

# dev is quick enough to run on every save; ci finds the same thing twice; brief meets the branches; night looks further.
# No deadline anywhere: the timeout per test is pytest's, and a shared machine is sometimes slow.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("brief", max_examples=10, deadline=None, derandomize=True)
settings.register_profile("night", max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A real Kafka broker, started when the first test asks for it; on CI one that cannot be had is a failure, elsewhere it skips."""
    try:
        with running(is_brief=True) as started:
            yield started
    except BrokerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"no Kafka broker: {error}")
        pytest.skip(f"no Kafka broker: {error}")
