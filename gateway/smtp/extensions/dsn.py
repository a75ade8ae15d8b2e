"""Delivery status notifications (RFC 3461). A valid parameter never changes a reply; all are kept in the envelope."""

import re

from gateway.smtp.extension import Extension
from gateway.smtp.grammar import decode_xtext, is_xtext

__all__ = ["Dsn"]

_ADDRESS_TYPE = re.compile(r"[!-*,-:<>-~]+\Z")  # an atom, RFC 3461 §4.2


class Dsn(Extension):
    """DSN."""

    name = "Delivery Status Notifications"
    keyword = "DSN"
    mail_octets = 8 + 1 + 100 * 3 + 7
    rcpt_octets = 28 + 500

    def __init__(self) -> None:
        self.mail_parameters = {"RET": _check_ret, "ENVID": _check_envid}
        self.rcpt_parameters = {"NOTIFY": _check_notify, "ORCPT": _check_orcpt}


def _check_ret(value: str) -> str:
    return "" if value.upper() in ("FULL", "HDRS") else "RET is FULL or HDRS"


def _check_envid(value: str) -> str:
    # RFC 3461 §4.4: at most 100 characters before encoding, all of them printable.
    if not value or not is_xtext(value):
        return "ENVID is not xtext"
    decoded = decode_xtext(value)
    if len(decoded) > 100 or not all(0x20 <= octet <= 0x7E for octet in decoded):
        return "ENVID is at most 100 printable characters"
    return ""


def _check_notify(value: str) -> str:
    words = value.upper().split(",")
    if words == ["NEVER"] or (set(words) <= {"SUCCESS", "FAILURE", "DELAY"} and len(set(words)) == len(words)):
        return ""
    return "NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY"


def _check_orcpt(value: str) -> str:
    address_type, separator, address = value.partition(";")
    if not separator or not _ADDRESS_TYPE.match(address_type) or not address or len(value) > 500:
        return "ORCPT is a type, a semicolon and an address in xtext"
    # RFC 6533 §3: with the type utf-8 the address may hold UTF-8 itself.
    if address_type.lower() == "utf-8" or is_xtext(address):
        return ""
    return "ORCPT is a type, a semicolon and an address in xtext"
