"""How much memory ten thousand idle sessions take, which have been greeted and have said EHLO."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from gateway.app.process import max_connections
from tests.bench.contender import Contender
from tests.bench.ours import gateway
from tests.bench.servers import Servers

__all__ = ["CONNECTIONS", "IdleSessions", "measure"]

CONNECTIONS = 10_000

_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSessions:
    """Resident memory of a gateway in octets, without sessions and with so many."""

    sessions: int
    bytes_before: int
    bytes_with: int


def measure() -> IdleSessions:
    """With ten thousand sessions, or as many as there are descriptors for. Raises RuntimeError where one is refused."""
    sessions = min(CONNECTIONS, max_connections())
    with ExitStack() as running:
        contender = running.enter_context(gateway("count")(Servers(running)))
        contender.settle()
        before = _resident(contender)
        for _ in range(sessions):
            running.enter_context(_greeted(contender))
        contender.settle()
        return IdleSessions(sessions=sessions, bytes_before=before, bytes_with=_resident(contender))


def _resident(contender: Contender) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in contender.pids)


def _greeted(contender: Contender) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", contender.ports["SMTP"]), _SECONDS)
    for line in (b"", b"EHLO client.example.net\r\n"):
        client.sendall(line)
        reply = client.recv(4096)
        if not reply.startswith(b"2"):
            raise RuntimeError(f"a session was answered {reply.decode(errors='replace').strip() or 'nothing'}")
    return client
