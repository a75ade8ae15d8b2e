"""Turns of the event loop, shared out among tasks that could all go on at once.

A packet from each of many clients, a commit or a broker's answer lets hundreds of tasks go on in one turn of the loop,
each for a tenth of a millisecond, and everybody else waits for all of them. Tasks that await `turn` before such a piece
of work do it a few at a time, first come first served; between them the loop hears what else there is.
"""

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

__all__ = ["AT_ONCE", "turn"]

# About as many as go on in a few milliseconds.
AT_ONCE = 32


class _Turns:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._left = AT_ONCE
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None] | None:
        """None for a turn right now, or what to wait for."""
        if self._left:
            # Counted on until somebody has to wait: a call in each turn of the loop would make it poll twice as often.
            self._left -= 1
            return None
        if not self._waiting:
            loop.call_soon(self._let_go_on, loop)
        future = loop.create_future()
        self._waiting.append(future)
        return future

    def _let_go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """In another turn of the loop than those before."""
        self._left = AT_ONCE
        while self._waiting and self._left:
            future = self._waiting.popleft()
            # Or whoever waited was cancelled.
            if not future.done():
                future.set_result(None)
                self._left -= 1
        if self._waiting:
            loop.call_soon(self._let_go_on, loop)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def turn() -> None:
    """Go on now, or in a later turn of the loop where many want to."""
    loop = asyncio.get_running_loop()
    turns = _of_loops.get(loop)
    if turns is None:
        turns = _of_loops[loop] = _Turns()
    if (wait := turns.take(loop)) is not None:
        await wait
