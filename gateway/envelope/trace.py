"""This gateway's own trace (RFC 5321 §4.4): one Received field for each mail, the data of a type 0 container."""

import re
from collections.abc import Sequence

from gateway.address import Address
from gateway.dates import date_time
from gateway.envelope.model import Client

__all__ = ["composed_field", "received_field", "rewritten_field"]

# RFC 5322 §2.1.1 allows 998, and some of them follow the address.
_LINE_OCTETS = 990

# What a client calls itself goes into a header: nothing that could end the token, open a comment or fold the field.
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def received_field(
    *, hello: str, client: Client, hostname: str, protocol: str, id_: str, recipients: Sequence[Address], when: float
) -> bytes:
    """The field with its CRLF; `when` is Unix time. `for` names none of several recipients (RFC 5321 §7.6).

    Nor does it name one whose address is too long for a line.
    """
    name = _UNSAFE.sub("_", hello) or "unknown"
    way = f"from {name} ({_address_literal(client)})\r\n\tby {hostname} with {protocol}"
    return _field(way, id_, recipients, when)


def composed_field(*, hostname: str, id_: str, recipients: Sequence[Address], when: float) -> bytes:
    """The field of a mail that this gateway wrote itself: it came from nobody, by no protocol."""
    return _field(f"by {hostname}", id_, recipients, when)


def rewritten_field(*, hostname: str, id_: str, recipients: Sequence[Address], when: float) -> bytes:
    """The field of a mail that this gateway sends again, as a test, to recipients whom it was not sent to."""
    return _field(f"by {hostname} (replayed as a test, with other recipients)", id_, recipients, when)


def _field(way: str, id_: str, recipients: Sequence[Address], when: float) -> bytes:
    only = f"\r\n\tfor <{recipients[0].raw}>" if len(recipients) == 1 else ""
    if len(only.encode()) > _LINE_OCTETS:
        only = ""
    return f"Received: {way} id {id_}{only};\r\n\t{date_time(when)}\r\n".encode()


def _address_literal(client: Client) -> str:
    if client.address == "unix":
        return "localhost"
    # RFC 5321 §4.1.3
    return f"[IPv6:{client.address}]" if ":" in client.address else f"[{client.address}]"
