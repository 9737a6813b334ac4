"""The log in Kafka, on a real broker: the port's laws with few examples, and what only brokers do."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.broker import Broker
from tests.runtime import test_contract as contract
from tests.runtime.brokers import Storage
from tests.runtime.test_contract import LogFactory

FEW: Final = settings(max_examples=12, deadline=None)


@pytest.fixture(scope="module")
def log_factory(broker: Broker) -> LogFactory:
    """Make a fresh storage on the broker, as the contract suite wants it."""
    return lambda: Storage(broker.address).open


# ---------------------------------------------------------------------------------------------------- the port's laws


@FEW
@given(plan=contract.transactions)
async def test_committed_transactions_are_read_exactly_once_in_order_and_others_never(log_factory: LogFactory, plan: list[dict]) -> None:  # type: ignore[type-arg]
    law = contract.test_committed_transactions_are_read_exactly_once_in_order_and_others_never
    await law.hypothesis.inner_test(log_factory, plan)


@FEW
@given(sent=st.lists(contract.records, min_size=1, max_size=4), at_most=st.integers(1, 30))
async def test_every_column_comes_back_as_it_was_sent(log_factory: LogFactory, sent: list[list[tuple]], at_most: int) -> None:  # type: ignore[type-arg]
    await contract.test_every_column_comes_back_as_it_was_sent.hypothesis.inner_test(log_factory, sent, at_most)


@FEW
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5), start=st.integers(0, 200), at_most=st.integers(1, 50))
async def test_reading_from_any_offset_in_steps_of_any_size_gives_the_same_records(
    log_factory: LogFactory, sizes: list[int], *, start: int, at_most: int
) -> None:
    law = contract.test_reading_from_any_offset_in_steps_of_any_size_gives_the_same_records
    await law.hypothesis.inner_test(log_factory, sizes, start=start, at_most=at_most)


@FEW
@given(plan=st.lists(contract.changes, max_size=6), at_most=st.integers(1, 9))
async def test_a_compacted_topic_reads_as_the_last_value_of_each_key(
    log_factory: LogFactory, plan: list[list[tuple[bytes, bytes | None]]], at_most: int
) -> None:
    await contract.test_a_compacted_topic_reads_as_the_last_value_of_each_key.hypothesis.inner_test(log_factory, plan, at_most)
