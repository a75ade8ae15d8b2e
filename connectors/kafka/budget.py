"""A bound on octets in memory, where a bound on mails would say nothing: one has a kilobyte, the next a megabyte."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["ByteBudget"]


class ByteBudget:
    """Octets that may be held at one time, given out in the order of asking."""

    def __init__(self, octets: int) -> None:
        self._total = octets
        self._free = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, octets: int) -> AsyncIterator[None]:
        """Hold `octets`, waiting until they are free. More than there are in all counts as all."""
        octets = min(octets, self._total)
        await self._taken(octets)
        try:
            yield
        finally:
            self._give_back(octets)

    async def _taken(self, octets: int) -> None:
        if octets <= self._free and not self._waiting:
            self._free -= octets
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Given and cancelled at the same moment; or else no longer in the way of one that is content with less.
            self._give_back(0 if turn.cancelled() else octets)
            raise

    def _give_back(self, octets: int) -> None:
        self._free += octets
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
