"""How long a client may take: for a command, and for content by its average rate.

A command's time ends when it is answered, not when an octet of it arrives, so that nobody can hold a session by sending
one octet now and then. One timer a session looks at the clock; nothing is rescheduled for each packet.
"""

import asyncio
from collections.abc import Callable

__all__ = ["Pace"]

# A slow start is nobody's fault.
_GRACE_SECONDS = 30.0
_LONGEST_LOOK_SECONDS = 15.0


class Pace:
    """Calls `on_late` once when the client is too slow. The owner's own work is not the client's time."""

    __slots__ = (
        "_content_octets",
        "_idle_seconds",
        "_last",
        "_loop",
        "_min_rate",
        "_on_late",
        "_since",
        "_stopped",
        "_timer",
    )

    def __init__(self, *, idle_seconds: float, min_octets_per_second: int, on_late: Callable[[], None]) -> None:
        self._idle_seconds = idle_seconds
        self._min_rate = min_octets_per_second
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._since = self._last = self._loop.time()
        self._stopped = False
        self._content_octets: int | None = None
        self._timer = self._schedule()

    def await_command(self) -> None:
        """Everything the client sent is answered: the time for its next command begins."""
        self._since = self._loop.time()
        self._stopped = False
        self._content_octets = None

    def await_content(self, octets: int) -> None:
        """So many octets arrived, and there is more content to come."""
        now = self._loop.time()
        if self._content_octets is None:
            self._since, self._content_octets = now, 0
        elif self._stopped:
            self._since += now - self._last
        self._stopped = False
        self._last = now
        self._content_octets += octets

    def hear(self, octets: int) -> None:
        """So many octets arrived while it was not the client's turn."""
        if self._content_octets is not None:
            self._content_octets += octets

    def stop(self) -> None:
        """It is not the client's turn."""
        self._stopped = True

    def close(self) -> None:
        """Never call again."""
        self._timer.cancel()
        # It is the owner's method as a rule: without it, both are gone at once and wait for no garbage collector.
        self._on_late = _nobody_is_late

    def _schedule(self) -> asyncio.TimerHandle:
        return self._loop.call_later(min(_LONGEST_LOOK_SECONDS, self._idle_seconds / 4), self._look)

    def _look(self) -> None:
        self._timer = self._schedule()
        if not self._stopped and self._is_late():
            self._stopped = True
            self._on_late()

    def _is_late(self) -> bool:
        now = self._loop.time()
        elapsed = now - self._since
        if self._content_octets is None:
            return elapsed > self._idle_seconds
        if now - self._last > self._idle_seconds:
            return True
        return elapsed > _GRACE_SECONDS and self._content_octets < elapsed * self._min_rate


def _nobody_is_late() -> None:
    pass
