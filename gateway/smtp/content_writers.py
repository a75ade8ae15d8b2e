"""Writers for message content: DATA (RFC 5321 §4.5.2), and chunks (RFC 3030 §2, MD00 §3.1).

A writer gives the octets in pieces, as the transport takes them, so that no more than a piece of the content is in
memory. With each piece it says which commands are complete by it and will now be answered. Lines end with CRLF only, in
chunks as in DATA unless the content was declared binary: a writer raises LocalProtocolError before the first octet that
would break this is given away (RFC 5321 §2.3.8, SMTP smuggling).
"""

from typing import Protocol

from msgspec import Struct

from gateway.line_ends import LineEndCheck
from gateway.smtp.client_events import SentCommand
from gateway.smtp.outgoing import LocalProtocolError, OutgoingContent, OutgoingMail

__all__ = ["CheckedContent", "ChunkWriter", "Chunks", "ContentWriter", "DataWriter"]


class ContentWriter(Protocol):
    """Octets that are not commands, in order."""

    @property
    def done(self) -> bool:
        """Whether all octets are given away."""

    def write(self, limit: int) -> tuple[bytes, tuple[SentCommand, ...]]:
        """The next octets, about `limit`, and what is complete by them.

        Raises LocalProtocolError for content that must not be sent, and whatever reading the content raises.
        """


class CheckedContent:
    """Content that is read once, from front to back."""

    def __init__(self, content: OutgoingContent, *, binary: bool) -> None:
        self._content = content
        self._position = 0
        self._line_ends = None if binary else LineEndCheck()

    @property
    def left(self) -> int:
        """How many octets are still to be read."""
        return self._content.size - self._position

    def read(self, size: int) -> bytes:
        """The next octets, at most `size`, at least one."""
        block = self._content.read_at(self._position, size)
        if not block:
            raise LocalProtocolError("the content has ended before its declared size")
        self._position += len(block)
        if self._line_ends is not None:
            self._line_ends.read(block)
            if not self.left:
                self._line_ends.finish()
            if self._line_ends.bare:
                raise LocalProtocolError("the content has a bare CR or LF")
        return block


class DataWriter:
    """Content after DATA, dot-stuffed, and its end. `finals` are what its end completes."""

    def __init__(self, content: CheckedContent, finals: tuple[SentCommand, ...]) -> None:
        self._content = content
        self._finals = finals
        # RFC 5321 §4.1.1.4: DATA's own CRLF counts as the line end before the first line.
        self._before = b"\r\n"
        self.done = False

    def write(self, limit: int) -> tuple[bytes, tuple[SentCommand, ...]]:
        octets = b""
        if self._content.left:
            # A dot is stuffed after CRLF, wherever the blocks are cut: the two octets before this block are looked at
            # again, and cannot themselves hold a dot to stuff.
            octets = self._before + self._content.read(min(limit, self._content.left))
            self._before = octets[-2:]
            octets = octets.replace(b"\r\n.", b"\r\n..")[2:]
        if self._content.left:
            return octets, ()
        self.done = True
        return octets + (b".\r\n" if self._before == b"\r\n" else b"\r\n.\r\n"), self._finals


class Chunk(Struct, frozen=True):
    """One BMTD or BDAT: its line, how many octets follow, and those octets where they are a container."""

    command: str
    size: int
    container: bytes = b""


class Chunks:
    """All chunks of a mail, in order: a BMTD for each container, then BDAT, of which the last says LAST.

    That is what both revisions of the draft allow: metadata before content, and LAST never on a BMTD.
    """

    def __init__(self, mail: OutgoingMail) -> None:
        self._containers = mail.containers
        self._content_octets = mail.content.size
        self._chunk_octets = mail.chunk_octets
        # Content of no octets has one chunk too: BDAT 0 LAST.
        self._starts = range(0, max(1, self._content_octets), self._chunk_octets)

    def __len__(self) -> int:
        return len(self._containers) + len(self._starts)

    def __getitem__(self, index: int) -> Chunk:
        if index < len(self._containers):
            type_, data = self._containers[index]
            return Chunk(f"BMTD {2 + len(data)}", 2 + len(data), type_.to_bytes(2) + data)
        start = self._starts[index - len(self._containers)]
        size = min(self._chunk_octets, self._content_octets - start)
        last = " LAST" if index == len(self) - 1 else ""
        return Chunk(f"BDAT {size}{last}", size)

    def final(self) -> str:
        """The line of the last chunk."""
        return self[len(self) - 1].command


class ChunkWriter:
    """Some of a mail's chunks, those in `indices`. `finals` are what the very last chunk of the mail completes."""

    def __init__(
        self, chunks: Chunks, indices: range, content: CheckedContent, finals: tuple[SentCommand, ...]
    ) -> None:
        self._chunks = chunks
        self._content = content
        self._finals = finals
        self._start = self._next = indices.start
        self._stop = indices.stop
        self._chunk: Chunk | None = None
        self._left = 0

    @property
    def done(self) -> bool:
        return self._chunk is None and self._next >= self._stop

    @property
    def answers(self) -> int:
        """How many replies there will be to what was given away and to what is still to come."""
        last = self._stop == len(self._chunks)
        return self._stop - self._start + (len(self._finals) - 1 if last else 0)

    def stop(self) -> None:
        """Begin no more chunks. One that has begun must be completed: its size has been said."""
        self._stop = self._next

    def write(self, limit: int) -> tuple[bytes, tuple[SentCommand, ...]]:
        line = b""
        if self._chunk is None:
            self._chunk = self._chunks[self._next]
            self._left = self._chunk.size
            self._next += 1
            line = f"{self._chunk.command}\r\n".encode("ascii")
        octets = line + self._payload(self._chunk, min(limit, self._left)) if self._left else line
        if self._left:
            return octets, ()
        command, self._chunk = self._chunk.command, None
        return octets, self._finals if self._next == len(self._chunks) else (SentCommand(command),)

    def _payload(self, chunk: Chunk, size: int) -> bytes:
        position = chunk.size - self._left
        octets = chunk.container[position : position + size] if chunk.container else self._content.read(size)
        self._left -= len(octets)
        return octets
