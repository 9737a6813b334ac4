"""What aiokafka leaves behind when a producer fails: futures and tasks whose errors nobody asks for, and of which asyncio complains.

The error itself was raised to whoever waited, once. The rest of this is the same error again.
"""

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

_SETS: Final = ("tasks", "done", "waiters")
"""Where aiokafka's sender keeps its tasks: local variables, which the traceback of its error still holds."""


def hush(producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Take note of all errors that a producer leaves behind, those to come too. Called once, when it is stopped or abandoned."""
    for future in _left_by(producer):
        if future.done():
            take_note(future)
        else:
            future.add_done_callback(take_note)


def take_note(future: "asyncio.Future[Any]") -> None:
    """Ask for the error, so that it counts as told."""
    if not future.cancelled():
        future.exception()


def _left_by(producer: Any) -> Iterator["asyncio.Future[Any]"]:  # noqa: ANN401
    ended = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 - nothing public leads there
    if ended is not None:
        yield ended
    accumulator = producer._message_accumulator  # noqa: SLF001
    for batch in chain(accumulator._pending_batches, *accumulator._batches.values()):  # noqa: SLF001
        yield batch.future
        yield batch._drain_waiter  # noqa: SLF001
    sending = producer._sender.sender_task  # noqa: SLF001
    if sending is None or not sending.done() or sending.cancelled() or sending.exception() is None:
        return
    trace = sending.exception().__traceback__
    while trace is not None:
        variables = trace.tb_frame.f_locals
        if variables.get("self") is producer._sender:  # noqa: SLF001
            for name in _SETS:
                yield from variables.get(name, ())
        trace = trace.tb_next
