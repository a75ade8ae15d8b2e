"""Content as it arrives: counted, digested, and kept small in memory, however large it is.

Small content stays in memory and costs the event loop next to nothing. Once it passes MEMORY_OCTETS it goes to an
unnamed file, block by block in a thread, so that a slow disk stalls only the session that feeds it.
"""

import hashlib
import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from gateway.envelope import Content
from gateway.threads import in_thread

__all__ = ["MEMORY_OCTETS", "ContentBuilder"]

MEMORY_OCTETS = 256 * 1024
# What Python needs for a block beside its octets: of content in chunks of two octets that is nearly all.
_BLOCK_OVERHEAD = 64


class ContentBuilder:
    """Builds one Content, which is there until `discard`. `directory` is where the file of large content lies."""

    __slots__ = ("_blocks", "_digest", "_directory", "_failure", "_file", "_pending", "size")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digest = hashlib.sha256()
        self._blocks: list[bytes] = []
        self._pending = 0
        self._file: io.FileIO | None = None
        self._failure: OSError | None = None
        self.size = 0

    def write(self, octets: bytes) -> None:
        """Take the next octets. No more may come while the builder is full."""
        self._blocks.append(octets)
        self._pending += len(octets) + _BLOCK_OVERHEAD
        self.size += len(octets)

    @property
    def is_full(self) -> bool:
        """Whether `flush` must be called before more is written."""
        return self._pending > MEMORY_OCTETS

    async def flush(self) -> None:
        """Move what is in memory to the file. Raises OSError when it cannot be written: then there is no content."""
        blocks, self._blocks = self._blocks, []
        self._pending = 0
        try:
            await in_thread(lambda _: self._store(blocks))
        except OSError as error:
            self._failure = error
            raise

    async def finish(self) -> tuple[Content, str]:
        """The content and its SHA-256 in hexadecimal. Raises OSError when not all of it could be written."""
        if self._failure is not None:
            # What could not be written is missing, however much came after it.
            raise self._failure
        if self._file is not None:
            await self.flush()
            return Content(file=self._file), self._digest.hexdigest()
        octets = self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
        self._digest.update(octets)
        return Content(octets), self._digest.hexdigest()

    def discard(self) -> None:
        """Give everything up, the finished content too."""
        self._blocks.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _store(self, blocks: list[bytes]) -> None:
        if self._file is None:
            self._file = _unnamed_file(self._directory)
        for block in blocks:
            self._digest.update(block)
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]


def _unnamed_file(directory: Path) -> io.FileIO:
    """Unbuffered, and without a name: there is nothing to clean up after a crash."""
    with suppress(AttributeError, OSError):  # not every system has such files, nor every file system
        # The one that `tempfile` makes can never get a name (O_EXCL), which the spool will want to give it.
        return io.FileIO(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+b")
    return tempfile.TemporaryFile(buffering=0, dir=directory)
