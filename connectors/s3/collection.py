"""Removing mails from a bucket, and the shared content that no mail refers to any more.

A collection takes two runs at least: the first condemns a content that no mail refers to, and one that comes later, by
the grace time, deletes it if there is still no reference. The mark, renewed then, stays for another grace time, so that
a request to delete that was long on its way cannot meet a content that was stored anew or spared. In the meantime mails
with this content keep copies of their own. `shared` says why this is safe while gateways store mail.

Two collections at a time would not be: one may spare a content that the other is about to delete. So each begins with
an object that the store lets only one of them make.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from botocore.exceptions import ClientError

from connectors.s3 import failures
from connectors.s3.bucket import Bucket, Listed
from connectors.s3.shared import condemned_key, references_key
from connectors.s3.threads import Permit
from gateway.codec import json_v1
from gateway.collection import Collected
from gateway.connector import TransientFailure
from gateway.envelope import ulid
from gateway.status import LOCAL_ERROR

__all__ = ["collect", "remove", "stem_of"]

# The store takes no signed request that is older than a quarter of an hour.
_REQUEST_LIFETIME = timedelta(minutes=20)

_PLACE = rf"[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}/{ulid.PATTERN}"
_STEM = re.compile(rf"(.*{_PLACE})(?:\.(?:eml|bmtd|json))?")
_SHARED = re.compile(
    r"(?P<content>(?P<prefix>.*)content/[0-9a-f]{2}/[0-9a-f]{64})"
    rf"(?:\.eml|/(?P<condemned>condemned)|/refs/(?P<place>{_PLACE})/[0-9a-f]+)"
)


def stem_of(key: str) -> str:
    """The key of a mail without the suffix of one of its objects. Raises ValueError."""
    if not (match := _STEM.fullmatch(key)):
        raise ValueError(f"{key} is no mail of an archive: give it as <prefix>YYYY/MM/DD/<id>")
    return match[1]


def remove(bucket: Bucket, stem: str, permit: Permit) -> bool:
    """Delete the mail's objects, its envelope first, and its references. Raises CodecError where that is damaged."""
    marker = bucket.read(f"{stem}.json", permit)
    reference = json_v1.decode(marker).message.reference if marker is not None else None
    for suffix in (".json", ".bmtd", ".eml"):
        bucket.delete(stem + suffix, permit)
    if reference is not None:
        # A place has as many characters as any other.
        place = stem[-len("YYYY/MM/DD/") - 26 :]
        for found in bucket.list(references_key(str(reference.location["key"]), place), permit):
            bucket.delete(found.key, permit)
    return marker is not None


def collect(bucket: Bucket, prefix: str, grace: timedelta, permit: Permit) -> Collected:
    """Condemn what nobody refers to, delete what was condemned `grace` ago, below `prefix`.

    Raises TransientFailure where another collection is at work.
    """
    running = f"{prefix}content/collecting"
    try:
        bucket.put_mark(running, permit, only_first=True)
    except ClientError as error:
        if not failures.is_answered_by_looking(error):
            raise
        raise TransientFailure(
            LOCAL_ERROR,
            "another collection is at work",
            cause=f"another collection is at work; if there was none for an hour, one was killed: delete {running}",
        ) from error
    contents = octets = condemned = 0
    try:
        before = datetime.now(UTC) - grace
        for use in _uses(bucket, prefix, before, permit):
            if not _is_removed(bucket, use, before, permit):
                condemned += not use.is_referred_to and use.content is not None
            elif use.content is not None:
                contents += 1
                octets += use.content.size
    finally:
        bucket.discard(running)
    return Collected(contents=contents, octets=octets, condemned=condemned)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What there is of one content."""

    key: str
    content: Listed | None
    condemned: Listed | None
    is_referred_to: bool


def _uses(bucket: Bucket, prefix: str, before: datetime, permit: Permit) -> Iterator[_Use]:
    # A prefix with fields in it stands for folders that only a listing of everything shows.
    listed = ((_SHARED.fullmatch(item.key), item) for item in bucket.list(prefix, permit))
    ours = ((match, item) for match, item in listed if match)
    for stem, group in groupby(ours, key=lambda each: each[0]["content"]):
        yield _use(bucket, f"{stem}.eml", group, before, permit)


def _use(
    bucket: Bucket, key: str, group: Iterable[tuple[re.Match[str], Listed]], before: datetime, permit: Permit
) -> _Use:
    content = condemned = None
    is_referred_to = False
    for match, item in group:
        if match["condemned"]:
            condemned = item
        elif not match["place"]:
            content = item
        elif not is_referred_to:
            is_referred_to = item.stored_at > before or bucket.has(f"{match['prefix']}{match['place']}.json", permit)
            if not is_referred_to:
                bucket.delete(item.key, permit)
    return _Use(key=key, content=content, condemned=condemned, is_referred_to=is_referred_to)


def _is_removed(bucket: Bucket, use: _Use, before: datetime, permit: Permit) -> bool:
    mark = condemned_key(use.key)
    if use.condemned is None:
        if use.content is not None and not use.is_referred_to and use.content.stored_at <= before:
            bucket.put_mark(mark, permit)
        return False
    if use.is_referred_to:
        if use.condemned.stored_at <= datetime.now(UTC) - _REQUEST_LIFETIME:
            bucket.delete(mark, permit)
        return False
    if use.condemned.stored_at > before:
        return False
    if use.content is None:
        bucket.delete(mark, permit)
        return True
    # The mark is new from now on: whoever spares or forgets this content waits until the deletion cannot be under way.
    bucket.put_mark(mark, permit)
    # The listing is from before, and an attempt that had looked for the mark early may have stored its reference since.
    if any(True for _ in bucket.list(references_key(use.key), permit)):
        return False
    bucket.delete(use.key, permit)
    return True
