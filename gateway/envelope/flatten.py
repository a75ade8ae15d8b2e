"""What becomes of metadata containers at a destination: carried as they are, or flattened into the header section.

Flattening is that of MD00 §4.2 and §4.3.1: the trace fields of the type 0 containers go in front of the content from
top to bottom in the order of the BMTD commands, this gateway's own first; other types have no place there and are
discarded. What happened to each container stands in the disposition. The content's own octets are never rewritten.
"""

from collections.abc import Iterable

from msgspec import structs

from gateway.envelope.content import Content
from gateway.envelope.headers import MAXIMUM_OCTETS, field_spans, read_headers
from gateway.envelope.mail import Mail
from gateway.envelope.metadata import TRACE
from gateway.envelope.model import Action, Container, Disposition, Envelope, Flattened, Metadata

__all__ = ["delivery_form", "flatten", "preserve", "relay_form", "return_path"]

_RETURN_PATH = b"return-path"


def preserve(mail: Mail) -> Mail:
    """The mail for a destination that carries every container as a field of its own.

    One that was flattened already, and comes from an archive, stays as it is: its containers are told of, not there.
    """
    if mail.envelope.message.flattened is not None:
        return mail
    metadata = mail.envelope.metadata
    disposition = tuple(_disposition(container, Action.CARRIED) for container in metadata.containers)
    metadata = structs.replace(metadata, disposition=disposition)
    return Mail(envelope=structs.replace(mail.envelope, metadata=metadata), content=mail.content)


def flatten(mail: Mail) -> Mail:
    """The mail for a destination that knows nothing of containers.

    RFC 5321 §4.4: this is where a mail leaves SMTP, so it gets a Return-Path of its own on top, and those that others
    wrote are removed from containers and header section. No containers are left nor views of them; `message.headers`
    is the header section of the new content, and `message.flattened` its size and digest.
    Reads the whole content: for large content that is work for a thread. Raises OSError where it cannot be read.
    One that was flattened already stays as it is.
    """
    if mail.envelope.message.flattened is not None:
        return mail
    envelope = mail.envelope
    containers = envelope.metadata.containers
    content = delivery_form(containers, mail.content, top=return_path(envelope))
    headers, headers_complete = read_headers(content.read(MAXIMUM_OCTETS + 1))
    message = structs.replace(
        envelope.message,
        headers=headers,
        headers_complete=headers_complete,
        flattened=Flattened(size=content.size, sha256=content.sha256()),
    )
    metadata = Metadata(
        disposition=tuple(
            _disposition(container, Action.FLATTENED if container.type == TRACE else Action.DISCARDED)
            for container in containers
        )
    )
    return Mail(envelope=structs.replace(envelope, metadata=metadata, message=message), content=content)


def delivery_form(containers: Iterable[Container], content: Content, *, top: bytes = b"") -> Content:
    """The octets for whoever makes the final delivery and knows no METADATA (MD00 §5).

    `top`, then the trace fields, then the content; the Return-Path fields that others wrote are left out (A9). Reads
    the header section; raises OSError where it cannot be read.
    """
    return content.derive(
        prefix=top + _trace(containers, foreign=_RETURN_PATH),
        omit=field_spans(content.read(MAXIMUM_OCTETS + 1), _RETURN_PATH),
    )


def return_path(envelope: Envelope) -> bytes:
    """The Return-Path field of a mail that is delivered for good (RFC 5321 §4.4)."""
    return b"Return-Path: <%b>\r\n" % envelope.envelope.mail_from.address.raw.encode()


def relay_form(containers: Iterable[Container], content: Content) -> Content:
    """The octets for a next hop of SMTP without the METADATA extension (MD00 §4.2): trace fields, then the content."""
    return content.derive(prefix=_trace(containers))


def _trace(containers: Iterable[Container], *, foreign: bytes = b"") -> bytes:
    """The type 0 containers as header text; fields named `foreign` (in lower case) are left out."""
    blocks = []
    for container in containers:
        if container.type == TRACE:
            data = container.data
            # Without its last CRLF a container would run into the field after it.
            if data and not data.endswith(b"\r\n"):
                data += b"\r\n"
            if foreign and (spans := field_spans(data, foreign, len(data))):
                data = Content(data).derive(omit=spans).read()
            blocks.append(data)
    return b"".join(blocks)


def _disposition(container: Container, action: Action) -> Disposition:
    return Disposition(index=container.index, type=container.type, size=len(container.data), action=action)
