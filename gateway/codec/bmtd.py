"""The `.bmtd` file: the metadata containers of one mail, beside its content.

Each container is written as the command that would send it (MD00 §3.1): `BMTD <n>` CRLF and its n octets, the two type
octets and the data; the next follows at once. The first is this gateway's own trace, the others came with the mail.
"""

import re
from collections.abc import Iterable

from gateway.codec.error import CodecError
from gateway.envelope import TRACE, Container, decode_container, encode_container, with_own_trace

__all__ = ["decode", "encode", "read_blocks"]

_COMMAND = re.compile(rb"BMTD ([1-9][0-9]{0,9})\r\n")


def encode(containers: Iterable[Container]) -> bytes:
    """The file's octets; none for no containers."""
    blocks = map(encode_container, containers)
    return b"".join(b"BMTD %d\r\n%b" % (len(block), block) for block in blocks)


def decode(octets: bytes) -> tuple[Container, ...]:
    """The inverse of `encode`. Raises CodecError for anything that `encode` does not write, saying at which octet."""
    blocks = []
    position = 0
    while position < len(octets):
        command = _COMMAND.match(octets, position)
        if command is None:
            raise CodecError(f"there is no BMTD command at octet {position}")
        position = command.end() + int(command[1])
        if position > len(octets):
            raise CodecError(f"the container at octet {command.end()} is cut short")
        blocks.append(octets[command.end() : position])
    return read_blocks(blocks)


def read_blocks(blocks: Iterable[bytes]) -> tuple[Container, ...]:
    """The containers of one mail, each given as its two type octets and its data, this gateway's own trace first.

    Raises CodecError for a block that is no container, and where the first one is no trace.
    """
    try:
        containers = [decode_container(block) for block in blocks]
    except ValueError as error:
        raise CodecError(str(error)) from error
    if not containers:
        return ()
    (own_type, own), *received = containers
    if own_type != TRACE:
        raise CodecError(f"the first container is not the gateway's own trace, type {TRACE}, but of type {own_type}")
    return with_own_trace(own, received)
