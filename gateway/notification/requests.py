"""What the originator asks of notifications, in parameters of MAIL and RCPT (RFC 3461 §4).

The ingress refuses wrong values. They are looked at again here, for envelopes come from other places too, and what is
wrong is as good as not there.
"""

import re
from collections.abc import Iterable

from gateway.envelope import Parameter, Recipient, Sender
from gateway.notification.fields import seven_bit
from gateway.smtp.grammar import decode_xtext, is_xtext

__all__ = ["envelope_id", "original_recipient", "wants_failure", "wants_headers_only", "wants_success"]

_ADDRESS_TYPE = re.compile(r"[!-*,-:<>-~]+\Z")  # an atom, RFC 3461 §4.2
_PRINTABLE = re.compile(rb"[ -~]*\Z")


def wants_failure(recipient: Recipient) -> bool:
    """Whether to say that the mail is not delivered: yes, unless NOTIFY says otherwise (RFC 3461 §5.2.6)."""
    notify = _value(recipient.parameters, "NOTIFY")
    return not notify or "FAILURE" in notify.upper().split(",")


def wants_success(recipient: Recipient) -> bool:
    """Whether to say that the mail is delivered: no, unless NOTIFY says so (RFC 3461 §5.2.4)."""
    return "SUCCESS" in _value(recipient.parameters, "NOTIFY").upper().split(",")


def wants_headers_only(sender: Sender) -> bool:
    """Whether a notification of a failure returns only the header section of the mail."""
    return _value(sender.parameters, "RET").upper() == "HDRS"


def envelope_id(sender: Sender) -> str:
    """What ENVID says, decoded (RFC 3461 §6.3); empty where it says nothing."""
    return _decoded(_value(sender.parameters, "ENVID"))


def original_recipient(recipient: Recipient) -> str:
    """What ORCPT says, address type and address, decoded and in 7 bits; empty where it says nothing."""
    address_type, _, address = _value(recipient.parameters, "ORCPT").partition(";")
    if not address or not _ADDRESS_TYPE.match(address_type):
        return ""
    # RFC 6533 §3: an address of the type utf-8 has an encoding of its own, or none.
    decoded = seven_bit(address) if address_type.lower() == "utf-8" else _decoded(address)
    return f"{address_type};{decoded}"


def _value(parameters: Iterable[Parameter], keyword: str) -> str:
    return next((parameter.value for parameter in parameters if parameter.keyword.upper() == keyword), "")


def _decoded(value: str) -> str:
    # RFC 3461 §4.2, §4.4: printable before encoding. A line end would begin a field of the sender's choice.
    if is_xtext(value):
        octets = decode_xtext(value)
        if _PRINTABLE.match(octets):
            return octets.decode("ascii")
    return seven_bit(value)
