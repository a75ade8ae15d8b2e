"""The gateway's own keys: those that sign receipts, and those that protect the tokens only it reads.

Keys are files of one directory, which nothing but `mailsluice keys` writes. What leaves it is the JWK set (RFC 7517) of
the public keys.
"""

from gateway.keys.directory import create_key, read_keys, retire_key
from gateway.keys.jwk import PublicKey, public_key_set, read_key_set
from gateway.keys.key import Key, KeyRing, KeysError, Purpose

__all__ = [
    "Key",
    "KeyRing",
    "KeysError",
    "PublicKey",
    "Purpose",
    "create_key",
    "public_key_set",
    "read_key_set",
    "read_keys",
    "retire_key",
]
