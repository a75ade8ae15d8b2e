"""Connections to mail servers that are kept for the next mail: so many, so long, and for so many mails.

A session is with one mail or idle. Those that are idle are closed when their time is over, and the oldest one when
there would be too many. A server that closes an idle one is noticed here, and nobody gets it any more.
"""

import asyncio

from gateway.relay.session import Access, Session, open_session
from gateway.sockets import TcpBind, UnixBind

__all__ = ["Pool"]

_CLOSE_SECONDS = 4


class Pool:
    """Sessions with servers, by address and access. It belongs to the event loop in which it is used."""

    def __init__(self, *, max_connections: int, max_mails: int, idle_seconds: float) -> None:
        self._max_connections = max_connections
        self._max_mails = max_mails
        self._idle_seconds = idle_seconds
        self._places = asyncio.Semaphore(max_connections)
        self._busy = 0
        # In the order in which they became idle.
        self._idle: dict[Session, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def take(self, server: TcpBind | UnixBind, access: Access, *, fresh: bool = False) -> Session:
        """A session with the server, for the caller alone until `give_back`: an idle one, unless `fresh`, or a new one.

        An idle one is taken only where it began as `access` says: under the same name, with the same login or none.
        Waits for a place. Raises what `open_session` raises.
        """
        await self._places.acquire()
        self._busy += 1
        try:
            if not fresh and (session := self._take_idle(server, access)) is not None:
                return session
            while self._idle and self._busy + len(self._idle) > self._max_connections:
                self._retire(next(iter(self._idle)))
            return await open_session(server, access)
        except BaseException:
            self._leave()
            raise

    async def give_back(self, session: Session) -> None:
        """Keep the session for another mail, or close it: within seconds where a server hangs."""
        try:
            if session.is_open and session.mails < self._max_mails and not self._closed:
                loop = asyncio.get_running_loop()
                self._idle[session] = loop.call_later(self._idle_seconds, self._retire, session)
            elif session.is_open:
                self._close_later(session)
            else:
                await session.close()
        finally:
            self._leave()

    async def close(self) -> None:
        """Close what is idle, and wait for that a few seconds; what is with a mail is closed when it is given back."""
        self._closed = True
        for session in tuple(self._idle):
            self._retire(session)
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()

    def _leave(self) -> None:
        self._busy -= 1
        self._places.release()

    def _take_idle(self, server: TcpBind | UnixBind, access: Access) -> Session | None:
        for session in reversed(tuple(self._idle)):
            if not session.is_open:
                self._retire(session)
            elif session.server == server and session.access == access:
                self._idle.pop(session).cancel()
                return session
        return None

    def _retire(self, session: Session) -> None:
        self._idle.pop(session).cancel()
        self._close_later(session)

    def _close_later(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
