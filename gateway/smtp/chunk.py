"""What BDAT (RFC 3030 §2) and BMTD (MD00 §3.1) share: a size, as many octets of payload, perhaps LAST.

Whatever is wrong, the payload is read to its end before the refusal is sent, so that it is never taken for commands;
when its end is unknown or too far, the session is ended instead (B16, B18, B40). A chunk that fails makes the
transaction fail, and later chunks are refused one by one until the last (B41, B42).
"""

from typing import TYPE_CHECKING

from gateway.smtp import grammar
from gateway.smtp.grammar import ChunkArgument
from gateway.smtp.refusals import (
    BARE_LINE_END,
    HELLO_FIRST,
    MAIL_FIRST,
    NO_RECIPIENTS,
    NOT_AVAILABLE,
    RCPT_FIRST,
    RESET_FIRST,
    TOO_BIG,
)
from gateway.smtp.reply import Reply
from gateway.smtp.state import Cause, State
from gateway.status import DELIVERED

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Chunk", "begin_chunk", "decline_chunk"]

_UNREADABLE = Reply.of(501, "5.5.4", "the chunk size is not a number of octets")
_TOO_MANY_CHUNKS = Reply.of(554, "5.5.0", "too many chunks")
_FAILED = Reply.of(503, "5.5.1", "the transaction has failed")
_NO_EXTENSIONS = Reply.of(503, "5.5.1", "chunks need EHLO")


class Chunk:
    """One chunk's payload, counted down. What is in it is the business of the subclass; this class discards it."""

    def __init__(self, connection: "ServerConnection", argument: ChunkArgument) -> None:
        self.connection = connection
        self.size = argument.size
        self.last = argument.last
        self._remaining = argument.size

    def read(self, octets: bytes, start: int) -> int:
        """Take what belongs to the chunk; at its end, answer it."""
        taken = octets[start : start + self._remaining]
        self._remaining -= len(taken)
        self.receive(taken)
        if not self._remaining:
            self.connection.end_payload()
            self.finish()
        return start + len(taken)

    def receive(self, octets: bytes) -> None:
        """Take the next octets of the payload."""

    def finish(self) -> None:
        """The payload is complete: answer."""

    def succeed(self, taken: str) -> None:
        """The chunk is good, and so is the transaction unless its line ends are bad or its owner has failed it.

        `taken` says what its octets were, behind their number.
        """
        connection = self.connection
        transaction = connection.transaction
        if self.last:
            transaction.line_ends.finish()
        if transaction.line_ends.bare:
            self.fail(BARE_LINE_END)  # E4
            return
        if transaction.failure is not None:
            self.fail(transaction.failure)
            return
        connection.step(Cause.CHUNK_ACCEPTED)
        if self.last:
            connection.end_content()
            return
        # RFC 3030 §2 shows "250 <count> octets received". A18: the draft's own example for BMTD says 2.1.0, the subject
        # of addresses.
        reply = Reply(250, DELIVERED, (f"{self.size} octets {taken}",))
        if self.size:
            connection.respond(reply)
        else:
            connection.respond_to_junk(reply)  # B14: an empty chunk does no work

    def fail(self, failure: Reply) -> None:
        """The chunk fails, and with it the transaction. The first failure is told; then each chunk is a 503 (B41)."""
        connection = self.connection
        transaction = connection.transaction
        connection.fail_transaction(failure)
        reply = _FAILED if transaction.failure_told else transaction.failure or failure
        was_told, transaction.failure_told = transaction.failure_told, True
        if self.last:
            connection.end_refused_content(reply)
            return
        connection.step(Cause.CHUNK_FAILED)
        if was_told and self._may_have_been_under_way():
            connection.respond_again(reply)
        else:
            connection.respond(reply)

    def _may_have_been_under_way(self) -> bool:
        # A client may send all chunks of a mail, as many as it may have, before it reads the first reply (RFC 2920).
        transaction, limits = self.connection.transaction, self.connection.limits
        transaction.chunks += 1
        transaction.refused_octets += self.size
        return transaction.chunks <= limits.chunks and transaction.refused_octets <= limits.discard_octets

    def refuse_out_of_sequence(self, reply: Reply) -> None:
        """No chunk may come now: one reply in either dialect, and only a reset goes on from there (B29)."""
        self.connection.reset_transaction()
        self.connection.step(Cause.CHUNK_OUT_OF_SEQUENCE)
        self.connection.respond(reply)


