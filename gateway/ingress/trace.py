"""This gateway's own trace (RFC 5321 §4.4): one Received field for each mail, the data of a type 0 container."""

import re
import time

from gateway.address import Address
from gateway.envelope import Client

__all__ = ["received_field"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# RFC 5322 §2.1.1 allows 998, and some of them follow the address.
_LINE_OCTETS = 990

# What a client calls itself goes into a header: nothing that could end the token, open a comment or fold the field.
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


def received_field(
    *, hello: str, client: Client, hostname: str, protocol: str, id_: str, recipients: list[Address], when: float
) -> bytes:
    """The field with its CRLF; `when` is Unix time. `for` names none of several recipients (RFC 5321 §7.6).

    Nor does it name one whose address is too long for a line.
    """
    origin = _address_literal(client)
    name = _UNSAFE.sub("_", hello) or "unknown"
    only = f"\r\n\tfor <{recipients[0].raw}>" if len(recipients) == 1 else ""
    if len(only.encode()) > _LINE_OCTETS:
        only = ""
    return (
        f"Received: from {name} ({origin})\r\n\tby {hostname} with {protocol} id {id_}{only};\r\n\t{_date(when)}\r\n"
    ).encode()


def _address_literal(client: Client) -> str:
    if client.address == "unix":
        return "localhost"
    # RFC 5321 §4.1.3
    return f"[IPv6:{client.address}]" if ":" in client.address else f"[{client.address}]"


def _date(when: float) -> str:
    # RFC 5322 §3.3, in UTC; strftime would follow the locale.
    t = time.gmtime(when)
    day = f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
    return f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
