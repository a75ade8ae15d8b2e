"""The envelope: everything about one accepted mail except its content's octets, as one immutable tree.

It is the single model behind both published forms: `codec.json_v1` writes it as JSON
(`schemas/envelope.v1.schema.json`), `codec.avro_v1` as Avro (`schemas/envelope.v1.avsc`). Octets are `bytes` here,
base64 in JSON and `bytes` in Avro. The names are those of RFC 5321 and RFC 5598; `docs/envelope.md` describes every
field.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from gateway.address import Address, CommandText
from gateway.envelope import ulid

__all__ = [
    "SCHEMA",
    "Action",
    "Client",
    "Container",
    "ContentReference",
    "Disposition",
    "Envelope",
    "Flattened",
    "Header",
    "Message",
    "Metadata",
    "Origin",
    "Parameter",
    "Proxy",
    "Recipient",
    "Sender",
    "Tls",
    "Transaction",
    "TransactionEnvelope",
]

SCHEMA = "urn:mailsluice:schema:envelope:v1"

# The lengths stand beside the patterns because `$` also matches before a line end in Python.
Id = Annotated[
    str,
    Meta(
        pattern=f"^{ulid.PATTERN}$",
        max_length=26,
        description="128 bits, time-ordered, in Crockford's base 32 (ULID).",
    ),
]
Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
        max_length=27,
        description="RFC 3339 in UTC, with microseconds.",
        extra_json_schema={"format": "date-time"},
    ),
]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64, description="SHA-256 in lower-case hexadecimal.")]
Count = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
ContainerType = Annotated[
    int, Meta(ge=0, le=65535, description="The container's first two octets, unsigned, network byte order.")
]


class Origin(StrEnum):
    """Who made a metadata container: this gateway (its own trace, always first) or the client."""

    GATEWAY = "gateway"
    RECEIVED = "received"


class Action(StrEnum):
    """What became of a metadata container at one destination (MD00 §4.3)."""

    CARRIED = "carried"
    FLATTENED = "flattened"
    DISCARDED = "discarded"


class Parameter(Struct, frozen=True, kw_only=True):
    """One ESMTP parameter of MAIL or RCPT, as it came. `value` is empty for a parameter without one (SMTPUTF8)."""

    keyword: CommandText
    value: CommandText = ""


class Sender(Struct, frozen=True, kw_only=True):
    """The reverse-path of MAIL; the null reverse-path is an address with three empty fields."""

    address: Address
    parameters: tuple[Parameter, ...] = ()


class Recipient(Struct, frozen=True, kw_only=True):
    """One accepted forward-path of RCPT."""

    address: Address
    parameters: tuple[Parameter, ...] = ()


class TransactionEnvelope(Struct, frozen=True, kw_only=True):
    """The SMTP envelope (RFC 5321 §2.3.1): the originator, and every accepted recipient that goes to this destination.

    There is at least one recipient.
    """

    mail_from: Sender
    recipients: Annotated[tuple[Recipient, ...], Meta(min_length=1)]


class Client(Struct, frozen=True, kw_only=True):
    """The SMTP client. `address` is an IP address in text, or `unix` for a Unix socket, whose port is 0."""

    address: str
    port: Port = 0


class Proxy(Struct, frozen=True, kw_only=True):
    """The proxy that announced the client by the PROXY protocol; `client` then holds what it announced."""

    address: str
    port: Port = 0


class Tls(Struct, frozen=True, kw_only=True):
    """The TLS layer of the session."""

    version: str
    cipher: str


class Transaction(Struct, frozen=True, kw_only=True):
    """How the mail came in: the protocol keyword of RFC 3848 (`ESMTPSA`, `LMTP`, …) and the session's facts."""

    protocol: str
    listener: str
    session: str
    client: Client
    hello: str = ""
    proxy: Proxy | None = None
    tls: Tls | None = None
    authenticated_as: str = ""
    extensions: tuple[str, ...] = ()
    body: Annotated[
        str, Meta(description="The BODY parameter of MAIL (RFC 6152, RFC 3030); 7BIT when there was none.")
    ] = "7BIT"


class Header(Struct, frozen=True, kw_only=True):
    """One header field. `value` is everything after the colon up to the field's last CRLF, folding included.

    `raw` holds the octets of the value where they are not UTF-8; `value` then shows U+FFFD in their places.
    A line that is no header field has an empty name and stands whole in the value.
    """

    name: str
    value: str
    raw: bytes = b""


class Container(Struct, frozen=True, kw_only=True):
    """One metadata container of the BMTD command (MD00 §3.1): its type and the octets after the type, verbatim."""

    index: Count
    type: ContainerType
    origin: Origin
    data: bytes


class Disposition(Struct, frozen=True, kw_only=True):
    """What became of the container `index` at this destination."""

    index: Count
    type: ContainerType
    size: Annotated[int, Meta(ge=0, description="Octets of data, the two type octets not counted.")]
    action: Action


class Metadata(Struct, frozen=True, kw_only=True):
    """The metadata containers, this gateway's own trace first, then the received ones in BMTD order, and views of them.

    `trace` reads the type 0 containers as header fields; `trace_complete` is false where they are more than the gateway
    reads. `keywords` reads the type 1 container as IMAP flags that a mail store may set. `disposition` names every
    container; a destination that flattens has no `containers` left.
    """

    containers: tuple[Container, ...] = ()
    trace: tuple[Header, ...] = ()
    trace_complete: bool = True
    keywords: tuple[str, ...] = ()
    disposition: tuple[Disposition, ...] = ()


class Flattened(Struct, frozen=True, kw_only=True):
    """The content as a flattening destination holds it: trace fields prepended, foreign Return-Path fields removed."""

    size: Count
    sha256: Sha256


class ContentReference(Struct, frozen=True, kw_only=True):
    """Where the content lies when it does not travel with the envelope (a claim check)."""

    connector: str
    type: str
    location: dict[str, str | int]


class Message(Struct, frozen=True, kw_only=True):
    """The message content's facts. `size` and `sha256` are those of the octets as received, dot-stuffing undone.

    `headers` is the header section in order, duplicates kept; `headers_complete` is false where it is longer than the
    gateway reads. `chunks` are the sizes of the BDAT chunks, empty for DATA. `content` holds the octets themselves
    where they travel inside the envelope; where they lie elsewhere, `reference` says where; where both are null they
    travel beside it (an object, a file, a body part). Where `flattened` is present, `headers` and `content` are of that
    form.
    """

    size: Count
    sha256: Sha256
    headers: tuple[Header, ...] = ()
    headers_complete: bool = True
    chunks: tuple[Count, ...] = ()
    content: bytes | None = None
    reference: ContentReference | None = None
    flattened: Flattened | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    """One accepted mail, as every destination gets it."""

    id: Id
    received_at: Timestamp
    gateway: Annotated[str, Meta(description="The host name of the gateway that accepted the mail.")]
    transaction: Transaction
    envelope: TransactionEnvelope
    metadata: Metadata
    message: Message
