"""Content on its way to the store."""

import io
import os

from connectors.s3.threads import Permit
from gateway.envelope import Content

__all__ = ["Body"]


class Body(io.RawIOBase):
    """The octets `start` to `start + size` of a content, as a file; the SDK reads it to sign it, and again to send it.

    It holds nothing, and it can be read only while the permit lasts; afterwards a read raises CancelledError.
    """

    def __init__(self, content: Content, start: int, size: int, permit: Permit) -> None:
        self._content = content
        self._start = start
        self._size = size
        self._permit = permit
        self._position = 0

    @property
    def is_at_end(self) -> bool:
        """Whether the last octet has been read."""
        return self._position >= self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        with self._permit.held():
            block = self._content.read_at(self._start + self._position, wanted)
        self._position += len(block)
        return block
