"""The token: what is stored where, sealed so that only gateways with the same key can make, read or change it.

    base64url( version(1) key-number(1) nonce(12) AES-256-GCM( msgpack array of StoredContent ) )

without padding, in its one form; version and key number are authenticated too. The nonce is random: one key may seal
some four thousand million tokens (NIST SP 800-38D §8.3), and a new key is a command.
"""

import os
from collections.abc import Collection
from typing import Any

import msgspec

from gateway.keys import KeyRing, KeysError, Purpose
from gateway.keys.jwk import decode_octets, encode_octets

__all__ = ["LIFETIME_SECONDS", "LONGEST_TOKEN", "ContentTokens", "StoredContent", "TokenIgnored"]

LIFETIME_SECONDS = 600
LONGEST_TOKEN = 384
"""Octets. With the rest of its line (RFC 5321 §4.5.3.1.5: 512) it leaves room for a code, a status and a path."""

_VERSION = 1
_NONCE_OCTETS = 12
_HEADER_OCTETS = 2
# How far the clocks of two gateways may be apart.
_SKEW_SECONDS = 60


class StoredContent(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What a token says: the content with this digest and size, as received, lies in the storage of this name.

    `domain` is that of the recipient it was stored for, in lower case, `peer` whom the token was given to; an empty one
    is anybody. `issued` is a Unix time in seconds.
    """

    storage: str
    sha256: bytes
    size: int
    issuer: str
    domain: str
    issued: int
    expires: int
    peer: str = ""


class TokenIgnored(ValueError):
    """A token hints at nothing. `reason` is a word for the log, and never for the client."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ContentTokens:
    """Makes and reads tokens with the `maildata` keys of a ring, for the storages of these names.

    Raises KeysError where the library is missing.
    """

    def __init__(self, ring: KeyRing, *, issuer: str, storages: Collection[str]) -> None:
        self._issuer = issuer
        self._storages = frozenset(storages)
        self._keys = {int(key.id): _cipher(key.secret) for key in ring if key.purpose is Purpose.MAILDATA}
        in_use = ring.in_use(Purpose.MAILDATA)
        self._in_use = int(in_use.id) if in_use is not None else 0

    def __bool__(self) -> bool:
        """Whether there is a key to make tokens with, and content to make them about."""
        return bool(self._in_use and self._storages)

    def seal(self, *, storage: str, sha256: str, size: int, domain: str, peer: str, now: float) -> str:
        """A token that lives ten minutes from `now`, a Unix time; empty for a storage that is none of these.

        Empty too where it would be too long because of the names in it: it is only a hint.
        """
        if storage not in self._storages or not self._in_use:
            return ""
        content = StoredContent(
            storage=storage,
            sha256=bytes.fromhex(sha256),
            size=size,
            issuer=self._issuer,
            domain=domain.lower(),
            issued=int(now),
            expires=int(now) + LIFETIME_SECONDS,
            peer=peer,
        )
        header, nonce = bytes((_VERSION, self._in_use)), os.urandom(_NONCE_OCTETS)
        sealed = self._keys[self._in_use].encrypt(nonce, msgspec.msgpack.encode(content), header)
        token = encode_octets(header + nonce + sealed)
        return token if len(token) <= LONGEST_TOKEN else ""

    def open(self, token: str, *, domain: str, peer: str, now: float) -> StoredContent:
        """What the token hints at, for a mail to `domain` from `peer` at `now`. Raises TokenIgnored."""
        content = self._unsealed(token)
        # The issuer's word is not all: no token of ours lives longer, whatever its maker thought.
        if not content.issued - _SKEW_SECONDS <= now < min(content.expires, content.issued + LIFETIME_SECONDS):
            raise TokenIgnored("expired")
        if content.domain != domain.lower():
            raise TokenIgnored("foreign domain")
        if content.peer not in ("", peer):
            raise TokenIgnored("foreign peer")
        if content.storage not in self._storages:
            raise TokenIgnored("unknown storage")
        return content

    def _unsealed(self, token: str) -> StoredContent:
        try:
            octets = decode_octets(token) if len(token) <= LONGEST_TOKEN else b""
        except ValueError:
            octets = b""
        header, nonce = octets[:_HEADER_OCTETS], octets[_HEADER_OCTETS : _HEADER_OCTETS + _NONCE_OCTETS]
        if len(nonce) < _NONCE_OCTETS or header[0] != _VERSION:
            raise TokenIgnored("malformed")
        cipher = self._keys.get(header[1])
        if cipher is None:
            raise TokenIgnored("unknown key")
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # an extra, and there: a cipher came of it

        try:
            payload = cipher.decrypt(nonce, octets[_HEADER_OCTETS + _NONCE_OCTETS :], header)
            return msgspec.msgpack.decode(payload, type=StoredContent)
        except InvalidTag:
            raise TokenIgnored("forged") from None
        except msgspec.DecodeError:
            raise TokenIgnored("malformed") from None


def _cipher(secret: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise KeysError("tokens about content need more packages: pip install 'mailsluice[receipts]'") from error
    return AESGCM(secret)
