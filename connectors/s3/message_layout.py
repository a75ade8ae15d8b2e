"""The `message` layout: a mail is two or three objects of its own, the envelope last.

The keys are those of a directory archive. An object `<id>.json` says that the mail is complete; objects without one are
what an interrupted emit left, and no mail.
"""

from functools import partial

from connectors.s3 import failures
from connectors.s3.bucket import Bucket, Stored
from connectors.s3.objects import folder_of, message_objects
from connectors.s3.settings import S3Settings
from connectors.s3.threads import Permit, Threads
from gateway.connector import Mail, Receipt
from gateway.template import Template

__all__ = ["MessageLayout"]


class MessageLayout:
    """Stores each mail in a thread of its own."""

    def __init__(self, settings: S3Settings, bucket: Bucket, threads: Threads) -> None:
        self._name = settings.name
        self._type = settings.type
        self._prefix = Template(settings.prefix)
        self._bucket = bucket
        self._threads = threads

    async def emit(self, mail: Mail) -> Receipt:
        """Store the mail; the receipt names its content."""
        content = await self._threads.run(partial(self._store, mail))
        return Receipt(
            id=mail.envelope.id, connector=self._name, type=self._type, location=content.location(self._bucket.name)
        )

    async def close(self) -> None:
        """Nothing waits here."""

    def _store(self, mail: Mail, permit: Permit) -> Stored:
        *parts, envelope = message_objects(mail, folder_of(self._prefix, mail.envelope))
        content, *_ = [self._bucket.put(item, permit) for item in parts]
        with failures.unsettling():
            self._bucket.put(envelope, permit)
        return content
