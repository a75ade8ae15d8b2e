"""What a signed receipt claims, in few octets.

A token has to fit into a reply's line, and hexadecimal digests in JSON would fill it. So the claims are a map in
MessagePack, digests are octets, and what is too long to be said is claimed by its SHA-256.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from gateway.connector import Receipt
from gateway.envelope import Message

__all__ = ["Claims", "location_digest"]


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """By the Unix time `iat`, a destination of the connector type `to` had the mail `jti` durably, at `at`.

    The gateway `iss` had received its content: `size` octets with this `sha256`. `at` is the location of the receipt or
    its `location_digest`, where it is too long. Where `iss` is empty, `iss256` is the SHA-256 of the name. The names of
    claims that RFC 7519 §4.1 has mean what they mean there.
    """

    jti: str
    iat: int
    iss: str = ""
    iss256: bytes = b""
    size: int
    sha256: bytes
    to: str
    at: dict[str, str | int] | bytes

    @classmethod
    def of(cls, receipt: Receipt, message: Message, *, gateway: str, now: float) -> "Claims":
        """What `receipt` proves about the mail that `message` is of; `now` is Unix time in seconds."""
        return cls(
            jti=receipt.id,
            iat=int(now),
            iss=gateway,
            size=message.size,
            sha256=bytes.fromhex(message.sha256),
            to=receipt.type,
            at=receipt.location,
        )

    def with_location_digest(self) -> "Claims":
        """The same with the location claimed by its digest."""
        return self if isinstance(self.at, bytes) else msgspec.structs.replace(self, at=location_digest(self.at))

    def with_gateway_digest(self) -> "Claims":
        """The same with the gateway's name claimed by its digest."""
        digest = hashlib.sha256(self.iss.encode()).digest()
        return msgspec.structs.replace(self, iss="", iss256=digest) if self.iss else self


def location_digest(location: Mapping[str, str | int]) -> bytes:
    """The SHA-256 of a location as JSON in its canonical form (RFC 8785): names in order, no white space, UTF-8."""
    return hashlib.sha256(msgspec.json.encode(dict(location), order="sorted")).digest()
