"""A mail as a record: its topic, key, value and headers. Pure; what a consumer sees is decided here.

    format             value                                                content-type
    cloudevents-json   the envelope as JSON, content inside                 application/json, attributes in ce_* headers
      structured       one JSON event with the envelope as its data         application/cloudevents+json; charset=UTF-8
    avro               the envelope as an Avro datum, bare or framed        application/avro
    raw                the content                                          message/rfc822

In each format the headers `mail-id`, `mail-from` and one `mail-rcpt` per recipient let a consumer choose without
reading the value; `raw` has all the headers of `gateway.codec.raw`. Where the content lies elsewhere (a claim check),
`message.reference` of the envelope says where; in `raw` the value is then empty and the header `mail-reference` has it.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from connectors.kafka.settings import KafkaSettings
from gateway.codec import avro_v1, cloudevents, json_v1, raw
from gateway.envelope import Envelope
from gateway.template import Template

__all__ = ["Record", "RecordLayout"]

Headers = list[tuple[str, bytes]]

# The names that Kafka takes (org.apache.kafka.common.internals.Topic): these characters, 249 of them, not "." or "..".
_NOT_OF_A_TOPIC = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_TOPIC = 249
_LONGEST_ORDERING_KEY = 1024
# A batch of one record: the batch's header and the record's own lengths, as numbers of at most five octets each.
_BATCH_OVERHEAD = 96
_HEADER_OVERHEAD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one mail becomes. The value is never null: that would delete a key from a compacted topic."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers

    @property
    def size(self) -> int:
        """Octets of a batch of this record alone, before compression; at most a few more than it really has."""
        # The names are ASCII.
        headers = sum([len(name) + len(value) + _HEADER_OVERHEAD for name, value in self.headers])
        return _BATCH_OVERHEAD + len(self.key or b"") + len(self.value) + headers


class RecordLayout:
    """How one connector's settings make records of mails."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = Template(settings.topic)
        self._key = Template(settings.key)
        # A mail's id stands for no other mail, so neither does a key or topic with it.
        self._orders = bool(settings.key) and "{id}" not in settings.key + settings.topic
        self._form = _FORMS[settings.format, settings.content_mode]

    def topic(self, envelope: Envelope) -> str:
        """The topic's name: cut at the longest that Kafka takes, and never one that it refuses."""
        if self._topic.is_constant:
            return self._topic.text
        name = self._topic.expand(envelope, unsafe=_NOT_OF_A_TOPIC)[:_LONGEST_TOPIC]
        return name if name.strip(".") else name.replace(".", "_") or "_"

    def ordering_key(self, envelope: Envelope) -> bytes | None:
        """What the records have in common that stand in one order, in one partition; None for a record in no order."""
        key = self._key.expand(envelope).encode() if self._orders else b""
        if not key:
            return None
        together = self.topic(envelope).encode() + b"\0" + key
        # A key has no longest length, and here its digest will do.
        return together if len(together) <= _LONGEST_ORDERING_KEY else hashlib.sha256(together).digest()

    def record(self, envelope: Envelope, *, schema_id: int | None = None) -> Record:
        """The record of an envelope that has its content inside or says where it lies.

        With a `schema_id` an Avro datum is framed with it.
        """
        value, headers = self._form(envelope)
        return Record(
            topic=self.topic(envelope),
            key=self._key.expand(envelope).encode() or None,
            value=value if schema_id is None else avro_v1.frame(schema_id, value),
            headers=headers,
        )


def _event(envelope: Envelope) -> tuple[bytes, Headers]:
    attributes = cloudevents.kafka_headers(cloudevents.attributes(envelope))
    return json_v1.encode(envelope), attributes + raw.encode_in_brief(envelope)


def _structured_event(envelope: Envelope) -> tuple[bytes, Headers]:
    # Kafka binding of CloudEvents 1.0 §3.3.
    content_type = ("content-type", b"application/cloudevents+json; charset=UTF-8")
    return cloudevents.structured(envelope), [content_type, *raw.encode_in_brief(envelope)]


def _datum(envelope: Envelope) -> tuple[bytes, Headers]:
    return avro_v1.encode(envelope), [("content-type", b"application/avro"), *raw.encode_in_brief(envelope)]


def _content(envelope: Envelope) -> tuple[bytes, Headers]:
    content, reference = envelope.message.content, envelope.message.reference
    if reference is not None:
        return b"", [("mail-reference", msgspec.json.encode(reference)), *raw.encode(envelope)]
    return content or b"", [("content-type", b"message/rfc822"), *raw.encode(envelope)]


_FORMS: dict[tuple[str, str], Callable[[Envelope], tuple[bytes, Headers]]] = {
    ("cloudevents-json", "binary"): _event,
    ("cloudevents-json", "structured"): _structured_event,
    ("avro", "binary"): _datum,
    ("raw", "binary"): _content,
}
