"""A listener on a socket of this machine, and a client that speaks octets to it."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gateway.delivery import Destination, Route, Routes
from gateway.envelope import Mail
from gateway.ingress import Listener, ListenerSettings
from gateway.ingress.session import Session
from gateway.ingress.transaction import Transaction
from gateway.smtp import DIALECTS, Limits, Policy, extension_table
from gateway.testing import MemoryConnector

__all__ = ["HOSTNAME", "Client", "Gateway", "gateway", "routes_to", "settings"]

HOSTNAME = "mx.example.com"

HELLO = b"EHLO client.example.net\r\n"
ENVELOPE = b"MAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\n"

_SECONDS = 20.0


def settings(spool: Path, *, dialect="smtp", limits=None, policy=None, **changed) -> ListenerSettings:
    """The settings of a listener; `changed` are fields of ListenerSettings."""
    limits = limits or Limits(message_octets=10_000_000)
    policy = {
        "message_octets": limits.message_octets,
        "starttls": "tls" in changed and not changed.get("implicit_tls"),
        "authentication": "authenticator" in changed,
        "authentication_without_tls": "authenticator" in changed and "tls" not in changed,
    } | (policy or {})
    return ListenerSettings(
        name="test",
        hostname=HOSTNAME,
        dialect=DIALECTS[dialect],
        extensions=extension_table(Policy(**policy)),
        limits=limits,
        spool=spool,
        **changed,
    )


def routes_to(connector) -> Routes:
    """Every recipient at example.org goes to `connector`."""
    destination = Destination(
        connector, name="memory", metadata="preserve", deadline_seconds=_SECONDS, max_in_flight=1000
    )
    return Routes([Route(recipients=("*@example.org",), destinations=(destination,))], hostname=HOSTNAME)


@dataclass
class Gateway:
    """A listener that accepts at `port`, and the memory to which everything goes."""

    listener: Listener
    memory: MemoryConnector
    port: int
    clients: list["Client"] = field(default_factory=list)

    @property
    def mails(self) -> list[Mail]:
        return list(self.memory.mails.values())

    @property
    def contents(self) -> list[bytes]:
        return [mail.content.read() for mail in self.mails]

    @property
    def sessions(self) -> int:
        return len(self.listener._connections._sessions)

    def session(self) -> Session:
        """The only one."""
        (session,) = self.listener._connections._sessions
        return session

    def transaction(self) -> Transaction:
        """That of the only session."""
        return self.session()._transaction

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds, which must be soon: for what the wire does not tell."""
        async with asyncio.timeout(_SECONDS):
            while not condition():  # noqa: ASYNC110  # nobody sets an event for a test
                await asyncio.sleep(0)

    async def connect(self) -> "Client":
        """A client that has read the greeting."""
        client = await self.open()
        assert await client.code() == 220
        return client

    async def open(self) -> "Client":
        """A client that is connected, and has read nothing."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        return client

    async def all_sessions_end(self) -> None:
        """Returns when nobody is connected any more, and nothing of a session runs."""
        async with asyncio.timeout(_SECONDS):
            await self.listener._connections._empty.wait()


class Client:
    """One connection. What it reads comes within seconds, or the test fails."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, *octets: bytes) -> None:
        self.writer.write(b"".join(octets))

    async def reply(self) -> list[str]:
        """The lines of the next reply; [] when the connection has ended before it."""
        lines = []
        async with asyncio.timeout(_SECONDS):
            while True:
                line = await self.reader.readline()
                if not line.endswith(b"\r\n"):
                    assert line == b"", f"the connection ended within a line: {line!r}"
                    return []
                lines.append(line[:-2].decode())
                if line[3:4] == b" ":
                    return lines

    async def code(self) -> int:
        """The code of the next reply."""
        lines = await self.reply()
        assert lines, "the connection has ended"
        return int(lines[-1][:3])

    async def codes(self, *octets: bytes, count: int) -> list[int]:
        """Send, and read so many replies."""
        self.send(*octets)
        return [await self.code() for _ in range(count)]

    async def rest(self) -> bytes:
        """Everything until the connection ends, which must be soon."""
        async with asyncio.timeout(_SECONDS):
            return await self.reader.read()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="localhost")

    def reset(self) -> None:
        """Go away with RST, as a crashed client does."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def gateway(listener_settings: ListenerSettings, connector=None, admission=None) -> AsyncIterator[Gateway]:
    """A listener that is stopped at the end."""
    memory = connector or MemoryConnector()
    listener = Listener(listener_settings, routes_to(memory), admission)
    ((_, port),) = await listener.listen_tcp("127.0.0.1", 0)
    running = Gateway(listener, memory, port)
    try:
        yield running
    finally:
        if isinstance(memory, MemoryConnector):
            memory.release()
        for client in running.clients:
            client.writer.close()
        async with asyncio.timeout(_SECONDS):
            await listener.stop(seconds=0)