class _FailedChunk(Chunk):
    """A chunk in an open transaction that is refused from the start."""

    def __init__(self, connection: "ServerConnection", argument: ChunkArgument, failure: Reply) -> None:
        super().__init__(connection, argument)
        self._failure = failure

    def finish(self) -> None:
        self.fail(self._failure)


class _StrayChunk(Chunk):
    """A chunk where none may come."""

    def __init__(self, connection: "ServerConnection", argument: ChunkArgument, reply: Reply) -> None:
        super().__init__(connection, argument)
        self._reply = reply

    def finish(self) -> None:
        self.refuse_out_of_sequence(self._reply)


class _DeclinedChunk(Chunk):
    """A chunk whose extension is switched off here (B21)."""

    def finish(self) -> None:
        if self.connection.state in (State.MAIL, State.RCPT, State.CHUNKS):
            self.connection.fail_transaction(NOT_AVAILABLE)
            self.connection.transaction.failure_told = True
            self.connection.step(Cause.CHUNK_FAILED)
        self.connection.respond(NOT_AVAILABLE)


def begin_chunk(connection: "ServerConnection", argument: bytes, chunk_type: type[Chunk]) -> None:
    """Start to read the payload of a BDAT or BMTD command, as a `chunk_type` when it may come now."""
    chunk = _readable(connection, argument)
    if chunk is None:
        return
    if (stray := _stray(connection)) is not None:
        _read(connection, _StrayChunk(connection, chunk, stray))
    elif (failure := _failure(connection, chunk)) is not None:
        _read(connection, _FailedChunk(connection, chunk, failure))
    else:
        connection.transaction.chunks += 1
        _read(connection, chunk_type(connection, chunk))


def decline_chunk(connection: "ServerConnection", argument: bytes) -> None:
    """Skip the payload of a chunk whose extension is switched off, then say so (B21)."""
    chunk = _readable(connection, argument)
    if chunk is not None:
        _read(connection, _DeclinedChunk(connection, chunk))


def _read(connection: "ServerConnection", chunk: Chunk) -> None:
    if chunk.size:
        connection.read_payload(chunk)
    else:
        chunk.read(b"", 0)


def _readable(connection: "ServerConnection", argument: bytes) -> ChunkArgument | None:
    try:
        chunk = grammar.chunk_argument(argument)
    except grammar.CommandSyntaxError:
        # B16: where the payload ends is unknown, and none of it may ever be taken for commands.
        connection.close(_UNREADABLE)
        return None
    if chunk.size > connection.limits.discard_octets:
        connection.close(TOO_BIG)  # B18
        return None
    return chunk


def _stray(connection: "ServerConnection") -> Reply | None:
    """Why no chunk may come now, in no transaction or in one that cannot have chunks."""
    match connection.state:
        case State.START:
            return HELLO_FIRST  # B20
        case State.RESET_NEEDED:
            return RESET_FIRST  # B29
        case State.READY:
            return MAIL_FIRST if connection.extended else _NO_EXTENSIONS  # B22, B20
        case _:
            return None if connection.extended else _NO_EXTENSIONS


def _failure(connection: "ServerConnection", chunk: ChunkArgument) -> Reply | None:
    """Why the transaction fails by this chunk, or has failed already."""
    transaction, limits = connection.transaction, connection.limits
    if transaction.failure is not None:
        return _FAILED
    if connection.state is State.MAIL:
        return NO_RECIPIENTS if transaction.recipients_tried else RCPT_FIRST  # B23
    if chunk.error:
        return Reply.of(501, "5.5.4", chunk.error)  # B17
    if transaction.chunks >= limits.chunks:
        return _TOO_MANY_CHUNKS
    # B60: content and metadata count together against the limit that SIZE announces.
    if transaction.content_octets + transaction.metadata_octets + chunk.size > limits.message_octets:
        return TOO_BIG
    return None
