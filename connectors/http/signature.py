"""Signatures of Standard Webhooks (https://www.standardwebhooks.com, "Signature scheme").

Each attempt carries `webhook-id` (the mail's id, the same for every attempt), `webhook-timestamp` (Unix time of this
attempt, in seconds) and `webhook-signature`: for each secret `v1,` and the base64 of the HMAC-SHA256 over
`id.timestamp.body`. While a secret is being replaced there are two, and a consumer accepts either.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

__all__ = ["SecretError", "Signature", "decode_secret"]

_PREFIX = "whsec_"
_MAKE_ONE = "make one with: echo whsec_$(openssl rand -base64 32)"


class SecretError(ValueError):
    """The text is not a signing secret; the sentence says why and never shows it."""


def decode_secret(text: str) -> bytes:
    """The key in `whsec_<base64>`. Raises SecretError unless it has the 24 to 64 octets that the convention wants."""
    if not text.startswith(_PREFIX):
        raise SecretError(f"a signing secret begins with {_PREFIX}; {_MAKE_ONE}")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX).encode(), validate=True)
    except binascii.Error:
        raise SecretError(f"what follows {_PREFIX} has to be base64, and this is not; {_MAKE_ONE}") from None
    if not 24 <= len(key) <= 64:
        raise SecretError(f"a signing secret has 24 to 64 octets before base64, this one {len(key)}; {_MAKE_ONE}")
    return key


class Signature:
    """The signature of one attempt, fed with the body's octets in order."""

    __slots__ = ("_id", "_macs", "_timestamp")

    def __init__(self, keys: Sequence[bytes], *, id: str, timestamp: int) -> None:  # noqa: A002  # the header's own word
        self._id = id
        self._timestamp = str(timestamp)
        start = f"{id}.{timestamp}.".encode()
        self._macs = [hmac.new(key, start, hashlib.sha256) for key in keys]

    def update(self, block: bytes | memoryview) -> None:
        """Take in the next octets of the body."""
        for mac in self._macs:
            mac.update(block)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The three header fields for the octets seen so far."""
        signatures = " ".join(f"v1,{base64.b64encode(mac.digest()).decode()}" for mac in self._macs)
        return (
            ("webhook-id", self._id),
            ("webhook-timestamp", self._timestamp),
            ("webhook-signature", signatures),
        )
