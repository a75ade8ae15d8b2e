"""CHUNKING (RFC 3030 §2): message content by BDAT, counted and never scanned."""

from typing import TYPE_CHECKING

from gateway.smtp.chunk import Chunk, begin_chunk, decline_chunk
from gateway.smtp.events import ChunkReceived
from gateway.smtp.extension import Extension

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Chunking"]


class Chunking(Extension):
    """CHUNKING."""

    name = "Large Message Transport"
    keyword = "CHUNKING"

    def __init__(self) -> None:
        self.verbs = {b"BDAT": _bdat}

    def decline(self, connection: "ServerConnection", argument: bytes) -> None:
        decline_chunk(connection, argument)


def _bdat(connection: "ServerConnection", argument: bytes) -> None:
    begin_chunk(connection, argument, _ContentChunk)


class _ContentChunk(Chunk):
    """Content octets. Unless MAIL said BODY=BINARYMIME they are lines, as with DATA, and end with CRLF only (E4)."""

    def receive(self, octets: bytes) -> None:
        connection = self.connection
        transaction = connection.transaction
        connection.receive_content(octets)
        if transaction.mail is not None and transaction.mail.body != "BINARYMIME":
            transaction.line_ends.read(octets)

    def finish(self) -> None:
        connection = self.connection
        transaction = connection.transaction
        transaction.extensions.add(Chunking.keyword)
        if self.size and transaction.failure is None:
            connection.tell(ChunkReceived(self.size))
        self.succeed("received")
