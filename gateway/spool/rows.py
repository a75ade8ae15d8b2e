"""Messages and deliveries as rows, and back. A row that does not come back as it was raises DamagedRowError."""

import zlib
from typing import Any

import msgspec

from gateway.codec import CodecError, json_v1
from gateway.envelope import Envelope
from gateway.spool.entry import NewDelivery, NewMessage

__all__ = ["DamagedRowError", "delivery_row", "message_row", "read_envelope", "read_recipients"]


class DamagedRowError(Exception):
    """The row is not what was written. The text says in what."""


def message_row(message: NewMessage, content: bytes | None) -> tuple[Any, ...]:
    """The values of `message (id, accepted_at, size, checksum, envelope, content)`."""
    envelope = json_v1.encode(message.mail.envelope)
    id_, size = message.mail.envelope.id, message.mail.content.size
    return id_, message.accepted_at, size, zlib.crc32(envelope), envelope, content


def delivery_row(number: int, delivery: NewDelivery) -> tuple[Any, ...]:
    """The values of `delivery (message, connector, recipients, checksum)`."""
    recipients = msgspec.json.encode(delivery.recipients).decode()
    return number, delivery.connector, recipients, _delivery_checksum(number, delivery.connector, recipients)


def read_envelope(id_: str, octets: object, checksum: int) -> Envelope:
    """The envelope of a message's row. Raises DamagedRowError."""
    if not isinstance(octets, bytes) or zlib.crc32(octets) != checksum:
        raise DamagedRowError("the envelope is not the one that was stored: its checksum differs")
    try:
        envelope = json_v1.decode(octets)
    except CodecError as error:
        raise DamagedRowError(str(error)) from error
    if envelope.id != id_:
        raise DamagedRowError("the envelope belongs to another message")
    return envelope


def read_recipients(number: int, connector: str, recipients: str, checksum: int) -> tuple[int, ...]:
    """The positions of a delivery's recipients. Raises DamagedRowError."""
    if _delivery_checksum(number, connector, recipients) != checksum:
        raise DamagedRowError("the delivery is not the one that was stored: its checksum differs")
    return msgspec.json.decode(recipients, type=tuple[int, ...])


def _delivery_checksum(number: int, connector: str, recipients: str) -> int:
    return zlib.crc32(f"{number} {connector} {recipients}".encode())
