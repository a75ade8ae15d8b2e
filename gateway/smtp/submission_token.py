"""The form of submission tokens: what stands in one, without the key that tells whether it is true.

    base64url( version(1) key-number(1) kind(1) expires(5) mac(32) sender )

without padding, in its one form. The token is for one sender, who is in it, and one recipient, who is not: whoever
shows it has to say whom it is for. `expires` is a Unix time in seconds, most significant octet first.
"""

import base64
import binascii
from enum import IntEnum

from msgspec import Struct

from gateway.address import Address

__all__ = ["LONGEST_TOKEN", "SubmissionToken", "TokenKind", "read_token", "token_address"]

LONGEST_TOKEN = 384
"""Octets. With the rest of its line (RFC 5321 §4.5.3.1.5: 512) it leaves room for a code, a status and a path."""

_VERSION = 1
_FACTS_OCTETS = 8
_MAC_OCTETS = 32


class TokenKind(IntEnum):
    """A temporary token is for the first contact; a permanent one is given for a delivery with it."""

    TEMP = 1
    PERM = 2


class SubmissionToken(Struct, frozen=True, kw_only=True):
    """One token, believed or not. `sender` is an address as `token_address` writes it."""

    key: int
    kind: TokenKind
    expires: int
    sender: str
    mac: bytes = b""

    def __str__(self) -> str:
        """The token as text."""
        octets = self._facts() + self.mac + self.sender.encode()
        return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"SubmissionToken(kind={self.kind.name}, sender={self.sender!r}, expires={self.expires})"

    def claim(self, recipient: str) -> bytes:
        """What the MAC is of: everything in the token, and the recipient, none of which can run into the other."""
        sender = self.sender.encode()
        return b"mailsluice STOKEN\0" + self._facts() + len(sender).to_bytes(2) + sender + recipient.encode()

    def _facts(self) -> bytes:
        return bytes((_VERSION, self.key, self.kind)) + self.expires.to_bytes(5)


def read_token(text: str) -> SubmissionToken:
    """The token in `text`. Raises ValueError for what is none."""
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        sender = octets[_FACTS_OCTETS + _MAC_OCTETS :].decode()
        if len(text) > LONGEST_TOKEN or not sender or octets[0] != _VERSION:
            raise ValueError("no token of this version")
        token = SubmissionToken(
            key=octets[1],
            kind=TokenKind(octets[2]),
            expires=int.from_bytes(octets[3:_FACTS_OCTETS]),
            mac=octets[_FACTS_OCTETS : _FACTS_OCTETS + _MAC_OCTETS],
            sender=sender,
        )
    except (binascii.Error, UnicodeError):
        raise ValueError("not a submission token") from None
    if str(token) != text:
        raise ValueError("not in its one form")
    return token


def token_address(address: Address) -> str:
    """An address as tokens compare it: the local-part as it is (RFC 5321 §2.4), the domain in lower case."""
    return f"{address.local_part}@{address.domain.lower()}"
