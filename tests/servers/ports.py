"""Loopback ports for servers that are told their port before they start."""

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_FIRST = 10_000
_ATTEMPTS = 1_000
_given: set[int] = set()


def free_port() -> int:
    """Return a loopback port that nothing uses and that this process has not been given before.

    It lies below the kernel's range for outgoing connections: a server that a test kills and starts again must find
    its port unused, and a port of that range may have become some client's in the meantime.
    """
    # `secrets`, because the seed of `random` is reset by hypothesis: two test runs would then choose the same ports.
    for _ in range(_ATTEMPTS):
        port = _FIRST + secrets.randbelow(_first_outgoing() - _FIRST)
        if port not in _given and _is_unused(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no unused port on {LOOPBACK} in {_ATTEMPTS} attempts")


def accepts(port: int) -> bool:
    """Say whether something accepts connections on a loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _first_outgoing() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:  # not Linux: the range of RFC 6335 §6
        return 49_152
    first = int(text.split()[0])
    return first if first > 2 * _FIRST else 49_152


def _is_unused(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
