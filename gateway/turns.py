"""Turns of the event loop, shared out among tasks that could all go on at once.

A packet from each of many clients, a commit or a broker's answer lets hundreds of tasks go on in one turn of the loop,
each for a tenth of a millisecond, and everybody else waits for all of them. Tasks that await `turn` before such a piece
of work do it a few at a time, first come first served; between them the loop hears what else there is.
"""

import asyncio
import threading
from collections import deque

__all__ = ["AT_ONCE", "turn"]

# About as many as go on in a few milliseconds.
AT_ONCE = 16


class _Turns:
    """Those of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._left = AT_ONCE
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> asyncio.Future[None] | None:
        """None for a turn right now, or what to wait for."""
        if self._left:
            # Counted on until somebody has to wait: a call in each turn of the loop would make it poll twice as often.
            self._left -= 1
            return None
        if not self._waiting:
            self.loop.call_soon(self._let_go_on)
        future = self.loop.create_future()
        self._waiting.append(future)
        return future

    def _let_go_on(self) -> None:
        """In another turn of the loop than those before."""
        self._left = AT_ONCE
        while self._waiting and self._left:
            future = self._waiting.popleft()
            # Or whoever waited was cancelled.
            if not future.done():
                future.set_result(None)
                self._left -= 1
        if self._waiting:
            self.loop.call_soon(self._let_go_on)


class _Here(threading.local):
    """A thread runs one loop at a time; asked for by every mail, so kept where it is found at once."""

    turns: _Turns | None = None


_here = _Here()


async def turn() -> None:
    """Go on now, or in a later turn of the loop where many want to."""
    loop = asyncio.get_running_loop()
    turns = _here.turns
    if turns is None or turns.loop is not loop:
        turns = _here.turns = _Turns(loop)
    if (wait := turns.take()) is not None:
        await wait
