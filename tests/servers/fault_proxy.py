"""A TCP proxy with faults on the way, for what lies between a connector and a real server.

Each direction has its toxics, by the names that Toxiproxy gave them. A piece of the stream, as it was read, goes
through them in order. They may be changed at any time, and hold from the next piece on for every connection.

    async with FaultProxy(host, port) as proxy:
        proxy.downstream = (ResetPeer(after=100),)
        …                                             # connect to proxy.port
        await proxy.struck.wait()
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

__all__ = [
    "Bandwidth",
    "FaultProxy",
    "Latency",
    "LimitData",
    "ResetPeer",
    "Slicer",
    "SlowClose",
    "Timeout",
    "Toxic",
]

_PIECE = 64 * 1024


class FaultProxy:
    """Forwards connections on a loopback port to a server. `upstream` are the toxics on the way to it.

    `struck` is set once a toxic has kept something back or ended a connection; a test may clear it.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server_address = host, port
        self.upstream: tuple[Toxic, ...] = ()
        self.downstream: tuple[Toxic, ...] = ()
        self.struck = asyncio.Event()
        self.connections = 0
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()

    @property
    def port(self) -> int:
        return self._listening.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        # A cancelled handler would be reported as an error by Python 3.11's streams.
        with contextlib.suppress(asyncio.CancelledError):
            await self._forward(reader, writer)
        self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._server_address)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, back)
        self._ends.update(ends)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, _Link(back, ends, self.struck), "upstream"))
                both.create_task(self._carry(there, _Link(writer, ends, self.struck), "downstream"))
        except* _Ended:
            pass
        except* ConnectionError:
            _reset(ends)
        finally:
            for end in ends:
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, link: "_Link", way: str) -> None:
        while piece := await reader.read(_PIECE):
            async for part in _through(getattr(self, way), piece, link):
                link.writer.write(part)
                await link.writer.drain()
        for toxic in getattr(self, way):
            await toxic.end(link)
        link.writer.write_eof()


class _Ended(Exception):
    """A toxic has ended the connection."""


class _Link:
    """One direction of one connection: how much has met each toxic, and the means to end both directions."""

    def __init__(
        self, writer: asyncio.StreamWriter, ends: tuple[asyncio.StreamWriter, ...], struck: asyncio.Event
    ) -> None:
        self.writer = writer
        self.met: Counter[Toxic] = Counter()
        self._ends = ends
        self._struck = struck

    def strike(self) -> None:
        self._struck.set()

    def close(self) -> None:
        """End it in order. Raises _Ended."""
        raise _Ended

    def reset(self) -> None:
        """End it with RST at both ends. Raises _Ended."""
        _reset(self._ends)
        raise _Ended


def _reset(ends: tuple[asyncio.StreamWriter, ...]) -> None:
    for end in ends:
        if not end.transport.is_closing():
            # Closed without lingering, a socket sends RST.
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()


async def _through(toxics: "tuple[Toxic, ...]", piece: bytes, link: _Link) -> AsyncIterator[bytes]:
    if not toxics:
        yield piece
        return
    first, *others = toxics
    async for part in first.carry(piece, link):
        link.met[first] += len(part)
        async for result in _through(tuple(others), part, link):
            yield result


@dataclass(frozen=True, eq=False)
class Toxic:
    """What becomes of each piece, and of the end of the stream. This one does nothing."""

    async def carry(self, piece: bytes, link: _Link) -> AsyncIterator[bytes]:
        yield piece

    async def end(self, link: _Link) -> None:
        """The stream ends in order; return to let the other side know."""


@dataclass(frozen=True, eq=False)
class Latency(Toxic):
    """Every piece is late. Pieces wait one after another, as over a link with one of them in flight."""

    seconds: float

    async def carry(self, piece: bytes, link: _Link) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.seconds)
        yield piece


@dataclass(frozen=True, eq=False)
class Bandwidth(Toxic):
    """So many octets a second and no more."""

    octets_per_second: int

    async def carry(self, piece: bytes, link: _Link) -> AsyncIterator[bytes]:
        # Ten pieces a second, so that a slow link trickles and does not gush.
        step = max(1, self.octets_per_second // 10)
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            await asyncio.sleep(len(part) / self.octets_per_second)
            yield part


@dataclass(frozen=True, eq=False)
class SlowClose(Toxic):
    """The end of the stream is late."""

    seconds: float

    async def end(self, link: _Link) -> None:
        link.strike()
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, eq=False)
class Slicer(Toxic):
    """Pieces of so many octets at most, each sent by itself."""

    octets: int

    async def carry(self, piece: bytes, link: _Link) -> AsyncIterator[bytes]:
        for start in range(0, len(piece), self.octets):
            yield piece[start : start + self.octets]
            await asyncio.sleep(0)


@dataclass(frozen=True, eq=False)
class _After(Toxic):
    """What happens once so many octets have passed on a connection."""

    after: int = 0

    async def carry(self, piece: bytes, link: _Link) -> AsyncIterator[bytes]:
        left = self.after - link.met[self]
        if left > 0:
            yield piece[:left]
        if left < len(piece):
            link.strike()
            await self.strike(link)

    async def strike(self, link: _Link) -> None:
        """Keep the rest back, or end the connection."""


@dataclass(frozen=True, eq=False)
class Timeout(_After):
    """The rest is swallowed, and the connection stays open."""


@dataclass(frozen=True, eq=False)
class LimitData(_After):
    """The connection ends in order."""

    async def strike(self, link: _Link) -> None:
        link.close()


@dataclass(frozen=True, eq=False)
class ResetPeer(_After):
    """The connection is reset, at both ends."""

    async def strike(self, link: _Link) -> None:
        link.reset()
