"""What a program did to its files, in order: the records that `shim.c` writes."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_HEAD = struct.Struct("<IIIIQQ")


class Kind(IntEnum):
    """What was done. The numbers are those of `shim.c`."""

    CREATE = 1
    MAKE_DIRECTORY = 2
    WRITE = 3
    TRUNCATE = 4
    SYNC = 5
    LINK = 6
    UNLINK = 7
    RENAME = 8
    SYNC_FAILED = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call that succeeded, or a sync that failed. `end` is where its record ends in the log.

    `path` is that of the name made or removed, empty for a file without one; `other` the new name of a RENAME. `offset`
    is the new size for TRUNCATE. A directory is synced by its inode too.
    """

    kind: Kind
    inode: int
    path: str
    other: str
    data: bytes
    offset: int
    end: int


def operations(log: Path) -> Iterator[Operation]:
    """The operations in a log, from the first; what a kill cut short at its end is left out."""
    octets = log.read_bytes()
    position = 0
    while position + _HEAD.size <= len(octets):
        kind, path, other, data, inode, offset = _HEAD.unpack_from(octets, position)
        position += _HEAD.size
        ends = position + path, position + path + other, position + path + other + data
        if ends[2] > len(octets):
            return
        yield Operation(
            kind=Kind(kind),
            inode=inode,
            path=octets[position : ends[0]].decode(),
            other=octets[ends[0] : ends[1]].decode(),
            data=octets[ends[1] : ends[2]],
            offset=offset,
            end=ends[2],
        )
        position = ends[2]
