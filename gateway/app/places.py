"""The addresses of a gateway with several workers, kept by their supervisor.

A TCP address is reserved, and each worker listens there with a socket of its own, so that the system spreads the
connections over them: from a common one a single worker would take a whole burst. A Unix socket is a common one, for
there is no other way.
"""

import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Self

from gateway.app.failure import StartError
from gateway.config import Config, Listener, TcpBind, UnixBind
from gateway.ingress.binding import bound_unix_socket, listening_beside, reserved_sockets

__all__ = ["Places", "address_of", "cannot_listen"]


class Places:
    """Sockets that hold addresses, by what `address_of` says of their listeners; for processes to listen there."""

    def __init__(self, held: Mapping[str, tuple[socket.socket, ...]]) -> None:
        self._held = dict(held)

    @classmethod
    def reserve(cls, config: Config, *, beside: Self) -> Self:
        """The addresses of the configuration, those that `beside` has among them.

        Raises StartError where one cannot be had: then nothing has changed.
        """
        with ExitStack() as opened:
            held: dict[str, tuple[socket.socket, ...]] = {}
            for listener in config.listeners:
                address = address_of(listener)
                if address in beside._held:
                    held[address] = beside._held[address]
                else:
                    sockets = tuple(_reserved(listener))
                    opened.callback(_release, sockets)
                    # By another name: who may share an address is not told by the system that somebody has it.
                    if _names(sockets) & _names(chain(*held.values())):
                        raise cannot_listen(listener, OSError(errno.EADDRINUSE, ""))
                    held[address] = sockets
            opened.pop_all()
        return cls(held)

    def items(self) -> tuple[tuple[str, tuple[socket.socket, ...]], ...]:
        """Each address and the sockets that hold it."""
        return tuple(self._held.items())

    def lines(self, config: Config, *, but: Self) -> tuple[str, ...]:
        """A line for each address of the configuration, in the form that it has there, but for those of `but`."""
        return tuple(
            f"{listener.protocol.upper()} on {place} ({listener.name})"
            for listener in config.listeners
            if address_of(listener) not in but._held
            for place in _written(listener, self._held[address_of(listener)])
        )

    def listen(self, listener: Listener) -> list[socket.socket]:
        """Sockets at the address of `listener` for this process alone to accept from. Raises StartError."""
        held = self._held.get(address_of(listener))
        if held is None:
            raise StartError(f'listener "{listener.name}": the configuration has changed meanwhile; reload it again')
        if not held:
            raise cannot_listen(listener, OSError(errno.EMFILE, ""))
        with ExitStack() as opened:
            try:
                sockets = [opened.enter_context(_listening(each)) for each in held]
            except OSError as error:
                raise cannot_listen(listener, error) from error
            opened.pop_all()
        return sockets

    def close(self) -> None:
        """Hold the addresses no more in this process."""
        for sockets in self._held.values():
            for each in sockets:
                each.close()

    def release(self, *, but: Self) -> None:
        """Hold the addresses no more, but for those that `but` has too: others may have them as soon as nobody listens.

        Unix sockets are removed.
        """
        for address, sockets in self._held.items():
            if address not in but._held:
                _release(sockets)


def address_of(listener: Listener) -> str:
    """By what a listener is known from one configuration to the next."""
    # Port 0 is another one each time.
    any_port = isinstance(listener.bind, TcpBind) and listener.bind.port == 0
    return f"{listener.name} {listener.bind}" if any_port else str(listener.bind)


def cannot_listen(listener: Listener, error: OSError) -> StartError:
    """The sentence about an address that cannot be had."""
    # asyncio puts a sentence of its own into strerror; a name that cannot be resolved has no errno of the system.
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return StartError(f'listener "{listener.name}" cannot listen on {listener.bind}: {reason}')


def _reserved(listener: Listener) -> list[socket.socket]:
    bind = listener.bind
    try:
        if isinstance(bind, UnixBind):
            return [bound_unix_socket(bind.path)]
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return reserved_sockets([(family, address) for family, _, _, _, address in found])
    except OSError as error:
        raise cannot_listen(listener, error) from error


def _names(sockets: Iterable[socket.socket]) -> set[object]:
    return {each.getsockname() for each in sockets}


def _release(sockets: tuple[socket.socket, ...]) -> None:
    for each in sockets:
        if each.family == socket.AF_UNIX:
            Path(each.getsockname()).unlink(missing_ok=True)
        each.close()


def _listening(held: socket.socket) -> socket.socket:
    return held.dup() if held.family == socket.AF_UNIX else listening_beside(held)


def _written(listener: Listener, sockets: tuple[socket.socket, ...]) -> tuple[str, ...]:
    if isinstance(listener.bind, UnixBind):
        return (str(listener.bind),)
    return tuple(str(TcpBind(*each.getsockname()[:2])) for each in sockets)
