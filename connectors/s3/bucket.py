"""Objects in the bucket, each stored once.

`If-None-Match: *` makes the store refuse a second object under a key, and the SHA-256 that goes with every object makes
it refuse octets that are not those the envelope speaks of. So any request may be repeated, also one whose outcome is
unknown: the answer 412, when the object that is there has the same digest, means that the first one had succeeded.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
"""

import base64
import hashlib
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from connectors.s3 import failures
from connectors.s3.body import Body
from connectors.s3.failures import OutcomeUnknown
from connectors.s3.multipart import put_in_parts, sweep
from connectors.s3.objects import S3Object, terms
from connectors.s3.settings import S3Settings
from connectors.s3.store import Store
from connectors.s3.threads import Permit
from gateway.connector import TransientFailure
from gateway.envelope import BLOCK
from gateway.status import LOCAL_ERROR

__all__ = ["Bucket", "Stored"]

# Longer than any deadline: an upload that began so long ago belongs to an emit that is over.
_ABANDONED_AFTER = timedelta(hours=1)


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
        sweep(self._store, self._settings.prefix.partition("{")[0], before=datetime.now(UTC) - _ABANDONED_AFTER)

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

    def _existing(self, item: S3Object, permit: Permit) -> Stored:
        try:
            head = self._store.attempt(permit, "head_object", Key=item.key, ChecksumMode="ENABLED")
            found = _stored(item.key, head)
            is_same = head["ContentLength"] == item.content.size and self._digest(head, found, permit) == item.sha256
        except (ClientError, BotoCoreError, CancelledError) as error:
            if failures.is_missing(error):
                raise
            raise OutcomeUnknown(error) from error
        if not is_same:
            raise TransientFailure(
                LOCAL_ERROR,
                "the message could not be stored under its id, try again later",
                cause=f"another object lies at {item.key} in the bucket {self.name}, and nothing is overwritten",
            )
        return found

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
