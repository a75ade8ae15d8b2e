"""The token: the claims, signed with Ed25519, as a JWS in its compact form (RFC 7515 §7.1, RFC 8037 §3.1).

Its header says which key, and nothing else that a verifier would go by: there is one algorithm, and the key is looked
up in the verifier's own set. A token has one form; whatever differs from it in a bit is refused.
"""

import json
from collections.abc import Iterator, Mapping

import msgspec

from gateway.keys import Key, PublicKey
from gateway.keys.ed25519 import SIGNATURE_OCTETS, SigningKey, is_signed
from gateway.keys.jwk import decode_octets, encode_octets
from gateway.receipts.claims import Claims

__all__ = ["LONGEST_TOKEN", "Signer", "TokenError", "verify_token"]

LONGEST_TOKEN = 384
"""Octets. With the rest of its line (RFC 5321 §4.5.3.1.5: 512) it leaves room for a code, a status and a path."""

_ALGORITHM = "EdDSA"
_DIGEST_OCTETS = 32
# With its dot.
_SIGNATURE_CHARACTERS = 1 + len(encode_octets(bytes(SIGNATURE_OCTETS)))


class TokenError(ValueError):
    """A token proves nothing. The text is a sentence that says why."""


class Signer:
    """Signs with one key, in some 40 µs, whatever is claimed. Raises KeysError where the library is missing."""

    def __init__(self, key: Key) -> None:
        self._key = SigningKey(key.secret)
        header = json.dumps({"alg": _ALGORITHM, "kid": key.id}, separators=(",", ":"))
        self._header = encode_octets(header.encode())

    def sign(self, claims: Claims) -> str:
        """The token: with the claims as they are or, where it would be too long, with digests of location and name.

        Empty when even that does not fit, because the type of the connector has more than 15 characters, or when the
        location is not of texts and 64-bit numbers.
        """
        for payload in _payloads(claims):
            signed = f"{self._header}.{encode_octets(payload)}"
            if len(signed) + _SIGNATURE_CHARACTERS <= LONGEST_TOKEN:
                return f"{signed}.{encode_octets(self._key.sign(signed.encode()))}"
        return ""


def verify_token(token: str, keys: Mapping[str, PublicKey]) -> Claims:
    """What the token claims, its signature checked with the key that it names. Raises TokenError.

    `keys` are the gateway's, from a place that the verifier trusts. Raises KeysError where the library is missing.
    """
    header, payload, signature = _parts(token)
    key = keys.get(_key_id(header))
    if key is None:
        raise TokenError("the token's key is not in the key set; get the gateway's current set, or the token is forged")
    if not is_signed(token.rpartition(".")[0].encode(), signature, key.octets):
        raise TokenError("the signature is not that of the token's key; the token is forged or damaged")
    claims = _claims(payload)
    if key.until is not None and claims.iat > key.until:
        raise TokenError("the token's time is after its key was retired; the gateway signed nothing with it any more")
    return claims


def _payloads(claims: Claims) -> Iterator[bytes]:
    try:
        yield msgspec.msgpack.encode(claims)
        by_location = claims.with_location_digest()
        yield msgspec.msgpack.encode(by_location)
        yield msgspec.msgpack.encode(by_location.with_gateway_digest())
    except (OverflowError, TypeError, UnicodeEncodeError):
        # Whatever a connector of another package says: the mail is delivered, and this must not undo it.
        return


def _parts(token: str) -> tuple[bytes, bytes, bytes]:
    # RFC 7515 §5.2: base64url without padding, and here in its one form.
    parts = token.split(".", 3) if len(token) <= LONGEST_TOKEN else []
    try:
        header, payload, signature = map(decode_octets, parts)
    except ValueError:
        raise TokenError(
            f"this is no receipt token: three base64url texts with dots between them, {LONGEST_TOKEN} octets at most"
        ) from None
    return header, payload, signature


def _key_id(header: bytes) -> str:
    try:
        read = msgspec.json.decode(header, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TokenError("the token's header is not that of a receipt token") from None
    # RFC 8725 §3.1: the algorithm is the verifier's choice, never the token's.
    if read.alg != _ALGORITHM:
        raise TokenError(f"the token is not signed with {_ALGORITHM}, and a receipt token is with nothing else")
    return read.kid


def _claims(payload: bytes) -> Claims:
    try:
        claims = msgspec.msgpack.decode(payload, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        claims = None
    if (
        claims is None
        or len(claims.sha256) != _DIGEST_OCTETS
        or (isinstance(claims.at, bytes) and len(claims.at) != _DIGEST_OCTETS)
        or bool(claims.iss) == (len(claims.iss256) == _DIGEST_OCTETS)
    ):
        raise TokenError("the signature is good, but what is signed is not a receipt")
    return claims


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
