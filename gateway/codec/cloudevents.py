"""An accepted mail as an event of CloudEvents 1.0: its context attributes, and the two ways in which they travel.

Structured: one JSON object that has the attributes and the envelope as `data`. Binary: the attributes as headers of the
transport (`ce-*` in HTTP, `ce_*` in Kafka), the body beside them in a media type of its own.
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from gateway.codec.error import CodecError
from gateway.envelope import SCHEMA, Envelope

__all__ = [
    "EVENT_TYPE",
    "attributes",
    "http_headers",
    "kafka_headers",
    "percent_encoded",
    "read_structured",
    "structured",
]

EVENT_TYPE = "org.mailsluice.mail.received.v1"

_ENCODER = msgspec.json.Encoder()
# HTTP binding 1.0 §3.1.3.2: printable ASCII stands as it is, but for the space, the double quote and the percent sign.
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class _Event(msgspec.Struct):
    data: Envelope


_DECODER = msgspec.json.Decoder(_Event)


def attributes(envelope: Envelope, *, dataref: str = "") -> dict[str, str]:
    """The context attributes of the event whose data is the envelope as JSON.

    `source` is the gateway and its listener, `subject` the first recipient's address. `source` and `id` together are
    the same at every attempt to deliver the same mail. `dataref`, where given, is a URI of the same data.
    """
    found = {
        "specversion": "1.0",
        "id": envelope.id,
        "source": f"//{quote(envelope.gateway)}/{quote(envelope.transaction.listener, safe='')}",
        "type": EVENT_TYPE,
        "time": envelope.received_at,
        "subject": envelope.envelope.recipients[0].address.raw,
        "datacontenttype": "application/json",
        "dataschema": SCHEMA,
    }
    if dataref:
        found["dataref"] = dataref
    return found


def structured(envelope: Envelope, *, dataref: str = "") -> bytes:
    """The whole event in the JSON format, `application/cloudevents+json`."""
    return _ENCODER.encode({**attributes(envelope, dataref=dataref), "data": envelope})


def read_structured(octets: bytes) -> Envelope:
    """The envelope of such an event. Raises CodecError for what is no event, or has no envelope as its data."""
    try:
        return _DECODER.decode(octets).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"this is no event with an envelope: {error}") from error


def http_headers(attributes: Mapping[str, str]) -> list[tuple[str, str]]:
    """The attributes as fields of a binary-mode HTTP request (HTTP binding §3.1)."""
    return [
        ("content-type", value) if name == "datacontenttype" else (f"ce-{name}", percent_encoded(value))
        for name, value in attributes.items()
    ]


def kafka_headers(attributes: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """The attributes as headers of a binary-mode Kafka message (Kafka binding §3.2)."""
    return [
        ("content-type" if name == "datacontenttype" else f"ce_{name}", value.encode())
        for name, value in attributes.items()
    ]


def percent_encoded(value: str) -> str:
    """The value of an HTTP field: UTF-8, with everything but printable ASCII percent-encoded."""
    return quote(value, safe=_PRINTABLE)
