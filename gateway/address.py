"""Mail addresses: RFC 5321 §4.1.2 paths, with the UTF-8 of RFC 6531 §3.3, parsed once at the edge.

A path keeps the form in which it came (`raw`) beside what it means (`local_part` with its quoting undone, `domain`).
A source route (`<@a,@b:user@c>`) is accepted and ignored, as RFC 5321 §4.1.1.3 and appendix C ask; it stays in `raw`.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Annotated

import msgspec

__all__ = [
    "NULL_REVERSE_PATH",
    "Address",
    "AddressSyntaxError",
    "CommandText",
    "NonAsciiAddressError",
    "parse_path",
]

# Checked where an envelope is decoded: what was stored may be sent again as a command, and must not become two.
CommandText = Annotated[str, msgspec.Meta(pattern=r"^(?![\s\S]*[\x00-\x1f\x7f])")]


class AddressSyntaxError(ValueError):
    """The octets are not a path of RFC 5321."""


class NonAsciiAddressError(AddressSyntaxError):
    """The path is well-formed but needs SMTPUTF8 (RFC 6531), which this transaction does not use."""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One mail address. The null reverse-path `<>` has three empty fields; `<Postmaster>` an empty domain."""

    raw: CommandText
    local_part: str
    domain: str

    def __str__(self) -> str:
        return self.raw


NULL_REVERSE_PATH = Address(raw="", local_part="", domain="")

# RFC 5321 §4.5.3.1.2, the limit of the DNS. The 64 octets of a local-part (§4.5.3.1.1) are a size that every server
# must accept, not one to refuse above: bounce addresses are longer in practice, and the command line bounds them.
_MAXIMUM_DOMAIN = 255

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]"
# The underscore is not in RFC 5321's sub-domain, but hosts that have one send mail.
_SUB_DOMAIN = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\-\u0080-\U0010ffff]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
_QUOTED = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"'
_PATH = re.compile(
    rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"
    rf"(?P<local_part>{_ATEXT}+(?:\.{_ATEXT}+)*|{_QUOTED})"
    rf"@(?P<domain>{_DOMAIN}|\[[A-Za-z0-9:.\-]+\])\Z"
)
_QUOTED_PAIR = re.compile(r"\\(.)")
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-]*:[!-Z^-~]+\Z")


@lru_cache(maxsize=4096)
def parse_path(octets: bytes, *, utf8: bool) -> Address:
    """The address in a path, given the octets between `<` and `>` (`b""` is the null reverse-path).

    Raises NonAsciiAddressError when the path has 8-bit octets and `utf8` is false, AddressSyntaxError when it
    is no path at all (RFC 5321 §4.1.2).
    """
    if not octets:
        return NULL_REVERSE_PATH
    try:
        raw = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise AddressSyntaxError("the address is not UTF-8") from None
    if raw.lower() == "postmaster":
        return Address(raw=raw, local_part=raw, domain="")
    match = _PATH.match(raw)
    if match is None:
        raise AddressSyntaxError("the address does not follow RFC 5321")
    local_part, domain = match["local_part"], match["domain"]
    if len(domain.encode()) > _MAXIMUM_DOMAIN:
        raise AddressSyntaxError("the domain is longer than 255 octets")
    if domain.startswith("[") and not _is_address_literal(domain[1:-1]):
        raise AddressSyntaxError("the address literal does not follow RFC 5321")
    if not utf8 and not raw.isascii():
        raise NonAsciiAddressError("the address is not ASCII")
    if local_part.startswith('"'):
        local_part = _QUOTED_PAIR.sub(r"\1", local_part[1:-1])
    return Address(raw=raw, local_part=local_part, domain=domain)


def _is_address_literal(text: str) -> bool:
    # RFC 5321 §4.1.3: an IPv4 address, "IPv6:" and an IPv6 address, or a registered tag and its content.
    try:
        if text[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(text[5:])
        elif text[:1].isdigit() and ":" not in text:
            ipaddress.IPv4Address(text)
        else:
            return _GENERAL_LITERAL.match(text) is not None
    except ValueError:
        return False
    return True
