"""One session with a server that may be wrong, hostile or silent: what is sent and what comes back, within bounds."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.conformance.notation import escape
from gateway.smtp.reply import Reply, ReplySyntaxError, read_reply
from gateway.sockets import TcpBind, UnixBind

__all__ = ["Conversation", "Heard", "NoReply", "Tls", "Unreachable", "connect"]

_BLOCK = 64 * 1024
_SHOWN = 400
_CLOSE_SECONDS = 2


class Unreachable(Exception):
    """There is no session with the server at all. The message is one clause."""


class NoReply(Exception):
    """No reply came where one was due: none at all, none any more (`closed`), or what is none (`malformed`).

    The message is one clause.
    """

    def __init__(self, reason: str, *, closed: bool = False, malformed: bool = False) -> None:
        super().__init__(reason)
        self.closed = closed
        self.malformed = malformed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS with a server of this name, from the first octet or after STARTTLS."""

    context: ssl.SSLContext
    implicit: bool
    hostname: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply, its octets, and whether RFC 2034 wants a status code in it (not in a greeting, nor in a hello's)."""

    reply: Reply
    octets: bytes
    with_status: bool


class Conversation:
    """A connection, and what was said on it so far: `exchange` in words, `heard` as it came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        """A reply that is not there after `seconds`, slowly or not at all, counts as none."""
        self.exchange: list[str] = []
        self.heard: list[Heard] = []
        self._reader = reader
        self._writer = writer
        self._seconds = seconds
        self._received = b""

    async def say(self, octets: bytes) -> None:
        """Send. That the connection is lost is not told here: a reply may have come before."""
        self.exchange.append(f"C: {_shown(octets)}")
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._seconds):
                self._writer.write(octets)
                await self._writer.drain()

    async def reply(self, *, with_status: bool = True) -> Reply:
        """The next reply. Raises NoReply, also for what is none by RFC 5321 §4.2."""
        try:
            async with asyncio.timeout(self._seconds):
                while (found := read_reply(self._received)) is None:
                    octets = await self._reader.read(_BLOCK)
                    if not octets:
                        raise self._no_reply("the server closed the connection", closed=True)
                    self._received += octets
        except ReplySyntaxError as error:
            self.exchange.append(f"S: {_shown(self._received)}")
            raise NoReply(f"{error}: {_shown(self._received)}", malformed=True) from error
        except TimeoutError:
            raise self._no_reply(f"no reply within {self._seconds:g} seconds", closed=False) from None
        except OSError as error:
            raise self._no_reply(f"the connection was lost ({_reason(error)})", closed=True) from error
        reply, length = found
        raw, self._received = self._received[:length], self._received[length:]
        self.exchange.append(f"S: {_shown(raw)}")
        self.heard.append(Heard(reply, raw, with_status))
        return reply

    async def start_tls(self, tls: Tls) -> None:
        """Do the handshake that STARTTLS announced. Raises NoReply."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._writer.start_tls(tls.context, server_hostname=tls.hostname)
        except TimeoutError:
            raise NoReply(f"TLS is not there within {self._seconds:g} seconds") from None
        except OSError as error:
            raise NoReply(f"TLS failed: {_reason(error)}", closed=True) from error

    async def close(self) -> None:
        """Give the connection back to the system, whatever the server does."""
        self._writer.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

    def _no_reply(self, reason: str, *, closed: bool) -> NoReply:
        self.exchange.append(f"({reason})")
        return NoReply(reason, closed=closed)


@asynccontextmanager
async def connect(server: TcpBind | UnixBind, tls: Tls | None, *, seconds: float) -> AsyncIterator[Conversation]:
    """A new connection; with implicit TLS, under TLS from the first octet. Raises Unreachable."""
    context = tls.context if tls is not None and tls.implicit else None
    try:
        async with asyncio.timeout(seconds):
            if isinstance(server, UnixBind):
                reader, writer = await asyncio.open_unix_connection(server.path, limit=_BLOCK)
            else:
                hostname = tls.hostname if tls is not None and context is not None else None
                reader, writer = await asyncio.open_connection(
                    server.host, server.port, limit=_BLOCK, ssl=context, server_hostname=hostname
                )
    except TimeoutError:
        raise Unreachable(f"{server} did not answer within {seconds:g} seconds") from None
    except ssl.SSLError as error:
        raise Unreachable(f"TLS with {server} failed: {_reason(error)}") from error
    except OSError as error:
        raise Unreachable(f"there is no connection to {server}: {_reason(error)}") from error
    conversation = Conversation(reader, writer, seconds)
    try:
        yield conversation
    finally:
        await conversation.close()


def _shown(octets: bytes) -> str:
    text = escape(octets[:_SHOWN])
    return f"{text}… ({len(octets)} octets)" if len(octets) > _SHOWN else text


def _reason(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"{error.verify_message}; --ca-file says whom to trust, --insecure trusts anybody"
        case ssl.SSLError():
            return (error.reason or str(error)).replace("_", " ").lower() + "; does the server speak TLS there?"
        case _:
            # asyncio's own text repeats the address; where several addresses failed it is all there is.
            return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
