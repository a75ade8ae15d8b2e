"""The server's side of a TLS handshake, on a connection that was in clear until now."""

import asyncio
import ssl
import traceback
from typing import Any, cast

__all__ = ["TlsFailedError", "shake_hands"]

_SECONDS = 30.0


class TlsFailedError(Exception):
    """The TLS handshake did not succeed."""


async def shake_hands(
    transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, *, early: bytes
) -> asyncio.Transport:
    """The transport that is under TLS. `early` is what the client has sent of the handshake and `protocol` was given.

    Raises TlsFailedError.
    """
    loop = asyncio.get_running_loop()
    # start_tls does so itself, but only in its first step: what came until then would be the protocol's, not its own.
    transport.pause_reading()
    begun = loop.create_task(
        loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=_SECONDS)
    )
    if early:
        # start_tls schedules the beginning of the TLS layer and then that of its reading, in its first step. This is to
        # come right behind: so it is scheduled by what is scheduled behind that step.
        loop.call_soon(loop.call_soon, _hand_on, transport, early)
    try:
        encrypted = await begun
    except (OSError, ssl.SSLError) as error:
        # Its frames hold the connection with its buffers, and the task holds it. Strangers shall not leave the garbage
        # collector such things by the thousand.
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        raise TlsFailedError(str(error) or "the handshake did not complete") from None
    finally:
        del begun
    if encrypted is None:
        raise TlsFailedError("the client left during the handshake")
    return encrypted


def _hand_on(transport: asyncio.Transport, octets: bytes) -> None:
    """Give octets to the TLS layer as if they were read now."""
    if transport.is_closing():
        return
    # asyncio's layer and uvloop's both read as a BufferedProtocol, and only uvloop's does not say so.
    layer = cast("asyncio.BufferedProtocol", transport.get_protocol())
    rest = memoryview(octets)
    while rest:
        buffer: Any = layer.get_buffer(len(rest))
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        layer.buffer_updated(size)
        rest = rest[size:]
