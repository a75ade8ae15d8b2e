"""The PROXY protocol header, versions 1 and 2, that a load balancer puts before the client's first octets.

aiosmtpd's parser reads it; this feeds the parser and keeps what comes behind the header.
"""

import asyncio

from aiosmtpd.proxy_protocol import AF, V2_CMD, ProxyData, get_proxy

from gateway.envelope import Client

__all__ = ["ProxyHeader", "ProxyHeaderError"]


class ProxyHeaderError(ValueError):
    """The connection did not begin with a PROXY header that can be believed."""


class ProxyHeader:
    """The stream's beginning, in the form of aiosmtpd's AsyncReader protocol. Version 2 bounds a header to 64 KiB."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._ended = False
        self._arrived = asyncio.Event()

    def feed(self, octets: bytes) -> None:
        """Octets from the connection."""
        self._octets += octets
        self._arrived.set()

    def feed_eof(self) -> None:
        """The connection has ended."""
        self._ended = True
        self._arrived.set()

    async def read_client(self) -> tuple[Client | None, bytes]:
        """The client that the proxy announces, and what came behind the header.

        The client is None for a connection of the proxy's own (version 2 LOCAL, version 1 UNKNOWN). Raises
        ProxyHeaderError for anything that is not a whole and valid header.
        """
        data = await get_proxy(self)
        if not data.valid:
            raise ProxyHeaderError(data.error or "the PROXY header is not valid")
        return _client(data), bytes(self._octets)

    async def read(self, n: int = -1) -> bytes:
        """Up to `n` octets, at least one."""
        await self._wait_for(1)
        return self._take(len(self._octets) if n < 0 else min(n, len(self._octets)))

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` octets."""
        await self._wait_for(n)
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Octets up to and with the separator."""
        while (found := self._octets.find(separator)) < 0:
            # The longest header of version 1 has 107 octets.
            if len(self._octets) > 107:
                raise ProxyHeaderError("the PROXY header does not end")
            await self._wait_for(len(self._octets) + 1)
        return self._take(found + len(separator))

    async def _wait_for(self, count: int) -> None:
        while len(self._octets) < count:
            if self._ended:
                raise ProxyHeaderError("the connection ended within the PROXY header")
            self._arrived.clear()
            await self._arrived.wait()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._octets[:count])
        del self._octets[:count]
        return taken


def _client(data: ProxyData) -> Client | None:
    if data.src_addr is None or data.family not in (AF.INET, AF.INET6):
        return None
    if data.version == 2 and data.command == V2_CMD.LOCAL:
        # The addresses of a LOCAL connection, a health check of the proxy, are to be ignored.
        return None
    # Networks of the configuration and limits know an IPv4 client by one address.
    address = getattr(data.src_addr, "ipv4_mapped", None) or data.src_addr
    return Client(address=str(address), port=int(data.src_port or 0))
