"""A body on its way to the consumer, as aiohttp sends it."""

import asyncio
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from connectors.http.body import Body, Reading

__all__ = ["Upload"]


class Upload(aiohttp.Payload):
    """A body on its way to the consumer."""

    _autoclose = True

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._size = body.size
        self._reading = Reading(body)
        self._writer: asyncio.Task[Any] | None = None

    @property
    def is_out(self) -> bool:
        """Whether all of it went into the connection: from then on only the consumer knows if it has arrived."""
        return self._writer is not None and self._reading.is_at_end

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # aiohttp's signature
        """For text only, which this is not."""
        raise TypeError("a body is octets")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the blocks, each when the connection has room for it."""
        self._writer = asyncio.current_task()
        while block := await self._reading.next():
            await writer.write(block)

    async def stop(self) -> None:
        """Return when nothing reads the body any more; a cancellation is passed on then, and not before."""
        cancelled = None
        while self._writer is not None and not self._writer.done():
            self._writer.cancel()
            try:
                await asyncio.wait([self._writer])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
