"""A socket around a client session: octets to and fro, deadlines and TLS, and nothing of mail."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import ClientEvent
from gateway.sockets import TcpBind, UnixBind

__all__ = ["ConnectionFailed", "TlsFailed", "Untrusted", "Wire", "connected"]

_CONNECT_SECONDS = 30
_CLOSE_SECONDS = 5
# RFC 5321 §4.5.3.2.6: a server may take ten minutes after the end of the content, longer than after anything else.
_PATIENCE_SECONDS = 600


class ConnectionFailed(Exception):
    """The server cannot be reached, or TLS with it cannot be had. The message is one clause for the user."""


class TlsFailed(ConnectionFailed):
    """The server can be reached, but not under TLS."""


class Untrusted(TlsFailed):
    """Nobody who is trusted vouches for the server's certificate and name."""


class Wire(asyncio.Protocol):
    """One connection, which `connected` makes.

    Octets are read while others are written: else a server that waits until its replies are read, and a client that
    waits until its content is read, would wait for each other.
    """

    _transport: asyncio.WriteTransport

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._has_room = True
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()

    async def next_event(self) -> ClientEvent:
        """The session's next event, after all the reading and writing that leads to it.

        A connection that is lost, or silent for ten minutes, ends the session, which is an event too. Raises what
        `ClientConnection.data_to_send` raises.
        """
        while (event := self._connection.next_event()) is None:
            octets = self._connection.data_to_send() if self._has_room else b""
            if octets:
                self._transport.write(octets)
                await asyncio.sleep(0)  # replies are read between blocks, also by a loop whose sockets take any block
            else:
                await self._change()
        return event

    def give_up(self, reason: str) -> None:
        """End the session, `reason` says why in one clause: what it has not decided by now is told as undecided."""
        self._connection.end(reason)
        self._changed.set()

    async def start_tls(self, context: ssl.SSLContext, hostname: str) -> None:
        """Do the handshake that STARTTLS announced. Raises TlsFailed."""
        loop = asyncio.get_running_loop()
        try:
            # What the server may have sent in clear is with the session, which judges it: no buffer lies between.
            transport = await loop.start_tls(
                self._transport, self, context, server_hostname=hostname, ssl_handshake_timeout=_CONNECT_SECONDS
            )
        except OSError as error:
            self._connection.end("TLS failed")
            self._closed.set()  # asyncio has closed the socket, and tells nobody
            raise _tls_failure("TLS failed", error) from error
        except asyncio.CancelledError:
            self._closed.set()
            raise
        if transport is None:
            raise TlsFailed("TLS failed: the server closed the connection")
        self._transport = transport

    async def close(self) -> None:
        """Give the connection back to the system, in order where the session is in order."""
        if self._connection.is_open:
            self._transport.close()
        else:
            self._transport.abort()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._closed.wait()
        except TimeoutError:
            self._transport.abort()

    async def _change(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            self._connection.end(f"nothing came from the server for {_PATIENCE_SECONDS} seconds")

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # what TCP, Unix sockets and TLS all give

    def data_received(self, octets: bytes) -> None:
        self._connection.receive_data(octets)
        self._changed.set()

    def pause_writing(self) -> None:
        self._has_room = False

    def resume_writing(self) -> None:
        self._has_room = True
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        reason = f" ({_reason(error)})" if isinstance(error, OSError) else ""
        self._connection.end(f"the connection was lost{reason}" if error else "the server closed the connection")
        self._changed.set()
        self._closed.set()


@asynccontextmanager
async def connected(
    connection: ClientConnection, server: TcpBind | UnixBind, tls: ssl.SSLContext | None = None, *, hostname: str = ""
) -> AsyncIterator[Wire]:
    """Connect a session to a server; with `tls`, under TLS from the first octet. Raises ConnectionFailed.

    `hostname` is the name that the server's certificate must have where that is not the name in `server`.
    """
    loop = asyncio.get_running_loop()
    wire = Wire(connection)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            if isinstance(server, UnixBind):
                await loop.create_unix_connection(lambda: wire, str(server.path))
            else:
                name = (hostname or server.host) if tls is not None else None
                await loop.create_connection(lambda: wire, server.host, server.port, ssl=tls, server_hostname=name)
    except TimeoutError:
        raise ConnectionFailed(f"{server} did not answer within {_CONNECT_SECONDS} seconds") from None
    except ssl.SSLError as error:
        raise _tls_failure(f"TLS with {server} failed", error) from error
    except OSError as error:
        raise ConnectionFailed(f"there is no connection to {server}: {_reason(error)}") from error
    try:
        yield wire
    finally:
        await wire.close()


def _tls_failure(what: str, error: OSError) -> TlsFailed:
    kind = Untrusted if isinstance(error, ssl.SSLCertVerificationError) else TlsFailed
    return kind(f"{what}: {_reason(error)}")


def _reason(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            # WRONG_VERSION_NUMBER is OpenSSL's word for octets that are no TLS at all.
            return (error.reason or str(error)).replace("_", " ").lower() + "; does the server speak TLS there?"
        case socket.gaierror():
            return error.strerror or str(error)
        case _:
            # asyncio's own text repeats the address; where several addresses failed it is all there is.
            return os.strerror(error.errno) if error.errno else str(error) or "the server closed the connection"
