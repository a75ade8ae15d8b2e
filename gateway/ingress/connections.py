"""The sessions of one listener: how many there may be, in all and from one client, and their end at shutdown."""

import asyncio
from collections import Counter
from typing import Protocol

from gateway.ingress.admission import Admission
from gateway.smtp import Reply

__all__ = ["TOO_MANY", "Connections", "Drainable"]

TOO_MANY = Reply.of(421, "4.3.2", "too many connections, try again later")
_TOO_MANY_FROM_YOU = Reply.of(421, "4.7.0", "too many connections from your address")
_SHUTTING_DOWN = Reply.of(421, "4.3.2", "shutting down, try again later")

# Of the time for the end, what is left for sessions that are ended by force, a client that must read why included.
_FORCE_SECONDS = 1.5


class Drainable(Protocol):
    """A session, as far as its end is concerned."""

    def drain(self) -> None:
        """End as soon as no mail is under way."""

    def abort(self) -> None:
        """End now."""


class Connections:
    """Who is connected. A session is counted from `admit` until `release`, when it leaves all that were admitted."""

    def __init__(self, admission: Admission, *, maximum: int, maximum_per_client: int) -> None:
        self._admission = admission
        self.replace(maximum=maximum, maximum_per_client=maximum_per_client)
        self._sessions: dict[Drainable, str] = {}
        self._per_client: Counter[str] = Counter()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def replace(self, *, maximum: int, maximum_per_client: int) -> None:
        """Other bounds from now on, for those who come."""
        self._maximum = maximum
        self._maximum_per_client = maximum_per_client

    def admit(self, session: Drainable, client: str) -> Reply | None:
        """Count a session of the client at this address ("" is nobody's); a reply says why it may not stay."""
        self._sessions[session] = ""
        self._empty.clear()
        if self._draining:
            return _SHUTTING_DOWN
        if len(self._sessions) > self._maximum:
            return TOO_MANY
        return self.attribute(session, client)

    def attribute(self, session: Drainable, client: str) -> Reply | None:
        """Say once whose a session is that was admitted as nobody's, when a proxy has told; as `admit` otherwise."""
        if client:
            self._sessions[session] = client
            self._per_client[client] += 1
            if self._per_client[client] > self._maximum_per_client:
                return _TOO_MANY_FROM_YOU
        return None

    def release(self, session: Drainable) -> None:
        """The session's connection is gone and nothing of it runs any more."""
        client = self._sessions.pop(session)
        self._admission.leave()
        if client:
            self._per_client[client] -= 1
            if not self._per_client[client]:
                del self._per_client[client]
        if not self._sessions:
            self._empty.set()

    async def drain(self, *, seconds: float) -> None:
        """Let mail that is under way be answered, and end what is left, within so many seconds.

        Once more with fewer of them, while that goes on, makes it end sooner.
        """
        self._draining = True
        for session in list(self._sessions):
            session.drain()
        try:
            async with asyncio.timeout(max(0, seconds - _FORCE_SECONDS)):
                await self._empty.wait()
        except TimeoutError:
            for session in list(self._sessions):
                session.abort()
            await self._empty.wait()
