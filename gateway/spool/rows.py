"""Messages and deliveries as rows, and back. A row that does not come back as it was raises DamagedRowError.

SQLite gives back whatever lies in a column, and a text whose bits have changed may be no UTF-8, which only raises while
it is fetched. So texts are asked for as octets, `CAST(… AS BLOB)`, and read by `text`.
"""

import zlib
from typing import Any

import msgspec

from gateway.codec import CodecError, json_v1
from gateway.envelope import Content, Envelope
from gateway.spool.entry import NewDelivery, NewMessage

__all__ = [
    "DamagedRowError",
    "check_content",
    "delivery_row",
    "message_row",
    "read_envelope",
    "read_recipients",
    "recipients_columns",
    "text",
]


class DamagedRowError(Exception):
    """The row is not what was written. The text says in what."""


def message_row(message: NewMessage, content: bytes | None) -> tuple[Any, ...]:
    """The values of `message (id, accepted_at, size, checksum, envelope, content)`."""
    envelope = json_v1.encode(message.mail.envelope)
    id_, size = message.mail.envelope.id, message.mail.content.size
    return id_, message.accepted_at, size, zlib.crc32(envelope), envelope, content


def delivery_row(number: int, delivery: NewDelivery) -> tuple[Any, ...]:
    """The values of `delivery (message, connector, recipients, checksum)`."""
    return number, delivery.connector, *recipients_columns(number, delivery.connector, delivery.recipients)


def recipients_columns(number: int, connector: str, positions: tuple[int, ...]) -> tuple[str, int]:
    """The values of `delivery (recipients, checksum)`."""
    recipients = msgspec.json.encode(positions).decode()
    return recipients, _delivery_checksum(number, connector, recipients)


def text(octets: object) -> str:
    """A text that was asked for as octets; what is no UTF-8 is replaced, and what is not there is empty."""
    return octets.decode(errors="replace") if isinstance(octets, bytes) else ""


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


def read_recipients(number: int, connector: str, octets: object, checksum: int) -> tuple[int, ...]:
    """The positions of a delivery's recipients. Raises DamagedRowError."""
    recipients = text(octets)
    if _delivery_checksum(number, connector, recipients) != checksum:
        raise DamagedRowError("the delivery is not the one that was stored: its checksum differs")
    return msgspec.json.decode(recipients, type=tuple[int, ...])


def check_content(content: Content, sha256: str) -> None:
    """Nothing, where the octets are those that were received. Raises DamagedRowError, and OSError for a file."""
    if content.sha256() != sha256:
        raise DamagedRowError("the content is not the one that was stored: its SHA-256 differs")


def _delivery_checksum(number: int, connector: str, recipients: str) -> int:
    return zlib.crc32(f"{number} {connector} {recipients}".encode())
