"""Something that many mails need and that may fail for all of them alike: a connection, a registered schema."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.connector import DeliveryFailure, TransientFailure
from gateway.status import LOCAL_ERROR

__all__ = ["SharedAttempt"]

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0

T = TypeVar("T")


class SharedAttempt(Generic[T]):
    """One attempt at a time, for all who ask; what it made is kept until `forget()`.

    After a failure the next attempt waits for a pause that doubles each time. Who asks meanwhile gets the same failure
    at once: a thousand mails do not knock a thousand times.
    """

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._attempt: asyncio.Task[T | DeliveryFailure] | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._is_stopped = False

    async def result(self) -> T:
        """What `make` returns. Raises the DeliveryFailure that it raises. Cancelled, it leaves the attempt alone."""
        if self._is_stopped:
            raise _shutting_down()
        attempt = self._attempt
        if attempt is None or (attempt.done() and self._is_due(attempt)):
            attempt = self._attempt = asyncio.create_task(self._try())
        if not attempt.done():
            await asyncio.wait([attempt])
        if attempt.cancelled():
            raise _shutting_down()
        made = attempt.result()
        if isinstance(made, DeliveryFailure):
            # A copy for each: a traceback grows with everyone who raises the same exception.
            raise type(made)(made.status, made.text, cause=made.cause)
        return made

    def made(self) -> T | None:
        """What `result` returns at once; None where it would wait or raise."""
        attempt = self._attempt
        if attempt is None or self._is_stopped or not attempt.done() or attempt.cancelled() or attempt.exception():
            return None
        made = attempt.result()
        return None if isinstance(made, DeliveryFailure) else made

    def forget(self, made: T) -> None:
        """Let the next who asks make it anew, unless that has happened already."""
        attempt = self._attempt
        if attempt is not None and attempt.done() and not attempt.cancelled() and attempt.result() is made:
            self._attempt = None

    async def stop(self) -> None:
        """End an attempt that is under way, and make none any more."""
        self._is_stopped = True
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait([self._attempt])

    async def _try(self) -> T | DeliveryFailure:
        try:
            made = await self._make()
        except DeliveryFailure as failure:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            self._not_before = asyncio.get_running_loop().time() + self._pause
            return failure
        self._pause = 0.0
        return made

    def _is_due(self, attempt: "asyncio.Task[T | DeliveryFailure]") -> bool:
        has_failed = attempt.exception() is not None or isinstance(attempt.result(), DeliveryFailure)
        return has_failed and asyncio.get_running_loop().time() >= self._not_before


def _shutting_down() -> TransientFailure:
    return TransientFailure(LOCAL_ERROR, "the gateway is shutting down, try again later")
