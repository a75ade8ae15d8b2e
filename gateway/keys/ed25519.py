"""Ed25519 signatures (RFC 8032), from the library that the extra `receipts` installs.

Every function here raises KeysError where it is not installed.
"""

from types import ModuleType

from gateway.keys.key import KeysError

__all__ = ["SIGNATURE_OCTETS", "SigningKey", "is_signed", "public_octets"]

SIGNATURE_OCTETS = 64


class SigningKey:
    """A private key of 32 octets, made ready once: that takes as long as a signature."""

    def __init__(self, secret: bytes) -> None:
        self._key = _library().Ed25519PrivateKey.from_private_bytes(secret)

    def sign(self, octets: bytes) -> bytes:
        """The signature, in some 40 µs; the same each time (RFC 8032 §5.1.6)."""
        signature: bytes = self._key.sign(octets)
        return signature


def public_octets(secret: bytes) -> bytes:
    """The public half, 32 octets, of a private key."""
    octets: bytes = _library().Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return octets


def is_signed(octets: bytes, signature: bytes, public: bytes) -> bool:
    """Whether `signature` is that of `octets` by the private half of `public`."""
    key = _library().Ed25519PublicKey.from_public_bytes(public)
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # an extra

    try:
        key.verify(signature, octets)
    except InvalidSignature:
        return False
    return True


def _library() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise KeysError("signed receipts need more packages: pip install 'mailsluice[receipts]'") from error
    return ed25519
