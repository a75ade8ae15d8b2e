"""Blocking work in a thread that nobody leaves behind: for file systems and for libraries that wait.

`asyncio.to_thread` forgets its thread when it is cancelled, and the thread goes on reading content that is being
closed. A connector may not do that (`gateway.connector.Connector.emit`).
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(work: Callable[[threading.Event], T], executor: Executor | None = None) -> T:
    """What `work` returns or raises, from a thread of `executor` (None is the event loop's own).

    A cancellation is passed on only when the thread is done, however often it comes. `work` gets an event that is set
    by then, and should look at it now and then: nobody waits for its result any more.
    """
    abandoned = threading.Event()
    done = asyncio.get_running_loop().run_in_executor(executor, work, abandoned)
    cancelled = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            abandoned.set()
            cancelled = error
    if cancelled is not None:
        # asyncio reports an exception that nobody asked for.
        done.exception()
        raise cancelled
    return done.result()
