"""Single-instance storage: one object for all mails of the same content, and one empty object for each reference to it.

    <prefix>content/ab/<sha256>.eml                                    the content
    <prefix>content/ab/<sha256>/refs/YYYY/MM/DD/<id>/<attempt>         a mail that has it, or is about to
    <prefix>content/ab/<sha256>/condemned                              nobody may use it any more

S3 changes one object at a time, and no two of them together; nor can it delete one on the condition that there is no
other. What makes sharing safe is the order of things, together with the store's answers being those of now (S3 is
strongly consistent). A mail first stores its reference, then looks whether the content is condemned, then uses it.
A collection (`collection`) first condemns, then waits, then looks for references, then deletes. So one of the two sees
the other: a mail that finds the content condemned keeps a copy of its own, a collection that finds a reference spares
the content.

A reference is of one attempt to store the mail: what an attempt left that failed long ago can be deleted, and that of
a later attempt stays.
"""

import hashlib
import secrets

import structlog
from botocore.exceptions import ClientError

from connectors.s3 import failures
from connectors.s3.body import Body
from connectors.s3.bucket import Bucket, DifferentObject, Stored
from connectors.s3.objects import S3Object
from connectors.s3.threads import Permit
from gateway.connector import Mail
from gateway.envelope import BLOCK, shared_content_key

__all__ = ["condemned_key", "references_key", "store"]

_log = structlog.get_logger(__name__)


def references_key(content_key: str, place: str = "") -> str:
    """What the keys of all references begin with, or those of one mail, whose `place` is `YYYY/MM/DD/<id>`."""
    return f"{content_key.removesuffix('.eml')}/refs/" + (f"{place}/" if place else "")


def condemned_key(content_key: str) -> str:
    """The key of the mark that condemns a content."""
    return f"{content_key.removesuffix('.eml')}/condemned"


def store(bucket: Bucket, mail: Mail, prefix: str, permit: Permit) -> Stored | None:
    """Have the content stored once below `prefix`, with a reference of this mail, and say where.

    None where the mail has to keep a copy of its own: the content is condemned, or what lies under its key is not it.
    Raises as `Bucket.put` does.
    """
    envelope = mail.envelope
    sha256 = (envelope.message.flattened or envelope.message).sha256
    item = S3Object(
        key=f"{prefix}{shared_content_key(sha256)}", content=mail.content, sha256=sha256, media_type="message/rfc822"
    )
    place = f"{envelope.received_at[:10].replace('-', '/')}/{envelope.id}"
    reference = f"{references_key(item.key, place)}{secrets.token_hex(8)}"
    bucket.put_mark(reference, permit)
    if bucket.has(condemned_key(item.key), permit):
        bucket.discard(reference)
        return None
    try:
        return _found(bucket, item, permit) or bucket.put(item, permit)
    except DifferentObject as different:
        _log.error("a shared content is damaged, and is not used any more", cause=str(different))
        bucket.discard(reference)
        return None


def _found(bucket: Bucket, item: S3Object, permit: Permit) -> Stored | None:
    # Content that is there is not sent again only to be refused.
    try:
        found = bucket.find(item, permit)
    except ClientError as error:
        if failures.is_missing(error):
            return None
        raise
    # What a mail refers to is what was received, not what its envelope claims: nobody gets at content by its digest.
    digest, body = hashlib.sha256(), Body(item.content, 0, item.content.size, permit)
    while block := body.read(BLOCK):
        digest.update(block)
    if digest.hexdigest() != item.sha256:
        raise OSError("the content does not have the digest that its envelope says")
    return found
