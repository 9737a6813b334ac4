"""What aiokafka leaves behind when a producer fails: futures and tasks whose errors nobody asks for, and of which asyncio complains.

The error itself was raised to whoever waited, once. The rest of this is the same error again.
"""

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

_SETS: Final = ("tasks", "done", "waiters")
"""Where aiokafka's sender keeps its tasks: local variables, which its frame holds, or the traceback of its error."""


def hush(producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Take note of all errors that a producer leaves behind, those to come too.

    Called before what it holds is failed, and when it is stopped.
    """
    for future in _left_by(producer):
        if future.done():
            take_note(future)
        else:
            future.add_done_callback(take_note)


def sending(producer: Any) -> "set[asyncio.Task[Any]]":  # noqa: ANN401
    """Answer what of a producer still runs: its sender, and the tasks that only the sender knows."""
    sender = producer._sender.sender_task  # noqa: SLF001
    tasks = {sender, *_variables_of(producer).get("tasks", ())}
    return {task for task in tasks if task is not None and not task.done()}


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
    variables = _variables_of(producer)
    for name in _SETS:
        yield from variables.get(name, ())


def _variables_of(producer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Answer the local variables of the sender, while it runs or where its error left it; none when it was cancelled."""
    sender = producer._sender.sender_task  # noqa: SLF001
    if sender is None or sender.cancelled():
        return {}
    if not sender.done():
        running: dict[str, Any] = sender.get_coro().cr_frame.f_locals
        return running
    trace = sender.exception().__traceback__ if sender.exception() is not None else None
    while trace is not None:
        left: dict[str, Any] = trace.tb_frame.f_locals
        if left.get("self") is producer._sender:  # noqa: SLF001
            return left
        trace = trace.tb_next
    return {}
