"""What the port makes of errors, without a broker."""

import pytest
from aiokafka.errors import KafkaStorageError

from correlator.runtime.kafka.errors import told
from correlator.runtime.ports import Transient


def test_a_connection_that_closed_while_we_wrote_is_transient_also_in_the_words_of_uvloop() -> None:
    with pytest.raises(Transient, match="writing: ConnectionResetError"), told("writing"):
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


def test_any_other_state_that_cannot_be_is_a_bug_and_passes_through() -> None:
    with pytest.raises(RuntimeError, match="cannot enter"), told("writing"):
        raise RuntimeError("cannot enter into a task while another runs")


def test_a_broker_that_cannot_use_its_disk_passes_as_another_may_lead_the_partition() -> None:
    with pytest.raises(Transient, match="KafkaStorageError"), told("reading p.events-0"):
        raise KafkaStorageError
