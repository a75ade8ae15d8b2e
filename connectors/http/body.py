"""What is sent: octets in memory and contents in files, one after the other, never joined.

A body is read twice, once to be signed and once to be sent. A small one is read where it is needed; a larger one block
by block in a thread, so that neither a disk nor the arithmetic of a signature holds up the other mails.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.envelope import BLOCK, Content
from gateway.threads import in_thread

__all__ = ["Body", "Reading"]


@dataclass(frozen=True, slots=True)
class Body:
    """The pieces of a request's body in order. The contents belong to the mail, not to the body."""

    pieces: tuple[bytes | Content, ...]

    @property
    def size(self) -> int:
        """Octets."""
        return sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self.pieces)

    def blocks(self) -> Iterator[bytes | memoryview]:
        """The octets in order. Raises OSError when a content cannot be read."""
        for piece in self.pieces:
            if isinstance(piece, Content):
                yield from piece.blocks()
            else:
                view = memoryview(piece)
                for position in range(0, len(view), BLOCK):
                    yield view[position : position + BLOCK]


class Reading:
    """One pass over a body. `each` sees every block first, in the thread that read it."""

    __slots__ = ("_blocks", "_each", "_is_small", "_left")

    def __init__(self, body: Body, each: Callable[[bytes | memoryview], None] | None = None) -> None:
        self._blocks = body.blocks()
        self._each = each
        self._left = body.size
        self._is_small = self._left <= BLOCK

    @property
    def is_at_end(self) -> bool:
        """Whether every octet has been read."""
        return not self._left

    async def next(self) -> bytes | memoryview:
        """The next block; empty at the end. Raises OSError when a content cannot be read."""
        if not self._left:
            return b""
        block = self._read() if self._is_small else await in_thread(lambda _: self._read())
        self._left -= len(block)
        return block

    def _read(self) -> bytes | memoryview:
        block = next(self._blocks, None)
        if block is None:
            raise OSError("the content is shorter than its size")
        if self._each is not None:
            self._each(block)
        return block
