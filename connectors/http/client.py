"""The HTTP client of one consumer: signs a request, posts it, reads the answer, within a time and in one attempt.

Connections are kept and shared, redirections are not followed, answers are neither decompressed nor read beyond 64 KiB,
cookies are not kept, proxies of the environment are not asked. There are no second attempts.
"""

import asyncio
import time
from typing import Any

import aiohttp
from yarl import URL

from connectors.http.body import Reading
from connectors.http.credentials import Credentials
from connectors.http.failures import translated
from connectors.http.outcome import ANSWER_LIMIT, Answer
from connectors.http.request import Fields, Request
from connectors.http.signature import Signature
from connectors.http.upload import Upload
from gateway import __version__

__all__ = ["Client"]

# Shorter than any usual server keeps an idle connection (gunicorn, the shortest, 2 seconds): a mail that is sent into a
# connection which the consumer is closing has to be tried again.
_KEEPALIVE_SECONDS = 1.5


class Client:
    """Connections to the consumer at `url`. It is made inside the event loop that it works for."""

    def __init__(self, url: str, credentials: Credentials, *, max_connections: int, timeout_seconds: float) -> None:
        self._url = URL(url, encoded=True)
        self._timeout_seconds = timeout_seconds
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
        """Send `request` under `id` and return the whole answer.

        Raises TransientFailure where there is none in time. However it ends, nothing reads the content afterwards.
        """
        upload = Upload(request.body)
        with translated(upload, self._timeout_seconds):
            async with asyncio.timeout(self._timeout_seconds):
                headers = (*request.headers, *await self._signature(id, request))
                try:
                    return await self._exchange(upload, headers)
                finally:
                    await upload.stop()

    async def close(self) -> None:
        """Close every connection; nothing is waited for."""
        await self._session.close()

    async def _signature(self, id: str, request: Request) -> Fields:  # noqa: A002  # the signature's own word
        signature = Signature(self._keys, id=id, timestamp=int(time.time()))
        reading = Reading(request.body, signature.update)
        while await reading.next():
            pass
        return signature.headers()

    async def _exchange(self, upload: Upload, headers: Fields) -> Answer:
        async with self._session.post(self._url, data=upload, headers=headers, allow_redirects=False) as response:
            body = bytearray()
            while len(body) < ANSWER_LIMIT and (block := await response.content.read(ANSWER_LIMIT - len(body))):
                body += block
            is_encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
            # Not aiohttp's content_type: it asks the email package, which hostile values hold up and break.
            media_type, _, _ = response.headers.get("Content-Type", "").partition(";")
            return Answer(
                status=response.status,
                is_early=not upload.is_out,
                media_type=media_type.strip().lower(),
                location=response.headers.get("Location", ""),
                retry_after=response.headers.get("Retry-After", ""),
                body=b"" if is_encoded else bytes(body),
            )


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
