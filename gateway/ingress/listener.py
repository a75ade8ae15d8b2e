"""A listening socket and the sessions it accepts."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gateway.delivery import Routes
from gateway.ingress.acceptor import Acceptor
from gateway.ingress.admission import Admission
from gateway.ingress.binding import bound_sockets, bound_unix_socket
from gateway.ingress.connections import TOO_MANY, Connections
from gateway.ingress.session import Session
from gateway.ingress.settings import ListenerSettings

__all__ = ["Listener"]


class Listener:
    """One address where mail comes in. Bind it once, with `listen_tcp`, `listen_unix` or `listen_at`; then `stop` it.

    `admission` is shared with the other listeners of the process; one that is alone may have its own.
    """

    def __init__(self, settings: ListenerSettings, routes: Routes, admission: Admission | None = None) -> None:
        self._settings = settings
        self._routes = routes
        self._admission = admission or Admission(settings.spool, largest_message=settings.limits.message_octets)
        self._connections = Connections(
            self._admission,
            maximum=settings.max_connections,
            maximum_per_client=settings.max_connections_per_client,
        )
        self._acceptor: Acceptor | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._unix_path: Path | None = None

    async def listen_tcp(self, host: str, port: int) -> tuple[tuple[str, int], ...]:
        """Accept connections, and say at which addresses. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets = bound_sockets([(family, address) for family, _, _, _, address in found])
        self._acceptor = Acceptor(sockets, self._take)
        return tuple(bound.getsockname()[:2] for bound in sockets)

    async def listen_unix(self, path: Path) -> None:
        """Accept connections at a Unix socket. Any local user who reaches its directory may connect.

        A socket that a dead process left behind is replaced. Raises OSError when the path cannot be had, also when
        somebody else listens there.
        """
        self._acceptor = Acceptor([bound_unix_socket(path)], self._take)
        self._unix_path = path

    def listen_at(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections at sockets that listen already, and become this listener's."""
        self._acceptor = Acceptor(sockets, self._take)

    def replace(self, settings: ListenerSettings, routes: Routes) -> None:
        """Other settings for those who connect from now on, and other routes for the transactions that begin.

        The numbers of connections are bounded anew at once, which ends nobody's.
        """
        self._settings = settings
        self._routes = routes
        self._connections.replace(
            maximum=settings.max_connections, maximum_per_client=settings.max_connections_per_client
        )

    async def stop(self, *, seconds: float) -> None:
        """Accept nothing more; let mail that is under way be answered, and end every session within `seconds`.

        Once more with fewer seconds, while that goes on, makes it end sooner. Only work that cannot be interrupted,
        a thread in a file system that hangs, takes longer.
        """
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
            if self._unix_path is not None:
                self._unix_path.unlink(missing_ok=True)
        while self._arriving:
            # A few turns of the event loop; then each has its session.
            await asyncio.wait(self._arriving)
        await self._connections.drain(seconds=seconds)

    def _take(self, connection: socket.socket) -> None:
        if self._admission.arrive():
            task = asyncio.get_running_loop().create_task(self._connect(connection))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)
            return
        # Told without a session: this connection must not cost more descriptors than its own, and that not for long.
        if not self._settings.implicit_tls:
            with suppress(OSError):
                connection.send(TOO_MANY.encode(enhanced="ENHANCEDSTATUSCODES" in self._settings.extensions))
        connection.close()
        self._admission.leave()

    async def _connect(self, connection: socket.socket) -> None:
        try:
            # From its first callback on the session is counted by the connections, and leaves through them.
            await asyncio.get_running_loop().connect_accepted_socket(self._session, connection)
        except OSError:
            connection.close()
            self._admission.leave()

    def _session(self) -> Session:
        return Session(self._settings, lambda: self._routes, self._connections, self._admission)
