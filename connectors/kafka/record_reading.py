"""A record read again as a mail: the inverse of `connectors.kafka.record`, for every form that it writes."""

from collections.abc import Callable, Iterable

import msgspec

from gateway.codec import CodecError, avro_v1, cloudevents, json_v1, raw_envelope
from gateway.connector import Fetch, Mail, SourceError
from gateway.envelope import BLOCK, Content, ContentReference, Envelope

__all__ = ["read_record"]

_REFERENCE = msgspec.json.Decoder(ContentReference)


async def read_record(
    headers: Iterable[tuple[str, bytes]],
    value: bytes | None,
    fetch: Fetch,
    is_wanted: Callable[[Envelope], bool],
) -> Mail | None:
    """The mail of a record, its content for the caller to close; None where its envelope is not wanted.

    `fetch` gets content that lies elsewhere (a claim check). Raises SourceError for what is no mail of this connector.
    """
    headers = list(headers)
    if value is None:
        raise SourceError("the record has no value: it deletes its key, and is no mail")
    named = dict(headers)
    content_type = named.get("content-type", b"").decode(errors="replace").partition(";")[0].strip().lower()
    try:
        if content_type == "message/rfc822" or "mail-reference" in named:
            return await _read_raw(headers, named.get("mail-reference"), value, fetch, is_wanted)
        envelope = _decode(content_type, value)
    except (CodecError, msgspec.DecodeError) as error:
        raise SourceError(f"the record cannot be read: {error}") from error
    if not is_wanted(envelope):
        return None
    message = envelope.message
    if message.content is not None:
        return Mail(envelope, Content(message.content))
    if message.reference is None:
        raise SourceError("the record has neither the content nor a reference to it")
    return Mail(envelope, await fetch(message.reference))


def _decode(content_type: str, value: bytes) -> Envelope:
    match content_type:
        case "application/json":
            return json_v1.decode(value)
        case "application/cloudevents+json":
            return cloudevents.read_structured(value)
        case "application/avro":
            # A bare datum begins with the length of the id, which is never zero.
            return avro_v1.decode(avro_v1.unframe(value)[1] if value.startswith(b"\0") else value)
        case _:
            raise SourceError(f"its content-type {content_type!r} is none that the kafka connector writes")


async def _read_raw(
    headers: list[tuple[str, bytes]],
    reference: bytes | None,
    value: bytes,
    fetch: Fetch,
    is_wanted: Callable[[Envelope], bool],
) -> Mail | None:
    envelope = raw_envelope.decode(headers, value)
    if not is_wanted(envelope):
        return None
    if reference is None:
        return Mail(envelope, Content(value))
    content = await fetch(_REFERENCE.decode(reference))
    try:
        return Mail(raw_envelope.decode(headers, content.read(BLOCK)), content)
    except BaseException as error:
        content.close()
        if isinstance(error, OSError):
            raise SourceError(f"the content cannot be read: {error}") from error
        raise
