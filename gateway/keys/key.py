"""A key, what it is for, and the ring of all the keys that a gateway has.

Of the keys of one purpose the newest is in use: it signs or seals. The others, retired or not, still verify and open
what was made with them, for as long as they are there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["SECRET_OCTETS", "Key", "KeyRing", "KeysError", "Purpose"]

SECRET_OCTETS = 32
"""All three kinds have so many: an Ed25519 private key (RFC 8032 §5.1.5), an AES-256 key, an HMAC-SHA256 key."""


class KeysError(ValueError):
    """A key, or the directory of them, is of no use. The text is a sentence for the operator and holds no secret."""


class Purpose(StrEnum):
    """What a key is for, and thereby of what kind it is."""

    RECEIPT = "receipt"
    """Ed25519: signs receipts. The only kind with a public half."""
    MAILDATA = "maildata"
    """AES-256-GCM: seals what the gateway gives out about stored content, and opens it again."""
    STOKEN = "stoken"
    """HMAC-SHA256: authenticates submission tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. Times are those of `gateway.dates.timestamp`; `retired` is empty for a key that is not.

    The id of a receipt key is the beginning of its thumbprint (RFC 7638), 8 hexadecimal digits. That of a symmetric key
    is a number from 1 to 255, which fits into an octet of a token.
    """

    purpose: Purpose
    id: str
    created: str
    retired: str = ""
    secret: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """What the operator calls it: `receipt-1f0c2a9d`."""
        return f"{self.purpose}-{self.id}"


class KeyRing:
    """The keys of a gateway as they are at one time. An empty ring signs nothing and verifies nothing."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = {(key.purpose, key.id): key for key in sorted(keys, key=lambda key: (key.created, key.name))}

    def __iter__(self) -> Iterator[Key]:
        """The keys, oldest first."""
        return iter(self._keys.values())

    def in_use(self, purpose: Purpose) -> Key | None:
        """The key to sign or seal with: the newest that is not retired, None where there is none."""
        return next((key for key in reversed(self._keys.values()) if key.purpose is purpose and not key.retired), None)

    def state_of(self, key: Key) -> str:
        """What the operator reads: `in use`, `verifies` only, or `retired`, which verifies too."""
        if key.retired:
            return "retired"
        return "in use" if key == self.in_use(key.purpose) else "verifies"

    def find(self, purpose: Purpose, id_: str) -> Key | None:
        """The key that something was made with, retired or not; None where the ring does not have it."""
        return self._keys.get((purpose, id_))
