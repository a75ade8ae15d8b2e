"""The key directory: a file for each key, `receipt-1f0c2a9d.json`, for its owner's eyes only.

A file holds `purpose`, `id`, `created`, `retired` once it is, and `secret` in base64url. It is written whole under
another name and then given its own, which no other key can take. Other names than `*.json`, and hidden files, are
no keys.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.dates import seconds_of, timestamp
from gateway.directories import make_directory, sync_directory
from gateway.keys.ed25519 import public_octets
from gateway.keys.jwk import decode_octets, encode_octets, thumbprint
from gateway.keys.key import SECRET_OCTETS, Key, KeyRing, KeysError, Purpose

__all__ = ["create_key", "read_keys", "retire_key"]

_FILE_OCTETS = 4096
_MOST_KEYS = 1024
_NUMBERS = range(1, 256)
_ID_DIGITS = 8
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class _File(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    purpose: Purpose
    id: str
    created: str
    secret: str
    retired: str = ""


def read_keys(directory: Path) -> KeyRing:
    """All keys in the directory. Raises KeysError, also when others than the owner have access to what is there."""
    with _explained(directory):
        _check_private(directory.stat(), directory, "0700")
        paths = sorted(path for path in directory.glob("*.json") if not path.name.startswith("."))
    if len(paths) > _MOST_KEYS:
        raise KeysError(f"the key directory {directory} has more than {_MOST_KEYS} keys; delete retired ones")
    return KeyRing(_read(path) for path in paths)


def create_key(directory: Path, purpose: Purpose) -> Key:
    """Make a key, durably, which is in use from the next time that the directory is read. Raises KeysError.

    The directory is made where it does not exist.
    """
    with _explained(directory):
        make_directory(directory)
    while True:
        ring = read_keys(directory)
        secret = secrets.token_bytes(SECRET_OCTETS)
        key = Key(purpose=purpose, id=_new_id(ring, purpose, secret), created=_now(), secret=secret)
        with _explained(directory), _written(directory, key) as temporary:
            try:
                # Unlike a rename, this leaves a key alone that came there meanwhile.
                os.link(temporary, _path(directory, key))
            except FileExistsError:
                continue
        with _explained(directory):
            sync_directory(directory)
        return key


def retire_key(directory: Path, name: str) -> Key:
    """Let a key be used for nothing new, durably; what was made with it still verifies. Raises KeysError.

    `name` is `Key.name`. A key that is retired already stays as it is.
    """
    ring = read_keys(directory)
    key = next((key for key in ring if key.name == name), None)
    if key is None:
        raise KeysError(f"the key directory {directory} has no key {name!r}; `mailsluice keys ls` lists those it has")
    if key.retired:
        return key
    retired = replace(key, retired=_now())
    with _explained(directory):
        with _written(directory, retired) as temporary:
            temporary.rename(_path(directory, retired))
        sync_directory(directory)
    return retired


def _read(path: Path) -> Key:
    with _explained(path), path.open("rb") as file:
        _check_private(os.fstat(file.fileno()), path, "0600")
        octets = file.read(_FILE_OCTETS + 1)
    try:
        read = msgspec.json.decode(octets, type=_File)
        key = Key(
            purpose=read.purpose,
            id=read.id,
            created=_time(read.created),
            retired=_time(read.retired) if read.retired else "",
            secret=decode_octets(read.secret),
        )
    except (msgspec.DecodeError, ValueError, OverflowError):
        # Their texts quote what could not be read.
        key = None
    if key is None or len(octets) > _FILE_OCTETS or len(key.secret) != SECRET_OCTETS or not _has_id(key):
        raise KeysError(f"{path} is not a key that `mailsluice keys new` made; move it away")
    if path.name != f"{key.name}.json":
        raise KeysError(f"{path} holds the key {key.name}; give the file that name, or move it away")
    return key


def _has_id(key: Key) -> bool:
    if key.purpose is Purpose.RECEIPT:
        return key.id == _receipt_id(key.secret)
    return key.id in map(str, _NUMBERS)


def _new_id(ring: KeyRing, purpose: Purpose, secret: bytes) -> str:
    if purpose is Purpose.RECEIPT:
        return _receipt_id(secret)
    numbers = {int(key.id) for key in ring if key.purpose is purpose}
    after = max(numbers, default=0)
    # A number comes again as late as can be, for what its last key made is refused from then on.
    free = (number for number in (*range(after + 1, _NUMBERS.stop), *_NUMBERS) if number not in numbers)
    if (number := next(free, None)) is None:
        raise KeysError(f"there are {len(numbers)} {purpose} keys, as many as can be; delete the oldest retired ones")
    return str(number)


def _receipt_id(secret: bytes) -> str:
    return thumbprint(public_octets(secret))[:_ID_DIGITS]


def _path(directory: Path, key: Key) -> Path:
    return directory / f"{key.name}.json"


@contextmanager
def _written(directory: Path, key: Key) -> Iterator[Path]:
    """The key in a file that has a passing name, on stable storage. Raises OSError."""
    path = directory / f".{key.name}.{secrets.token_hex(8)}"
    file = _File(key.purpose, key.id, key.created, encode_octets(key.secret), key.retired)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(msgspec.json.encode(file) + b"\n")
            stream.flush()
            os.fsync(descriptor)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check_private(status: os.stat_result, path: Path, mode: str) -> None:
    if status.st_mode & _OTHERS:
        raise KeysError(
            f"others than its owner have access to {path}; run `chmod {mode} {path}`, and consider new keys"
        )


def _now() -> str:
    return timestamp(time.time_ns())


def _time(text: str) -> str:
    seconds_of(text)
    return text


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise KeysError(f"{path} does not exist; `mailsluice keys new` makes the key directory and a key") from error
    except OSError as error:
        raise KeysError(f"{path} cannot be used: {error.strerror}") from error
