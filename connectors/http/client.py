"""The HTTP client of one consumer: signs a request, posts it, reads the answer.

Connections are kept and shared, redirections are not followed, answers are neither decompressed nor read beyond 64 KiB,
cookies are not kept, proxies of the environment are not asked. There are no second attempts.
"""

import asyncio
import time
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from connectors.http.body import Body, Reading
from connectors.http.credentials import Credentials
from connectors.http.failures import cut_short
from connectors.http.outcome import ANSWER_LIMIT, Answer
from connectors.http.request import Request
from connectors.http.signature import Signature
from gateway import __version__

__all__ = ["Client"]

# Shorter than any usual server keeps an idle connection (gunicorn, the shortest, 2 seconds): a mail that is sent into a
# connection which the consumer is closing has to be tried again.
_KEEPALIVE_SECONDS = 1.5


class Client:
    """Connections to the consumer at `url`. It is made inside the event loop that it works for."""

    def __init__(self, url: str, credentials: Credentials, *, max_connections: int) -> None:
        self._url = URL(url, encoded=True)
        self._keys = credentials.signing_keys
        self._session = aiohttp.ClientSession(
            connector=_Pool(limit=max_connections, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=credentials.tls or True),
            headers=(
                ("User-Agent", f"Mailsluice/{__version__}"),
                ("Accept", "application/json, text/plain"),
                ("Accept-Encoding", "identity"),
                *credentials.headers,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        )

    async def post(self, id: str, request: Request) -> Answer:  # noqa: A002  # the signature's own word
        """Send `request` under `id` and return the answer to all of it.

        Raises aiohttp.ClientError, OSError for content that cannot be read, and TransientFailure for an answer that
        came too early. However it ends, nothing reads the content afterwards.
        """
        signature = Signature(self._keys, id=id, timestamp=int(time.time()))
        reading = Reading(request.body, signature.update)
        while await reading.next():
            pass
        upload = _Upload(request.body)
        headers = (*request.headers, *signature.headers())
        try:
            async with self._session.post(self._url, data=upload, headers=headers, allow_redirects=False) as response:
                answer = await _read(response)
        finally:
            await upload.stop()
        if answer.status < 300 and not upload.sent:
            raise cut_short("it answered before it had the whole mail")
        return answer

    async def close(self) -> None:
        """Close every connection; nothing is waited for."""
        await self._session.close()


class _Pool(aiohttp.TCPConnector):
    """Connections that serve another mail only while nothing came on them that nobody had asked for.

    aiohttp keeps such octets, like a second answer to the mail before, and would take them for the answer to the next
    mail, which would then count as delivered.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


class _Upload(aiohttp.Payload):
    """A body on its way. `sent` says whether all of it was handed to the connection."""

    _autoclose = True

    def __init__(self, body: Body) -> None:
        super().__init__(body)
        self._size = body.size
        self._reading = Reading(body)
        self._writer: asyncio.Task[Any] | None = None
        self.sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002  # aiohttp's signature
        """For text only, which this is not."""
        raise TypeError("a body is octets")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the blocks, each when the connection has room for it."""
        self._writer = asyncio.current_task()
        while block := await self._reading.next():
            await writer.write(block)
        self.sent = True

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


async def _read(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    while len(body) < ANSWER_LIMIT and (block := await response.content.read(ANSWER_LIMIT - len(body))):
        body += block
    is_encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
    # Not aiohttp's content_type: it asks the email package, which hostile values hold up and break.
    media_type, _, _ = response.headers.get("Content-Type", "").partition(";")
    return Answer(
        status=response.status,
        media_type=media_type.strip().lower(),
        location=response.headers.get("Location", ""),
        retry_after=response.headers.get("Retry-After", ""),
        body=b"" if is_encoded else bytes(body),
    )
