"""Objects in the bucket, each stored once.

`If-None-Match: *` makes the store refuse a second object under a key, and the SHA-256 that goes with every object makes
it refuse octets that are not those the envelope speaks of. So any request may be repeated, also one whose outcome is
unknown: the answer 412, when the object that is there has the same digest, means that the first one had succeeded.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
"""

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryFile
from typing import Any

import structlog
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from connectors.s3 import failures
from connectors.s3.body import Body
from connectors.s3.failures import OutcomeUnknown
from connectors.s3.multipart import put_in_parts, sweep
from connectors.s3.objects import S3Object, terms
from connectors.s3.settings import S3Settings
from connectors.s3.store import Store
from connectors.s3.threads import Permit
from gateway.connector import TransientFailure
from gateway.envelope import BLOCK, Content
from gateway.status import LOCAL_ERROR

__all__ = ["Bucket", "DifferentObject", "Listed", "Stored"]

_log = structlog.get_logger(__name__)

# Longer than any deadline: an upload that began so long ago belongs to an emit that is over.
_ABANDONED_AFTER = timedelta(hours=1)
# Seconds between three attempts to read an object, and what comes instead of the end of its octets.
_PAUSES = (0.2, 1.0)
_BROKEN_OFF = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Where an object lies. `version` is empty in a bucket without versioning."""

    key: str
    etag: str
    version: str

    def location(self, bucket: str) -> dict[str, str | int]:
        """The same, as a receipt says it."""
        version: dict[str, str | int] = {"version": self.version} if self.version else {}
        return {"bucket": bucket, "key": self.key, "etag": self.etag, **version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    size: int
    stored_at: datetime


class DifferentObject(Exception):
    """Under a key lies something else than what was looked for."""


class Bucket:
    """The bucket of the settings, as threads see it: the methods block, within bounds.

    What the SDK raises goes through; `failures.translated` stands around all work in a thread.
    """

    def __init__(self, settings: S3Settings) -> None:
        """Raises BotoCoreError."""
        self.name = settings.bucket
        self._settings = settings
        self._store = Store(settings)

    def check(self) -> None:
        """Raise ClientError or BotoCoreError unless the bucket is there and open to us.

        What is asked for is uploads: those that a process left behind when it was killed are aborted on the way.
        """
        prefix = self._settings.prefix.partition("{")[0]
        sweep(self._store, prefix, before=datetime.now(UTC) - _ABANDONED_AFTER)
        if self._settings.single_instance:
            # Who may not list is told 403 in place of 404, and could not tell whether a content is there.
            self._store.send("list_objects_v2", Prefix=prefix, MaxKeys=1)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._store.close()

    def put(self, item: S3Object, permit: Permit) -> Stored:
        """Store `item`, unless it is stored already.

        Raises TransientFailure where other octets lie under its key, and OutcomeUnknown.
        """
        conditions = terms(self._settings, datetime.now(UTC))
        try:
            if item.content.size < self._settings.multipart_threshold_bytes:
                answer = self._put_whole(item, conditions, permit)
            else:
                answer = put_in_parts(self._store, item, self._settings.multipart_part_bytes, conditions, permit)
        except ClientError as error:
            if not failures.is_answered_by_looking(error):
                raise
            return self._existing(item, permit)
        return _stored(item.key, answer)

    def put_mark(self, key: str, permit: Permit, *, only_first: bool = False) -> None:
        """Store an empty object, which says what it says by its key and its time; again, it has the new time.

        With `only_first` it raises ClientError, 412, where there is one already.
        """
        conditions = terms(self._settings, datetime.now(UTC))
        # The cheaper classes charge for an empty object as for one of 128 KB.
        conditions.pop("StorageClass", None)
        if only_first:
            conditions["IfNoneMatch"] = "*"
        self._store.attempt(permit, "put_object", Key=key, Body=b"", **conditions)

    def has(self, key: str, permit: Permit) -> bool:
        """Whether there is an object with this key."""
        try:
            self._store.attempt(permit, "head_object", Key=key)
        except ClientError as error:
            if failures.is_missing(error):
                return False
            raise
        return True

    def read(self, key: str, permit: Permit) -> bytes | None:
        """The octets of an object, which has to be small enough to hold; None where there is none."""
        try:
            answer = self._store.attempt(permit, "get_object", Key=key)
        except ClientError as error:
            if failures.is_missing(error):
                return None
            raise
        with closing(answer["Body"]) as stream:
            octets: bytes = stream.read()
        return octets

    def fetch(self, key: str, permit: Permit, *, version: str = "") -> Content:
        """The octets of an object, in an unnamed file unless they are few; for the caller to close.

        Raises ClientError where there is no such object.
        """
        pauses = iter(_PAUSES)
        while True:
            try:
                return self._fetch(key, permit, {"VersionId": version} if version else {})
            except _BROKEN_OFF:
                # The request itself has been repeated by then.
                pause = next(pauses, None)
                if pause is None:
                    raise
            permit.rest(pause)

    def list(self, prefix: str, permit: Permit) -> Iterator[Listed]:
        """The objects whose keys begin so, in the order of their keys; a thousand at a time in memory."""
        more: dict[str, str] = {}
        while True:
            answer = self._store.attempt(permit, "list_objects_v2", Prefix=prefix, **more)
            for item in answer.get("Contents", ()):
                yield Listed(key=item["Key"], size=item["Size"], stored_at=item["LastModified"])
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def delete(self, key: str, permit: Permit) -> None:
        """Delete an object, if it is there."""
        self._store.attempt(permit, "delete_object", Key=key)

    def discard(self, key: str) -> None:
        """Delete an object that does no harm if it stays; without a permit, since it is for cleaning up."""
        try:
            self._store.send("delete_object", Key=key)
        except (ClientError, BotoCoreError) as error:
            _log.warning("an object could not be deleted", bucket=self.name, key=key, cause=str(error))

    def _fetch(self, key: str, permit: Permit, version: dict[str, str]) -> Content:
        answer = self._store.attempt(permit, "get_object", Key=key, **version)
        size = answer["ContentLength"]
        with closing(answer["Body"]) as stream:
            if size <= BLOCK:
                return Content(stream.read())
            with TemporaryFile(buffering=0) as file:
                for block in stream.iter_chunks(BLOCK):
                    permit.check()
                    rest = memoryview(block)
                    while rest:
                        rest = rest[file.write(rest) :]
                return Content(file=io.FileIO(os.dup(file.fileno())))

    def _put_whole(self, item: S3Object, conditions: dict[str, Any], permit: Permit) -> Any:
        body = Body(item.content, 0, item.content.size, permit)
        return self._store.attempt(
            permit,
            "put_object",
            Key=item.key,
            Body=body.read() if item.content.size <= BLOCK else body,
            ContentType=item.media_type,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(item.sha256)).decode(),
            IfNoneMatch="*",
            **conditions,
        )

    def find(self, item: S3Object, permit: Permit) -> Stored:
        """Where `item` is stored already. Raises DifferentObject, or ClientError where there is none."""
        head = self._store.attempt(permit, "head_object", Key=item.key, ChecksumMode="ENABLED")
        found = _stored(item.key, head)
        if head["ContentLength"] != item.content.size or self._digest(head, found, permit) != item.sha256:
            raise DifferentObject(f"another object lies at {item.key} in the bucket {self.name}")
        return found

    def _existing(self, item: S3Object, permit: Permit) -> Stored:
        try:
            return self.find(item, permit)
        except DifferentObject as different:
            raise TransientFailure(
                LOCAL_ERROR,
                "the message could not be stored under its id, try again later",
                cause=f"{different}, and nothing is overwritten",
            ) from different
        except (ClientError, BotoCoreError, CancelledError) as error:
            if failures.is_missing(error):
                raise
            raise OutcomeUnknown(error) from error

    def _digest(self, head: dict[str, Any], found: Stored, permit: Permit) -> str:
        checksum = head.get("ChecksumSHA256", "")
        # One with a hyphen is a digest of the digests of parts, and not every store keeps one.
        if checksum and "-" not in checksum:
            return base64.b64decode(checksum).hex()
        return self._read_digest(found, permit)

    def _read_digest(self, found: Stored, permit: Permit) -> str:
        version = {"VersionId": found.version} if found.version else {}
        digest = hashlib.sha256()
        with closing(self._store.attempt(permit, "get_object", Key=found.key, **version)["Body"]) as stream:
            for block in stream.iter_chunks(BLOCK):
                permit.check()
                digest.update(block)
        return digest.hexdigest()


def _stored(key: str, answer: dict[str, Any]) -> Stored:
    return Stored(key=key, etag=answer["ETag"].strip('"'), version=answer.get("VersionId", ""))
