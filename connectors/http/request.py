"""The mapping from a mail to a request: header fields and body. It reads a content only to inline it.

    cloudevents-binary      CloudEvents HTTP binding §3.1: the event's attributes in `ce-*` fields, the body is the
                            envelope as JSON, content inside
    cloudevents-structured  §3.2: one JSON event with the envelope as its data
    raw                     §3.1 with the content itself as the body, message/rfc822; the envelope is in the fields of
                            `gateway.codec.raw`
    multipart               §3.1 with multipart/form-data (RFC 7578) as the body: `envelope` in JSON, `content`, and
                            `bmtd-0000`, … with two octets of type and the data of a container each

Every part of a form is a file, because frameworks hold text fields to limits that an envelope may exceed. The values of
`ce-*` and `mail-*` are percent-encoded UTF-8, those of `bmtd-*` base64. Where a name has several values they are one
list, separated by commas (RFC 9110 §5.3): most frameworks show only one of several fields of the same name.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.http.body import Body
from gateway.codec import cloudevents, json_v1, raw
from gateway.connector import Mail, PermanentFailure
from gateway.envelope import Content, Envelope, encode_container
from gateway.status import MESSAGE_TOO_BIG

__all__ = ["Fields", "Request", "RequestForm"]

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What a mail becomes; signature, credentials and Content-Length are not in it yet."""

    headers: Fields
    body: Body


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForm:
    """How a destination wants its mails, and the limits of that form in octets (see `HttpSettings`)."""

    format: str
    inline_max_bytes: int
    header_max_bytes: int

    @property
    def is_inline(self) -> bool:
        """Whether the content is copied into the request."""
        return self.format in ("cloudevents-binary", "cloudevents-structured")

    def build(self, mail: Mail) -> Request:
        """The request for `mail`.

        Raises PermanentFailure when the mail does not fit into this form, OSError when its content cannot be read.
        """
        if self.is_inline and mail.content.size > self.inline_max_bytes:
            raise PermanentFailure(
                MESSAGE_TOO_BIG,
                f"the mail is too big for this destination, which takes {self.inline_max_bytes} octets",
                cause=f'its content has {mail.content.size} octets: raise inline_max_bytes, or set format to "raw" or '
                '"multipart", which have no limit',
            )
        request = _FORMATS[self.format](mail)
        size = sum(len(name) + len(value) + len(": \r\n") for name, value in request.headers)
        if size > self.header_max_bytes:
            raise PermanentFailure(
                MESSAGE_TOO_BIG,
                "the mail has too many recipients or too much metadata for this destination",
                cause=f'its headers need {size} octets: set format to "multipart", or raise header_max_bytes and what '
                "the consumer's server takes",
            )
        return request


def _cloudevents_binary(mail: Mail) -> Request:
    headers = cloudevents.http_headers(cloudevents.attributes(mail.envelope))
    return Request(tuple(headers), Body((json_v1.encode(mail.inline()),)))


def _cloudevents_structured(mail: Mail) -> Request:
    headers = (("content-type", "application/cloudevents+json"),)
    return Request(headers, Body((cloudevents.structured(mail.inline()),)))


def _raw(mail: Mail) -> Request:
    values: dict[str, list[str]] = {}
    for name, value in raw.encode(mail.envelope):
        encoded = base64.b64encode(value).decode() if name.startswith("bmtd-") else _list_element(value.decode())
        values.setdefault(name, []).append(encoded)
    fields = tuple((name, ",".join(encoded)) for name, encoded in values.items())
    return Request((*_event(mail.envelope, "message/rfc822"), *fields), Body((mail.content,)))


def _multipart(mail: Mail) -> Request:
    # Random, because strangers write the content and must not be able to end its part.
    boundary = secrets.token_hex(16)
    envelope = mail.envelope
    parts: list[tuple[str, str, str, bytes | Content]] = [
        ("envelope", f"{envelope.id}.json", "application/json", json_v1.encode(envelope)),
        ("content", f"{envelope.id}.eml", "message/rfc822", mail.content),
    ]
    for container in envelope.metadata.containers:
        name = f"bmtd-{container.index:04}"
        parts.append((name, f"{envelope.id}.{name}", "application/octet-stream", encode_container(container)))
    pieces: list[bytes | Content] = []
    for name, filename, media_type, octets in parts:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        pieces += (head.encode(), octets, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return Request(_event(envelope, f"multipart/form-data; boundary={boundary}"), Body(tuple(pieces)))


_FORMATS: Mapping[str, Callable[[Mail], Request]] = {
    "cloudevents-binary": _cloudevents_binary,
    "cloudevents-structured": _cloudevents_structured,
    "raw": _raw,
    "multipart": _multipart,
}


def _event(envelope: Envelope, media_type: str) -> Fields:
    attributes = cloudevents.attributes(envelope)
    # The schema is that of the envelope in JSON, and the body is something else here.
    del attributes["datacontenttype"], attributes["dataschema"]
    return (("content-type", media_type), *cloudevents.http_headers(attributes))


def _list_element(text: str) -> str:
    return cloudevents.percent_encoded(text).replace(",", "%2C")
