"""The public keys as a JWK set (RFC 7517 §5), in the form that RFC 8037 §2 gives Ed25519 keys.

A retired key stays in the set with `exp`, the Unix time after which it signed nothing. What a set has besides Ed25519
keys is another's, and passed over (RFC 7517 §5).
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.dates import seconds_of
from gateway.keys.ed25519 import public_octets
from gateway.keys.key import Key, KeyRing, KeysError, Purpose

__all__ = ["PublicKey", "decode_octets", "encode_octets", "public_key_set", "read_key_set", "thumbprint"]

_PUBLIC_OCTETS = 32
# A gateway that is told to sign with another key goes on with the old one until then.
_GRACE_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """What verifies signatures: an Ed25519 public key of 32 octets.

    What claims a time after `until`, in Unix seconds, is not the gateway's; None for a key that is not retired.
    """

    id: str
    octets: bytes
    until: float | None = None


def public_key_set(ring: KeyRing) -> str:
    """The JWK set of the keys that sign receipts, oldest first. Raises KeysError where the library is missing."""
    return json.dumps({"keys": [_jwk(key) for key in ring if key.purpose is Purpose.RECEIPT]}, indent=2)


def read_key_set(octets: bytes) -> Mapping[str, PublicKey]:
    """The Ed25519 keys of a JWK set, by their ids. Raises KeysError."""
    try:
        members = msgspec.json.decode(octets, type=dict[str, Any]).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = None
    if not isinstance(members, list):
        raise KeysError('this is no JWK set; it has the form {"keys": […]} that `mailsluice keys publish` prints')
    found: dict[str, PublicKey] = {}
    for member in members:
        if not isinstance(member, dict) or (member.get("kty"), member.get("crv")) != ("OKP", "Ed25519"):
            continue
        if "d" in member:
            raise KeysError("this JWK set has a private key in it; publish what `mailsluice keys publish` prints")
        key = _public_key(member)
        if key.id in found:
            raise KeysError(f"this JWK set has two keys of the id {key.id!r}; ids must differ")
        found[key.id] = key
    if not found:
        raise KeysError(
            "this JWK set has no Ed25519 key; receipts are verified with what `mailsluice keys publish` prints"
        )
    return found


def thumbprint(public: bytes) -> str:
    """The SHA-256 thumbprint (RFC 7638 §3) of an Ed25519 public key, in hexadecimal digits."""
    # RFC 8037 §2: these members, in lexicographic order, without white space.
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{encode_octets(public)}"}}'
    return hashlib.sha256(canonical.encode()).hexdigest()


def encode_octets(octets: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decode_octets(text: str) -> bytes:
    """What `encode_octets` made. Raises ValueError for any other text, also for one that means the same octets."""
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError("not base64url") from error
    if encode_octets(octets) != text:
        raise ValueError("not base64url in its one form")
    return octets


def _jwk(key: Key) -> dict[str, str | int]:
    public: dict[str, str | int] = {
        "kty": "OKP",
        "crv": "Ed25519",
        "kid": key.id,
        "x": encode_octets(public_octets(key.secret)),
        "alg": "EdDSA",
        "use": "sig",
    }
    if key.retired:
        public["exp"] = int(seconds_of(key.retired)) + _GRACE_SECONDS
    return public


def _public_key(member: Mapping[str, Any]) -> PublicKey:
    try:
        jwk = msgspec.convert(member, _Jwk)
        octets = decode_octets(jwk.x)
    except (msgspec.ValidationError, ValueError):
        octets = b""
    if len(octets) != _PUBLIC_OCTETS:
        raise KeysError(
            f"the key {str(member.get('kid', ''))!r} of this JWK set is not an Ed25519 key as RFC 8037 has it"
        )
    return PublicKey(id=jwk.kid, octets=octets, until=jwk.exp)


class _Jwk(msgspec.Struct, frozen=True):
    kid: str
    x: str
    exp: float | None = None
