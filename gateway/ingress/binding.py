"""The sockets of a listener: where it is bound, alone or with others that share its address."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

__all__ = ["bound_sockets", "bound_unix_socket", "listening_beside", "reserved_sockets"]

_BACKLOG = 1024


def bound_sockets(addresses: Sequence[tuple[int, Any]]) -> list[socket.socket]:
    """A listening socket for each (family, address), each address once. Raises OSError: then there is none."""
    return _each(addresses, lambda family, address: _listening(family, address, shared=False))


def reserved_sockets(addresses: Sequence[tuple[int, Any]]) -> list[socket.socket]:
    """Sockets that hold the addresses and accept nothing, beside which processes of this user may listen.

    Raises OSError, also where somebody listens there already: the system would let two gateways of one user share an
    address without a word.
    """
    return _each(addresses, _reserved)


def listening_beside(reserved: socket.socket) -> socket.socket:
    """A listening socket of this process at the address that `reserved` holds. Raises OSError.

    Among all that listen there the system distributes the connections.
    """
    return _listening(reserved.family, reserved.getsockname(), shared=True)


def bound_unix_socket(path: Path) -> socket.socket:
    """A socket that listens at `path`, in place of one that a dead process has left behind.

    Raises OSError when the path cannot be had, also when somebody else listens there.
    """
    _remove_abandoned_socket(path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        # The mail server that connects runs as another user: who may is decided by the directory's permissions.
        path.chmod(0o666)
        bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def _each(addresses: Sequence[tuple[int, Any]], bind: Callable[[int, Any], socket.socket]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for family, address in dict.fromkeys(addresses):
            try:
                sockets.append(opened.enter_context(bind(family, address)))
            except OSError as error:
                # A name may have addresses of a family that the kernel was built without.
                if error.errno != errno.EAFNOSUPPORT:
                    raise
        if not sockets:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        opened.pop_all()
    return sockets


def _listening(family: int, address: Any, *, shared: bool) -> socket.socket:
    bound = socket.create_server(address, family=family, backlog=_BACKLOG, reuse_port=shared)
    # Connections inherit it: a reply waits for no acknowledgement of the one before.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def _reserved(family: int, address: Any) -> socket.socket:
    # Who does not share finds out whether somebody listens.
    _bound(family, address, shared=False).close()
    return _bound(family, address, shared=True)


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    """Bound as `socket.create_server` binds, and not listening."""
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_abandoned_socket(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
