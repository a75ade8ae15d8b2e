"""An object in parts: uploaded one after the other without ever being held in memory, and left nowhere half-done.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from connectors.s3 import failures
from connectors.s3.body import Body
from connectors.s3.objects import OWN_KEY, S3Object
from connectors.s3.store import Store
from connectors.s3.threads import Permit
from gateway.envelope import BLOCK

__all__ = ["put_in_parts", "sweep"]

_log = structlog.get_logger(__name__)

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_PARTS = 10_000


def put_in_parts(store: Store, item: S3Object, part_bytes: int, terms: dict[str, Any], permit: Permit) -> Any:
    """Upload `item` in parts of `part_bytes` and return the store's answer. `terms` are those of `objects.terms`.

    Whatever goes wrong, the upload is aborted: parts of an upload that is neither completed nor aborted cost money for
    ever and are seen by nobody. Raises ClientError, BotoCoreError, CancelledError, or OSError where the content cannot
    be read or is not what its envelope says.
    """
    created = store.attempt(
        permit,
        "create_multipart_upload",
        Key=item.key,
        ContentType=item.media_type,
        ChecksumAlgorithm="SHA256",
        **terms,
    )
    upload = {"Key": item.key, "UploadId": created["UploadId"]}
    completed = False
    try:
        parts = _put_parts(store, item, max(part_bytes, -(-item.content.size // _PARTS)), upload, permit)
        answer = store.attempt(
            permit, "complete_multipart_upload", **upload, IfNoneMatch="*", MultipartUpload={"Parts": parts}
        )
        completed = True
    finally:
        if not completed:
            _abort(store, upload)
    _sweep_earlier(store, item.key)
    return answer


def sweep(store: Store, prefix: str, *, before: datetime) -> None:
    """Abort the uploads under keys of this connector that began `before`, as far as the first hundred uploads show any.

    Raises ClientError or BotoCoreError when they cannot be listed.
    """
    answer = store.send("list_multipart_uploads", Prefix=prefix, MaxUploads=100)
    for upload in answer.get("Uploads", ()):
        if upload["Initiated"] < before and OWN_KEY.search(upload["Key"]):
            _abort(store, {"Key": upload["Key"], "UploadId": upload["UploadId"]})


def _sweep_earlier(store: Store, key: str) -> None:
    # What a killed process, or an answer to CreateMultipartUpload that got lost, left of this mail.
    try:
        sweep(store, key, before=datetime.max.replace(tzinfo=UTC))
    except (ClientError, BotoCoreError) as error:
        # The object is there. What else is there, a later start or the bucket's lifecycle rule will find.
        _log.warning("unfinished uploads could not be listed", bucket=store.bucket, key=key, cause=str(error))


def _put_parts(
    store: Store, item: S3Object, size: int, upload: dict[str, str], permit: Permit
) -> list[dict[str, str | int]]:
    # S3 has no SHA-256 of an object in parts, only one of the parts' digests: the whole is checked here.
    whole = hashlib.sha256()
    parts: list[dict[str, str | int]] = []
    for number, start in enumerate(range(0, item.content.size, size), 1):
        body = Body(item.content, start, min(size, item.content.size - start), permit)
        digest = hashlib.sha256()
        while block := body.read(BLOCK):
            whole.update(block)
            digest.update(block)
        body.seek(0)
        checksum = base64.b64encode(digest.digest()).decode()
        answer = store.attempt(permit, "upload_part", **upload, PartNumber=number, Body=body, ChecksumSHA256=checksum)
        parts.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum})
    if whole.hexdigest() != item.sha256:
        raise OSError("the content does not have the digest that its envelope says")
    return parts


def _abort(store: Store, upload: dict[str, str]) -> None:
    try:
        store.send("abort_multipart_upload", **upload)
    except (ClientError, BotoCoreError) as error:
        # NoSuchUpload: it was completed after all, and the answer was lost.
        if not (isinstance(error, ClientError) and failures.code_of(error) == "NoSuchUpload"):
            _log.warning("an upload could not be aborted", bucket=store.bucket, key=upload["Key"], cause=str(error))
