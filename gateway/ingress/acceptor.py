"""Accepting connections, a few at a time, and never in a circle.

The event loops' own servers accept as many connections as wait, before any of them is looked at: a burst of clients
would take the descriptors that the spool and the connectors need. Here each is looked at when it is accepted.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence

from gateway.ingress import records

__all__ = ["Acceptor"]

# A turn of the event loop is shared with the sessions.
_ACCEPTED_PER_TURN = 16
_PAUSE_SECONDS = 1.0


class Acceptor:
    """Gives every connection that comes at the listening sockets to `take`, without blocking mode, until `close`.

    While the system has no more descriptors or memory for connections, clients wait in the kernel's queue.
    """

    def __init__(self, sockets: Sequence[socket.socket], take: Callable[[socket.socket], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._take = take
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        self._has_failed = False
        self._sockets = tuple(sockets)
        for listening in self._sockets:
            listening.setblocking(False)
            self._watch(listening)

    def close(self) -> None:
        """Accept nothing more."""
        for timer in self._paused.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()

    def _watch(self, listening: socket.socket) -> None:
        self._paused.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTED_PER_TURN):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # The connection still waits, so the loop would call again at once.
                self._loop.remove_reader(listening)
                self._paused[listening] = self._loop.call_later(_PAUSE_SECONDS, self._watch, listening)
                if not self._has_failed:
                    self._has_failed = True
                    records.connections_not_accepted(error)
                return
            if self._has_failed:
                self._has_failed = False
                records.connections_accepted_again()
            connection.setblocking(False)
            self._take(connection)
