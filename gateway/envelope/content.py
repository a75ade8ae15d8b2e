"""The message content as octets that many destinations may read at once, without a copy of it for each.

Small content is one bytes object. Larger content is an unnamed file, so that a crash leaves nothing behind; readers
have positions of their own. Nothing here parses: content is octets.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Self

__all__ = ["BLOCK", "Content", "ContentReader"]

BLOCK = 256 * 1024


class Content:
    """Octets in memory, or in an open file that this object then owns.

    `prefix` and `omit` describe a derived form without copying it: `prefix` stands before the octets, and the ranges of
    `omit` (start and end offsets, ascending, disjoint) are left out of them.
    """

    __slots__ = ("_file", "_octets", "_pieces", "size")

    def __init__(
        self,
        octets: bytes = b"",
        *,
        file: io.FileIO | None = None,
        pieces: tuple[bytes | tuple[int, int], ...] | None = None,
    ) -> None:
        self._octets = octets
        self._file = file
        whole = len(octets) if file is None else os.fstat(file.fileno()).st_size
        # What the content is made of: octets of its own, or ranges (start, end) of the octets or the file.
        self._pieces = ((0, whole),) if pieces is None else pieces
        self.size: int = whole if pieces is None else sum(map(_length, pieces))

    @property
    def descriptor(self) -> int | None:
        """The descriptor of the file that holds these octets and nothing else; None where there is no such file."""
        whole = self._pieces == ((0, self.size),)
        return self._file.fileno() if self._file is not None and whole else None

    def derive(self, *, prefix: bytes = b"", omit: tuple[tuple[int, int], ...] = ()) -> Self:
        """The same octets with `prefix` before them and the ranges of `omit` left out; nothing is copied.

        Raises ValueError for content that is a derived form already: the ranges would count from the wrong place.
        """
        if self._pieces != ((0, self.size),):
            raise ValueError("a derived form of content has no further derived forms")
        pieces: list[bytes | tuple[int, int]] = [prefix]
        position = 0
        for start, end in omit:
            pieces.append((position, start))
            position = end
        pieces.append((position, self.size))
        return type(self)(self._octets, file=self._file, pieces=tuple(pieces))

    def read(self, limit: int | None = None) -> bytes:
        """All octets, or the first `limit` of them. For content that is known to be small enough to hold."""
        with self.open() as reader:
            return reader.read(self.size if limit is None else limit)

    def open(self) -> "ContentReader":
        """A seekable binary file object with a position of its own; any number may be open at once, in any thread."""
        return ContentReader(self)

    def blocks(self, size: int = BLOCK) -> Iterator[bytes]:
        """The octets in order, in blocks of at most `size`."""
        position = 0
        while block := self.read_at(position, size):
            yield block
            position += len(block)

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` octets from `position`; fewer only at the end."""
        if self._file is None and len(self._pieces) == 1:  # never derived
            return self._octets[position : position + size]
        found: list[bytes] = []
        for piece in self._pieces:
            length = _length(piece)
            if position >= length:
                position -= length
                continue
            wanted = min(size, length - position)
            if isinstance(piece, bytes):
                found.append(piece[position : position + wanted])
            else:
                found.append(self._read_own(piece[0] + position, wanted))
            size -= wanted
            position = 0
            if not size:
                break
        return b"".join(found)

    def _read_own(self, position: int, size: int) -> bytes:
        if self._file is None:
            return self._octets[position : position + size]
        blocks: list[bytes] = []
        while size:
            block = os.pread(self._file.fileno(), size, position)
            if not block:
                raise OSError("the file that holds the content ended early")
            blocks.append(block)
            position += len(block)
            size -= len(block)
        return b"".join(blocks)

    def sha256(self) -> str:
        """The SHA-256 of the octets in hexadecimal; of large content that is work for a thread."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def close(self) -> None:
        """Give the file back to the system. Readers that are still open fail from now on."""
        if self._file is not None:
            self._file.close()


def _length(piece: bytes | tuple[int, int]) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


class ContentReader(io.RawIOBase):
    """A reader over a Content, in the form that file-taking libraries (boto3, shutil) expect."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._content.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, self._content.size - self._position)
        block = self._content.read_at(self._position, size)
        self._position += len(block)
        return block

    def readinto(self, buffer: "memoryview | bytearray", /) -> int:  # type: ignore[override]  # narrower than Buffer
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)
