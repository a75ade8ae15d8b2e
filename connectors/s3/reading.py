"""A bucket read again: mails that are objects of their own, and those in Avro files, whatever the layout is now."""

import io
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TypeVar

from connectors.s3.bucket import Bucket, Listed
from connectors.s3.objects import OWN_KEY
from connectors.s3.settings import S3Settings
from connectors.s3.threads import Permit, Threads
from gateway.codec import CodecError, avro_v1, bmtd, json_v1
from gateway.connector import DeliveryFailure, Extent, Fetch, Found, Mail, SourceError
from gateway.envelope import Content, ContentReference, Envelope

__all__ = ["S3Source"]

T = TypeVar("T")

# The end of the keys that mails have: day, id, and for a file of many their number and its digest.
_MAILS = re.compile(
    r"(?P<day>\d{4}/\d\d/\d\d)/(?P<id>[0-7][0-9A-HJKMNP-TV-Z]{25})"
    r"(?:\.json|-(?P<count>\d+)-(?P<digest>[0-9a-f]{16})\.avro)\Z"
)
_PAGE = 1000
# A damaged object may have any size; metadata containers, which are the most of a large envelope, are far below this.
_MAXIMUM_ENVELOPE = 256 * 1024 * 1024


class S3Source:
    """Reads one bucket, in the threads of its own that the settings allow."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._threads = Threads(settings.connections, f"{settings.name}-reading")
        self._opened: Bucket | None = None

    async def mails(self, extent: Extent, _: Fetch) -> AsyncGenerator[Found]:
        """In the order of keys, which is that of days and ids below each prefix.

        Raises SourceError where the bucket cannot be listed.
        """
        prefix = self._settings.prefix.partition("{")[0] if extent.prefix is None else extent.prefix
        first, last = (time[:10].replace("-", "/") for time in (extent.since, extent.until))
        bucket = await self._bucket()
        listed = bucket.list(prefix, Permit())
        where = f"the bucket {bucket.name} cannot be listed (s3:ListBucket)"
        while page := await self._run(where, lambda _: list(islice(listed, _PAGE))):
            for item in page:
                match = _MAILS.search(item.key)
                if match is None or (first and match["day"] < first) or (last and match["day"] > last):
                    continue
                if match["count"] is None:
                    yield Found(place=item.key, id=match["id"], read=partial(self._read, item))
                else:
                    async for found in self._batch(item.key, int(match["count"]), match["digest"]):
                        yield found

    async def content(self, reference: ContentReference) -> Content:
        location = reference.location
        bucket, key = str(location.get("bucket", "")), str(location.get("key", ""))
        if bucket != self._settings.bucket or not OWN_KEY.search(key):
            raise SourceError(f"the content is at {key!r} in the bucket {bucket!r}, which is not one of this connector")
        return await self._fetch(key, version=str(location.get("version", "")))

    async def close(self) -> None:
        await self._threads.close()
        if self._opened is not None:
            self._opened.close()

    async def _read(self, item: Listed, is_wanted: Callable[[Envelope], bool]) -> Mail | None:
        if item.size > _MAXIMUM_ENVELOPE:
            raise SourceError(f"{item.key} has {item.size} octets, which is too many for an envelope")
        bucket = await self._bucket()
        stem = item.key.removesuffix(".json")
        octets = await self._run(f"{item.key} cannot be read", partial(bucket.read, item.key))
        try:
            envelope = json_v1.decode(octets or b"")
        except CodecError as error:
            raise SourceError(f"the envelope {item.key} cannot be read: {error}") from error
        if not is_wanted(envelope):
            return None
        if expected := bmtd.encode(envelope.metadata.containers):
            found = await self._run(f"{stem}.bmtd cannot be read", partial(bucket.read, f"{stem}.bmtd"))
            if found != expected:
                raise SourceError(f"the metadata containers in {stem}.bmtd are not those of the envelope")
        reference = envelope.message.reference
        return Mail(envelope, await (self.content(reference) if reference else self._fetch(f"{stem}.eml")))

    async def _batch(self, key: str, count: int, digest: str) -> AsyncGenerator[Found]:
        """The records of a file, one in memory besides those that are under way; a problem for what cannot be read."""
        try:
            content = await self._fetch(key)
        except SourceError as error:
            yield _unreadable(key, str(error))
            return
        with closing(content):
            sha256 = await self._run(f"{key} cannot be read", lambda _: content.sha256())
            if not sha256.startswith(digest):
                yield _unreadable(key, f"{key} was changed: its SHA-256 does not begin with {digest}")
                return
            records = avro_v1.read_file(io.BufferedReader(content.open()))
            for index in range(count):
                place = f"{key}#{index}"
                try:
                    envelope = await self._run(f"{key} cannot be read", lambda _: next(records, None))
                except SourceError as error:
                    yield _unreadable(place, str(error))
                    return
                if envelope is None:
                    yield _unreadable(place, f"{key} ends after {index} of {count} mails")
                    return
                held = len(envelope.message.content or b"")
                yield Found(place=place, id=envelope.id, held=held, read=partial(self._read_record, envelope))

    async def _read_record(self, envelope: Envelope, is_wanted: Callable[[Envelope], bool]) -> Mail | None:
        if not is_wanted(envelope):
            return None
        message = envelope.message
        if message.content is not None:
            return Mail(envelope, Content(message.content))
        if message.reference is None:
            raise SourceError("the record has neither the content nor a reference to it")
        return Mail(envelope, await self.content(message.reference))

    async def _fetch(self, key: str, *, version: str = "") -> Content:
        bucket = await self._bucket()
        return await self._run(f"{key} cannot be read", partial(bucket.fetch, key, version=version))

    async def _bucket(self) -> Bucket:
        if self._opened is None:
            settings = self._settings
            self._opened = await self._run(f"the bucket {settings.bucket} cannot be used", lambda _: Bucket(settings))
        return self._opened

    async def _run(self, where: str, work: Callable[[Permit], T]) -> T:
        try:
            return await self._threads.run(work)
        except DeliveryFailure as failure:
            raise SourceError(f"{where}: {failure.cause}") from failure


def _unreadable(place: str, problem: str) -> Found:
    async def read(_: Callable[[Envelope], bool]) -> Mail | None:
        raise SourceError(problem)

    return Found(place=place, read=read)
