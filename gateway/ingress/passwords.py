"""Passwords as salted scrypt hashes (RFC 7914), in a file of `login:hash` lines, and the authenticator that reads it.

The authenticator follows aiosmtpd's convention, so that any other one written for it can take its place.
"""

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import AuthResult, LoginPassword

__all__ = ["PasswordFile", "PasswordFileError", "hash_password"]

# N = 2^14, r = 8, p = 1: about 50 ms and 16 MiB for each attempt.
_LOG_N, _R, _P = 14, 8, 1
_SCHEME = "$scrypt$"
# No costlier hash than this is read from a file: the file decides how long an attempt keeps a thread busy. OpenSSL has
# to be allowed the memory for it, which is 128 MiB and a little.
_MAXIMUM_LOG_N = 17
_MAXIMUM_MEMORY = 256 * 1024 * 1024


class PasswordFileError(ValueError):
    """A line of a password file cannot be used; the message says which and why."""


def hash_password(password: str) -> str:
    """What a password file holds for a password: `$scrypt$ln=14,r=8,p=1$salt$hash`."""
    salt = os.urandom(16)
    return f"{_SCHEME}ln={_LOG_N},r={_R},p={_P}${_encode(salt)}${_encode(_scrypt(password.encode(), salt, _LOG_N))}"


class PasswordFile:
    """An authenticator over a password file, read once. Raises PasswordFileError and OSError."""

    def __init__(self, path: Path) -> None:
        self._hashes: dict[bytes, tuple[int, bytes, bytes]] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            login, separator, hash_ = line.partition(":")
            if login.encode() in self._hashes:
                raise PasswordFileError(f"{path}:{number}: {login} has a password already; remove one of the two lines")
            try:
                self._hashes[login.encode()] = _parse(hash_.strip() if login and separator else "")
            except ValueError as error:
                raise PasswordFileError(
                    f"{path}:{number}: {error}; write the line with `mailsluice password`"
                ) from None
        # An unknown login costs the same time as a wrong password, so that logins cannot be found out.
        self._nobody = (_LOG_N, os.urandom(16), os.urandom(32))

    def __call__(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        """Whether the password is the login's. Blocks for the time of one scrypt."""
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        log_n, salt, expected = self._hashes.get(data.login, self._nobody)
        found = _scrypt(data.password, salt, log_n)
        success = hmac.compare_digest(found, expected) and data.login in self._hashes
        return AuthResult(success=success, handled=False)


def _parse(text: str) -> tuple[int, bytes, bytes]:
    try:
        _, scheme, costs, salt, hash_ = text.split("$")
        log_n, r, p = (int(cost.partition("=")[2]) for cost in costs.split(","))
        decoded = log_n, _decode(salt), _decode(hash_)
    except ValueError:
        raise ValueError("the hash is malformed") from None
    if scheme != "scrypt" or (r, p) != (_R, _P) or not 10 <= log_n <= _MAXIMUM_LOG_N:
        raise ValueError("the hash is of an unknown kind")
    return decoded


def _scrypt(password: bytes, salt: bytes, log_n: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=_R, p=_P, maxmem=_MAXIMUM_MEMORY, dklen=32)


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
