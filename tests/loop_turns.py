"""Counting turns of the event loop, for tests of what may happen in one of them."""

import asyncio
from types import TracebackType
from typing import Self


class LoopTurns:
    """`now` is the number of the running loop's present turn, counted from entry to exit."""

    def __enter__(self) -> Self:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._next.cancel()

    def _count(self) -> None:
        self.now += 1
        self._next = self._loop.call_soon(self._count)
