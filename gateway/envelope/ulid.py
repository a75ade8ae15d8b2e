"""Message ids: 128 bits, time-ordered, 26 characters of Crockford's base 32 (the ULID form).

One id is made per mail, at MAIL, before anything is attempted with it, and never changes over retries. Its
alphabet (digits and upper-case letters) is safe in object keys, file names, header values and reply text.
"""

import os
import time

__all__ = ["PATTERN", "new_id"]

PATTERN = "[0-7][0-9A-HJKMNP-TV-Z]{25}"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]


def new_id() -> str:
    """A fresh id: 48 bits of Unix time in milliseconds, then 80 random bits."""
    number = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
