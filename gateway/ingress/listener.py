"""A listening socket and the sessions it accepts."""

import asyncio
import socket
import stat
from pathlib import Path

from gateway.delivery import Routes
from gateway.ingress.connections import Connections
from gateway.ingress.session import Session
from gateway.ingress.settings import ListenerSettings

__all__ = ["Listener"]

_BACKLOG = 1024


class Listener:
    """One address where mail comes in. Bind it once, with `listen_tcp` or `listen_unix`; then `stop` it."""

    def __init__(self, settings: ListenerSettings, routes: Routes) -> None:
        self._settings = settings
        self._routes = routes
        self._connections = Connections(
            maximum=settings.max_connections, maximum_per_client=settings.max_connections_per_client
        )
        self._server: asyncio.Server | None = None
        self._unix_path: Path | None = None

    async def listen_tcp(self, host: str, port: int) -> tuple[tuple[str, int], ...]:
        """Accept connections, and say at which addresses. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, host, port, backlog=_BACKLOG)
        return tuple(bound.getsockname()[:2] for bound in self._server.sockets)

    async def listen_unix(self, path: Path) -> None:
        """Accept connections at a Unix socket. Any local user who reaches its directory may connect.

        A socket that a dead process left behind is replaced. Raises OSError when the path cannot be had, also when
        somebody else listens there.
        """
        _remove_abandoned_socket(path)
        loop = asyncio.get_running_loop()
        # Given a path, asyncio would take it from whoever listens there.
        self._server = await loop.create_unix_server(self._session, sock=_bound_socket(path), backlog=_BACKLOG)
        self._unix_path = path

    async def stop(self, *, seconds: float) -> None:
        """Accept nothing more; let mail that is under way be answered for at most `seconds`, then end every session."""
        if self._server is not None:
            self._server.close()
            if self._unix_path is not None:
                _remove(self._unix_path)
        await self._connections.drain(seconds=seconds)

    def _session(self) -> Session:
        return Session(self._settings, self._routes, self._connections)


def _remove_abandoned_socket(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        _remove(path)


def _bound_socket(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        # The mail server that connects runs as another user: who may is decided by the directory's permissions.
        path.chmod(0o666)
    except OSError:
        bound.close()
        raise
    return bound


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
