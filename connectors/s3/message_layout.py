"""The `message` layout: a mail is two or three objects of its own, the envelope last.

The keys are those of a directory archive. An object `<id>.json` says that the mail is complete; objects without one are
what an interrupted emit left, and no mail. Content that mails share lies elsewhere (`shared`), and the envelope refers
to it.
"""

from functools import partial

from connectors.s3 import failures, shared
from connectors.s3.bucket import Bucket
from connectors.s3.objects import content_object, envelope_objects, folder_of, prefix_of
from connectors.s3.settings import S3Settings
from connectors.s3.threads import Permit, Threads
from gateway.connector import Mail, Receipt
from gateway.envelope import ContentReference
from gateway.template import Template

__all__ = ["MessageLayout"]


class MessageLayout:
    """Stores each mail in a thread of its own."""

    def __init__(self, settings: S3Settings, bucket: Bucket, threads: Threads) -> None:
        self._name = settings.name
        self._type = settings.type
        self._prefix = Template(settings.prefix)
        self._bucket = bucket
        self._is_shared = settings.single_instance
        self._threads = threads

    async def emit(self, mail: Mail) -> Receipt:
        """Store the mail; the receipt names its content."""
        location = await self._threads.run(partial(self._store, mail))
        return Receipt(id=mail.envelope.id, connector=self._name, type=self._type, location=location)

    async def close(self) -> None:
        """Nothing waits here."""

    def _store(self, mail: Mail, permit: Permit) -> dict[str, str | int]:
        folder = folder_of(self._prefix, mail.envelope)
        location = self._store_shared(mail, permit) if self._is_shared else {}
        envelope = mail.envelope
        if location:
            envelope = mail.by_reference(
                ContentReference(connector=self._name, type=self._type, location=dict(location))
            )
            location["envelope"] = f"{folder}{envelope.id}.json"
        else:
            location = self._bucket.put(content_object(mail, folder), permit).location(self._bucket.name)
        *parts, marker = envelope_objects(envelope, folder)
        for item in parts:
            self._bucket.put(item, permit)
        with failures.unsettling():
            self._bucket.put(marker, permit)
        return location

    def _store_shared(self, mail: Mail, permit: Permit) -> dict[str, str | int]:
        stored = shared.store(self._bucket, mail, prefix_of(self._prefix, mail.envelope), permit)
        return stored.location(self._bucket.name) if stored else {}
