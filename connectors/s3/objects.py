"""What a mail is in a bucket: keys, the octets under them, and the terms on which they are stored. Without I/O."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from connectors.s3.settings import S3Settings
from gateway.codec import bmtd, json_v1
from gateway.connector import Mail
from gateway.envelope import Content, Envelope
from gateway.template import Template

__all__ = [
    "OWN_KEY",
    "S3Object",
    "batch_key",
    "content_object",
    "envelope_objects",
    "folder_of",
    "message_objects",
    "prefix_of",
    "terms",
]

# A value may neither add a folder nor name none (an empty one, or the dots of a relative path).
_UNSAFE = re.compile(r"\A\Z|\A\.|[^A-Za-z0-9!_.@+=-]")

# The end of every key that this connector makes.
OWN_KEY = re.compile(
    r"(?:\d{4}/\d\d/\d\d/[0-7][0-9A-HJKMNP-TV-Z]{25}(?:-\d+-[0-9a-f]{16})?|content/[0-9a-f]{2}/[0-9a-f]{64})"
    r"\.(?:eml|bmtd|json|avro)\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Object:
    """An object to store. `sha256` is what its octets must have, in hexadecimal."""

    key: str
    content: Content
    sha256: str
    media_type: str


def folder_of(prefix: Template, envelope: Envelope) -> str:
    """The beginning of the mail's keys: `<prefix>YYYY/MM/DD/`, of the day in UTC on which it was received."""
    return f"{prefix_of(prefix, envelope)}{envelope.received_at[:10].replace('-', '/')}/"


def prefix_of(prefix: Template, envelope: Envelope) -> str:
    """What stands before the date in the mail's keys."""
    return prefix.expand(envelope, unsafe=_UNSAFE)


def message_objects(mail: Mail, folder: str) -> tuple[S3Object, ...]:
    """The objects of one mail in `folder`, in the order of storing; the envelope, the commit marker, is last."""
    return content_object(mail, folder), *envelope_objects(mail.envelope, folder)


def envelope_objects(envelope: Envelope, folder: str) -> tuple[S3Object, ...]:
    """The objects of one mail in `folder` that come after its content, in the order of storing."""
    objects = []
    if envelope.metadata.containers:
        containers = bmtd.encode(envelope.metadata.containers)
        objects.append(_object(f"{folder}{envelope.id}.bmtd", containers, "application/octet-stream"))
    objects.append(_object(f"{folder}{envelope.id}.json", json_v1.encode(envelope), "application/json"))
    return tuple(objects)


def content_object(mail: Mail, folder: str) -> S3Object:
    """The content as it is. The digest is the envelope's: the store itself refuses octets damaged on the way."""
    message = mail.envelope.message
    return S3Object(
        key=f"{folder}{mail.envelope.id}.eml",
        content=mail.content,
        sha256=message.flattened.sha256 if message.flattened else message.sha256,
        media_type="message/rfc822",
    )


def batch_key(folder: str, first_id: str, count: int, sha256: str) -> str:
    """The key of a batch. It follows from the batch's octets alone: the same octets are never stored twice."""
    return f"{folder}{first_id}-{count}-{sha256[:16]}.avro"


def terms(settings: S3Settings, now: datetime) -> dict[str, object]:
    """The parameters that PutObject and CreateMultipartUpload both take, for an object that is stored `now`."""
    given: dict[str, object] = {}
    if settings.storage_class:
        given["StorageClass"] = settings.storage_class
    if settings.sse:
        given["ServerSideEncryption"] = settings.sse
    if settings.kms_key_id:
        given["SSEKMSKeyId"] = settings.kms_key_id
    if settings.tags:
        given["Tagging"] = urlencode(settings.tags)
    if settings.object_lock_mode:
        given["ObjectLockMode"] = settings.object_lock_mode
        given["ObjectLockRetainUntilDate"] = now + timedelta(days=settings.object_lock_days)
    return given


def _object(key: str, octets: bytes, media_type: str) -> S3Object:
    return S3Object(key=key, content=Content(octets), sha256=hashlib.sha256(octets).hexdigest(), media_type=media_type)
