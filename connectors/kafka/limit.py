"""A limit on how long a future is waited for."""

import asyncio
from typing import Any

__all__ = ["Limit"]


class Limit:
    """Fails a future with TimeoutError at a moment of the loop's time, unless it is done by then.

    `asyncio.timeout_at` cancels a task instead. That is needed where a task awaits what is not its own; for a future
    that only one task awaits this costs a fraction, and every mail has one.
    """

    __slots__ = ("_future", "_moment", "_timer")

    def __init__(self, future: "asyncio.Future[Any]", moment: float) -> None:
        self._future = future
        self._moment = moment
        self._timer = future.get_loop().call_at(moment, self._expire)

    def when(self) -> float:
        """The loop's time at which the future fails."""
        return self._moment

    def expired(self) -> bool:
        """Whether there is nothing left to limit."""
        return self._future.done()

    def reschedule(self, moment: float) -> None:
        """Let it be another moment."""
        self._timer.cancel()
        self._moment = moment
        self._timer = self._future.get_loop().call_at(moment, self._expire)

    def lift(self) -> None:
        """Let there be no limit any more."""
        self._timer.cancel()

    def _expire(self) -> None:
        if not self._future.done():
            self._future.set_exception(TimeoutError())
