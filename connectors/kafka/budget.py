"""A bound on octets in memory, where a bound on mails would say nothing: one has a kilobyte, the next a megabyte."""

import asyncio
from collections import deque
from typing import Self

__all__ = ["ByteBudget", "Hold"]


class ByteBudget:
    """Octets that may be held at one time, given out in the order of asking."""

    def __init__(self, octets: int) -> None:
        self._total = octets
        self._free = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> "Hold":
        """A share of the budget, of nothing yet."""
        return Hold(self)

    def take_now(self, octets: int) -> bool:
        """Take `octets` if they are free and nobody waits. More than there are in all counts as all."""
        octets = min(octets, self._total)
        if octets > self._free or self._waiting:
            return False
        self._free -= octets
        return True

    async def take(self, octets: int) -> None:
        """Take `octets`, waiting until they are free."""
        if self.take_now(octets):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((min(octets, self._total), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Given and cancelled at the same moment; or else no longer in the way of one that is content with less.
            self.give_back(0 if turn.cancelled() else octets)
            raise

    def give_back(self, octets: int) -> None:
        """Let others have `octets` that were taken."""
        self._free += min(octets, self._total)
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()


class Hold:
    """What one mail has of a budget: taken once, and given back by `release` or when the context ends."""

    __slots__ = ("_budget", "_octets")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._octets = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take_now(self, octets: int) -> bool:
        """Take `octets` unless that means to wait."""
        if not self._budget.take_now(octets):
            return False
        self._octets = octets
        return True

    async def take(self, octets: int) -> None:
        """Take `octets`, waiting until they are free."""
        await self._budget.take(octets)
        self._octets = octets

    def release(self) -> None:
        """Give back what was taken."""
        if self._octets:
            self._budget.give_back(self._octets)
            self._octets = 0
