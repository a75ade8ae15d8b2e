"""The addresses of a gateway with several workers, kept by their supervisor.

A TCP address is reserved, and each worker listens there with a socket of its own, so that the system spreads the
connections over them: from a common one a single worker would take a whole burst. A Unix socket is a common one, for
there is no other way.
"""

import errno
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Self

from gateway.app.failure import StartError
from gateway.config import Config, Listener, TcpBind, UnixBind
from gateway.ingress.binding import bound_unix_socket, listening_beside, reserved_sockets

__all__ = ["Places", "address_of", "cannot_listen"]

_Sockets = tuple[socket.socket, ...]


class Places:
    """Sockets that hold addresses, by what `address_of` says of their listeners; for processes to listen there."""

    def __init__(self, held: Mapping[str, _Sockets], claims: Mapping[str, _Sockets] | None = None) -> None:
        self._held = dict(held)
        self._claims = dict(claims or {})

    @classmethod
    def reserve(cls, config: Config, *, beside: Self) -> Self:
        """The addresses of the configuration, those that `beside` has among them.

        Raises StartError where one cannot be had: then nothing has changed.
        """
        with ExitStack() as opened:
            held: dict[str, _Sockets] = {}
            claims: dict[str, _Sockets] = {}
            for listener in config.listeners:
                address = address_of(listener)
                if address in beside._held:
                    held[address], claims[address] = beside._held[address], beside._claims[address]
                else:
                    held[address] = tuple(_reserved(listener))
                    opened.callback(_release, held[address])
                    tcp = [each for each in held[address] if each.family != socket.AF_UNIX]
                    try:
                        claims[address] = tuple(opened.enter_context(_claim(each)) for each in tcp)
                    except OSError as error:
                        raise cannot_listen(listener, error) from error
            opened.pop_all()
        return cls(held, claims)

    def items(self) -> tuple[tuple[str, _Sockets], ...]:
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

    def close(self, *, but: Self) -> None:
        """Hold the addresses no more in this process, but for those that `but` has too."""
        for address, sockets in chain(self._held.items(), self._claims.items()):
            if address not in but._held:
                for each in sockets:
                    each.close()

    def release(self, *, but: Self) -> None:
        """Hold the addresses no more, but for those that `but` has too: others may have them as soon as nobody listens.

        Unix sockets are removed.
        """
        for address, sockets in self._held.items():
            if address not in but._held:
                _release(sockets)
                for claim in self._claims[address]:
                    claim.close()


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


def _claim(reserved: socket.socket) -> socket.socket:
    """What one alone can have of an address. Raises OSError.

    Until somebody listens there, the system would have all who are willing to share it reserve it: another listener
    that has it by another name, and a gateway that starts at the same time.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        # No file: the name is one of the network's, as the address is, and goes with the process.
        claim.bind(f"\0mailsluice {reserved.getsockname()[:2]}".encode())
    except OSError:
        claim.close()
        raise
    return claim


def _release(sockets: _Sockets) -> None:
    for each in sockets:
        if each.family == socket.AF_UNIX:
            Path(each.getsockname()).unlink(missing_ok=True)
        each.close()


def _listening(held: socket.socket) -> socket.socket:
    return held.dup() if held.family == socket.AF_UNIX else listening_beside(held)


def _written(listener: Listener, sockets: _Sockets) -> tuple[str, ...]:
    if isinstance(listener.bind, UnixBind):
        return (str(listener.bind),)
    return tuple(str(TcpBind(*each.getsockname()[:2])) for each in sockets)
