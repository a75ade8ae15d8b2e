"""The connector: from a mail to the consumer's word about it."""

import asyncio
from contextlib import nullcontext

from connectors.http import failures, outcome
from connectors.http.client import Client
from connectors.http.credentials import read_credentials
from connectors.http.request import Request, RequestForm
from connectors.http.settings import HttpSettings
from gateway.connector import Mail, Receipt, TransientFailure
from gateway.envelope import BLOCK
from gateway.status import LOCAL_ERROR
from gateway.threads import in_thread

__all__ = ["HttpConnector"]

# A mail in one of the JSON formats stands in memory several times over, so only a few large ones may do so at once.
_LARGE = 1024 * 1024
_LARGE_AT_ONCE = 2


class HttpConnector:
    """`gateway.connector.Connector` for a consumer that takes mails over HTTP."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._form = RequestForm(
            format=settings.format,
            inline_max_bytes=settings.inline_max_bytes,
            header_max_bytes=settings.header_max_bytes,
        )
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._client: Client | None = None

    async def open(self) -> None:
        """Read secrets and certificates; no connection is made. Raises PermanentFailure for a file of no use."""
        settings = self._settings
        self._client = Client(
            settings.url,
            read_credentials(settings),
            max_connections=settings.max_connections,
            timeout_seconds=settings.timeout_seconds,
        )

    async def emit(self, mail: Mail) -> Receipt:
        """Send one mail and return when the consumer has said 2xx to all of it."""
        is_large = self._form.is_inline and mail.content.size > _LARGE
        async with self._large if is_large else nullcontext():
            request = await self._request(mail)
            if self._client is None:
                raise TransientFailure(LOCAL_ERROR, "the destination is not open, try again later")
            answer = await self._client.post(mail.envelope.id, request)
        return outcome.receipt(answer, id=mail.envelope.id, connector=self._settings.name)

    async def close(self) -> None:
        """Close every connection; nothing is waited for."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _request(self, mail: Mail) -> Request:
        try:
            if self._form.is_inline and mail.content.size > BLOCK:
                return await in_thread(lambda _: self._form.build(mail))
            return self._form.build(mail)
        except OSError as error:
            raise failures.unreadable(error) from error
