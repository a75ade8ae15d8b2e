"""Which partition a record goes to: the one that the Java client's default would choose, so that keys stay together."""

import random
from collections.abc import Sequence
from struct import unpack_from

__all__ = ["choose_partition", "murmur2"]

# The constants of org.apache.kafka.common.utils.Utils.murmur2.
_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_32_BITS = 0xFFFFFFFF
_31_BITS = 0x7FFFFFFF


def choose_partition(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """One of `partitions`, which are sorted: by the key's hash, or without a key any, of those `available` if any."""
    if key is None:
        return random.choice(available or partitions)  # noqa: S311  # no secret, only spread
    return partitions[(murmur2(key) & _31_BITS) % len(partitions)]


def murmur2(octets: bytes) -> int:
    """The hash as 32 bits without a sign.

    aiokafka has the same, octet by octet; at one key for each mail it is worth it to go word by word.
    """
    words = len(octets) // 4
    state = _SEED ^ len(octets)
    for word in unpack_from(f"<{words}I", octets):
        mixed = word * _FACTOR & _32_BITS
        state = (state * _FACTOR ^ (mixed ^ mixed >> 24) * _FACTOR) & _32_BITS
    if rest := octets[4 * words :]:
        state = (state ^ int.from_bytes(rest, "little")) * _FACTOR & _32_BITS
    state = (state ^ state >> 13) * _FACTOR & _32_BITS
    return state ^ state >> 15
