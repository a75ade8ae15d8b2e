"""Enhanced mail system status codes (RFC 3463): the vocabulary for what went wrong, from a destination to a reply."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

__all__ = [
    "ADMINISTRATIVE_REFUSAL",
    "CONVERSION_NOT_SUPPORTED",
    "DELIVERED",
    "DESTINATION_UNREACHABLE",
    "DESTINATION_UNRESPONSIVE",
    "ENCRYPTION_NEEDED",
    "LOCAL_ERROR",
    "MESSAGE_REFUSED",
    "MESSAGE_TOO_BIG",
    "MISCONFIGURED",
    "NON_ASCII_ADDRESS",
    "NON_ASCII_MESSAGE",
    "ROUTING_LOOP",
    "STORAGE_FULL",
    "UNUSABLE",
    "Status",
]


@dataclass(frozen=True, slots=True)
class Status:
    """`class.subject.detail` of RFC 3463 §2; class 2 is success, 4 a persistent transient, 5 a permanent failure."""

    class_: int
    subject: int
    detail: int

    def __post_init__(self) -> None:
        if self.class_ not in (2, 4, 5) or not (0 <= self.subject <= 999 and 0 <= self.detail <= 999):
            raise ValueError(f"{self} is not an RFC 3463 status code")

    def __str__(self) -> str:
        return _text(self.class_, self.subject, self.detail)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `"4.4.1"`. Raises ValueError for anything else."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"{text!r} is not an RFC 3463 status code")
        return cls(*map(int, parts))


# Every reply has one, and most have one of a few.
@lru_cache(maxsize=256)
def _text(class_: int, subject: int, detail: int) -> str:
    return f"{class_}.{subject}.{detail}"


DELIVERED = Status(2, 0, 0)
LOCAL_ERROR = Status(4, 3, 0)
STORAGE_FULL = Status(4, 3, 1)
# X.3.5, "system incorrectly configured": for a mail, which can be delivered once an operator has mended that, and for a
# connector, which cannot be opened before.
MISCONFIGURED = Status(4, 3, 5)
UNUSABLE = Status(5, 3, 5)
DESTINATION_UNREACHABLE = Status(4, 4, 1)
DESTINATION_UNRESPONSIVE = Status(4, 4, 2)
# RFC 5248 and its registry, X.7.10: TLS is asked for and cannot be had now.
ENCRYPTION_NEEDED = Status(4, 7, 10)
MESSAGE_TOO_BIG = Status(5, 3, 4)
ROUTING_LOOP = Status(5, 4, 6)
MESSAGE_REFUSED = Status(5, 6, 0)
CONVERSION_NOT_SUPPORTED = Status(5, 6, 3)
NON_ASCII_ADDRESS = Status(5, 6, 7)
NON_ASCII_MESSAGE = Status(5, 6, 9)
ADMINISTRATIVE_REFUSAL = Status(5, 7, 1)
