"""Threads for a client that blocks, and the means to stop what runs in them.

A thread cannot be cancelled, so it is asked: work gets a `Permit`, and its next step, be it a request or a block of
content, it takes only while the permit lasts. A request under way ends with its answer or its time-out.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from connectors.s3 import failures
from gateway.connector import DeliveryFailure

__all__ = ["Permit", "Threads"]

T = TypeVar("T")

# How long a cancelled `run` waits for its thread before it leaves the rest, which no longer reads, to the background.
_GRACE_SECONDS = 0.5


class Permit:
    """The right to go on, until `end`. After `end` has returned, nothing is under way in a `held` block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def end(self) -> None:
        """Take the right back. This waits for a `held` block that runs: one read at most."""
        with self._lock:
            self._ended.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """For reading the content, which is the work's only as long as the permit lasts. Raises CancelledError."""
        with self._lock:
            self.check()
            yield

    def check(self) -> None:
        """Raises CancelledError when the permit has ended: that of `concurrent.futures`, which the SDK lets through."""
        if self._ended.is_set():
            raise CancelledError

    def rest(self, seconds: float) -> None:
        """Sleep, but not longer than the permit lasts."""
        self._ended.wait(seconds)


class Threads:
    """A bounded number of threads. What does not fit waits its turn, in order."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._running: dict[Future[Any], Permit] = {}

    async def run(self, work: Callable[[Permit], T]) -> T:
        """Do `work` in a thread and return its result. Raises what `failures.translated` makes of its exceptions.

        Once cancelled, the work reads no content any more and begins no request but the one that cleans up.
        """
        permit = Permit()
        job = self._executor.submit(_outcome, work, permit)
        self._running[job] = permit
        job.add_done_callback(self._running.pop)
        finished = asyncio.wrap_future(job)
        try:
            await asyncio.wait([finished])
        except asyncio.CancelledError:
            permit.end()
            if not job.cancel():
                await _left(finished)
            raise
        outcome = finished.result()
        if isinstance(outcome, DeliveryFailure):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Stop everything. A request that hangs ends by its time-out, in a thread that nobody waits for."""
        running = dict(self._running)
        for permit in running.values():
            permit.end()
        self._executor.shutdown(wait=False)
        if running:
            await _left(*map(asyncio.wrap_future, running))


async def _left(*finished: asyncio.Future[Any]) -> None:
    try:
        await asyncio.wait(finished, timeout=_GRACE_SECONDS)
    finally:
        # What still hangs may outlive the event loop, which it must not try to wake up then.
        for future in finished:
            future.cancel()


def _outcome(work: Callable[[Permit], T], permit: Permit) -> T | DeliveryFailure:
    # A failure is a value here: a cancelled `run` never asks for it, and an exception would be reported as forgotten.
    try:
        with failures.translated():
            permit.check()
            return work(permit)
    except DeliveryFailure as failure:
        return failure
