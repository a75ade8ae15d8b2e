"""The `batch` layout: many mails in one Avro object container file, whose envelopes carry their content.

A batch is open until it has mails, octets or age enough. Then a thread writes its file, a temporary one, and stores it.
The mails have their receipts when the object is there, not before. Mails whose prefix or day differ wait in batches of
their own. A mail too large for a batch puts its content into an object of its own first, in bounded memory, and its
envelope in the batch refers to that.

A cancelled mail leaves its batch. If that is being stored already, the mail may be in it, and come again in another:
readers know it by its id.
"""

import asyncio
import hashlib
import tempfile
import threading
from contextlib import suppress
from functools import partial

from connectors.s3 import failures
from connectors.s3.batch import Place, write
from connectors.s3.bucket import Bucket
from connectors.s3.objects import S3Object, batch_key, content_object, folder_of
from connectors.s3.settings import S3Settings
from connectors.s3.threads import Permit, Threads
from gateway.connector import DeliveryFailure, Mail, Receipt, TransientFailure
from gateway.envelope import Content, ContentReference
from gateway.status import LOCAL_ERROR
from gateway.template import Template

__all__ = ["BatchLayout"]

_FLUSH_SECONDS = 2.0

_Location = dict[str, str | int]
_Outcomes = dict[Place, _Location | DeliveryFailure]


class _Batch:
    """Places in one file. The task `outcomes` waits until the batch is due, stores it, and has what became of each."""

    outcomes: asyncio.Task[_Outcomes]

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.places: list[Place] = []
        self.octets = 0
        self.due = asyncio.Event()


class BatchLayout:
    """Gathers mails and stores a batch at a time."""

    def __init__(self, settings: S3Settings, bucket: Bucket, threads: Threads) -> None:
        self._settings = settings
        self._prefix = Template(settings.prefix)
        self._bucket = bucket
        self._threads = threads
        self._writing = threading.Lock()
        self._open: dict[str, _Batch] = {}
        self._tasks: set[asyncio.Task[_Outcomes]] = set()

    async def emit(self, mail: Mail) -> Receipt:
        """Wait until the mail's batch is stored; the receipt names the object and the record in it."""
        folder = folder_of(self._prefix, mail.envelope)
        if mail.content.size > self._settings.batch_max_bytes:
            mail = await self._by_reference(mail, folder)
        place = Place(mail)
        batch = self._join(place, folder)
        try:
            await asyncio.wait([batch.outcomes])
        except asyncio.CancelledError:
            await self._leave(place, batch)
            raise
        if batch.outcomes.cancelled():
            # `close` could not wait any longer, and a request may be under way.
            raise TransientFailure(LOCAL_ERROR, "the gateway is stopping, try again later", possibly_stored=True)
        outcome = batch.outcomes.result()[place]
        if isinstance(outcome, DeliveryFailure):
            raise failures.fresh(outcome)
        return Receipt(id=mail.envelope.id, connector=self._settings.name, type=self._settings.type, location=outcome)

    async def close(self) -> None:
        """Store what is open, as far as two seconds allow."""
        for batch in list(self._open.values()):
            self._seal(batch)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_FLUSH_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _by_reference(self, mail: Mail, folder: str) -> Mail:
        stored = await self._threads.run(partial(self._bucket.put, content_object(mail, folder)))
        reference = ContentReference(
            connector=self._settings.name, type=self._settings.type, location=stored.location(self._bucket.name)
        )
        return Mail(mail.by_reference(reference), Content())

    def _join(self, place: Place, folder: str) -> _Batch:
        size = place.mail.content.size
        batch = self._open.get(folder)
        if batch is not None and batch.octets + size > self._settings.batch_max_bytes:
            self._seal(batch)
            batch = None
        if batch is None:
            batch = self._open[folder] = _Batch(folder)
            batch.outcomes = asyncio.create_task(self._store_when_due(batch))
            self._tasks.add(batch.outcomes)
            batch.outcomes.add_done_callback(self._tasks.discard)
        batch.places.append(place)
        batch.octets += size
        if len(batch.places) == self._settings.batch_max_mails or batch.octets >= self._settings.batch_max_bytes:
            self._seal(batch)
        return batch

    def _seal(self, batch: _Batch) -> None:
        if self._open.get(batch.folder) is batch:
            del self._open[batch.folder]
        batch.due.set()

    async def _leave(self, place: Place, batch: _Batch) -> None:
        place.permit.end()
        batch.places.remove(place)
        batch.octets -= place.mail.content.size
        if not batch.places:
            self._seal(batch)
            batch.outcomes.cancel()
            await asyncio.wait([batch.outcomes])

    async def _store_when_due(self, batch: _Batch) -> _Outcomes:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.batch_max_age_seconds):
                await batch.due.wait()
        self._seal(batch)
        # Places that are left from now on are skipped by their permits.
        places = tuple(batch.places)
        try:
            return await self._threads.run(partial(self._store, batch.folder, places))
        except DeliveryFailure as failure:
            return dict.fromkeys(places, failure)

    def _store(self, folder: str, places: tuple[Place, ...], permit: Permit) -> _Outcomes:
        with tempfile.TemporaryFile("w+b", buffering=0) as file:
            # One file at a time: the processor does not write two any faster, and memory has room for one large mail.
            with self._writing:
                written, unread = write(places, file, self._settings.batch_compression)
            outcomes: _Outcomes = dict(unread)
            if written:
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                item = S3Object(
                    key=batch_key(folder, written[0].mail.envelope.id, len(written), sha256),
                    content=Content(file=file),
                    sha256=sha256,
                    media_type="application/octet-stream",
                )
                with failures.unsettling():
                    location = self._bucket.put(item, permit).location(self._bucket.name)
                outcomes |= {place: {**location, "index": index} for index, place in enumerate(written)}
        return outcomes
