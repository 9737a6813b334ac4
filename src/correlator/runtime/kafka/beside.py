"""Work on an event loop of its own, in a thread: it goes on whatever keeps the first loop busy."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


async def beside(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` in a thread until it ends, and raise what it raises. Cancelled, it cancels the work and waits for its end."""
    begun = threading.Event()
    task: asyncio.Task[None]

    async def whole() -> None:
        nonlocal task
        task = asyncio.ensure_future(work())
        begun.set()
        with suppress(asyncio.CancelledError):
            await task

    running = asyncio.ensure_future(asyncio.to_thread(asyncio.run, whole()))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.to_thread(begun.wait)
        with suppress(RuntimeError):  # its loop is closed: it has ended by itself
            task.get_loop().call_soon_threadsafe(task.cancel)
        await running
        raise
