"""The S3 connector: a bucket, the threads that speak to it, and the layout in which mails lie there."""

from datetime import timedelta
from functools import partial

import structlog

from connectors.s3 import collection, failures
from connectors.s3.batch_layout import BatchLayout
from connectors.s3.bucket import Bucket
from connectors.s3.message_layout import MessageLayout
from connectors.s3.settings import S3Settings
from connectors.s3.threads import Threads
from gateway.collection import Collected
from gateway.connector import Mail, Receipt, TransientFailure
from gateway.status import MISCONFIGURED

__all__ = ["S3Connector"]

_log = structlog.get_logger(__name__)


class S3Connector:
    """Stores mails in one bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._threads = Threads(settings.connections, settings.name)
        self._bucket: Bucket | None = None
        self._layout: MessageLayout | BatchLayout | None = None

    async def open(self) -> None:
        """Find credentials and look at the bucket. A store that is down is noted, and each mail will be told.

        Raises PermanentFailure when there are no credentials, or the bucket does not exist or is not open to them.
        """
        settings = self._settings
        try:
            bucket = self._bucket = await self._threads.run(lambda _: Bucket(settings))
        except TransientFailure as failure:
            raise failures.unusable(settings.bucket, failure) from failure
        layout = MessageLayout if settings.layout == "message" else BatchLayout
        self._layout = layout(settings, bucket, self._threads)
        try:
            await self._threads.run(lambda _: bucket.check())
        except TransientFailure as failure:
            if failure.status == MISCONFIGURED:
                raise failures.unusable(settings.bucket, failure) from failure
            _log.warning("the object store is not ready", connector=settings.name, cause=failure.cause)

    async def emit(self, mail: Mail) -> Receipt:
        """Store `mail`, and return when the store has confirmed all of it.

        Raises TransientFailure, or PermanentFailure for what the store takes under no circumstances. A cancelled emit
        reads no more content and aborts its upload; a request that hangs at that moment ends by its time-out.
        """
        if self._layout is None:
            raise RuntimeError("the connector is not open")
        return await self._layout.emit(mail)

    async def remove(self, key: str) -> bool:
        """Remove the mail at `<prefix>YYYY/MM/DD/<id>` (`gateway.collection.CollectingConnector`)."""
        stem = collection.stem_of(key)
        return await self._threads.run(partial(collection.remove, self._opened(), stem))

    async def collect(self, *, unused_seconds: float) -> Collected:
        """Remove shared objects without references (`gateway.collection.CollectingConnector`)."""
        prefix = self._settings.prefix.partition("{")[0]
        unused = timedelta(seconds=unused_seconds)
        return await self._threads.run(partial(collection.collect, self._opened(), prefix, unused))

    def _opened(self) -> Bucket:
        if self._bucket is None:
            raise RuntimeError("the connector is not open")
        return self._bucket

    async def close(self) -> None:
        """Store open batches, within two seconds, and let the threads go."""
        if self._layout is not None:
            await self._layout.close()
        await self._threads.close()
        if self._bucket is not None:
            self._bucket.close()
