"""METADATA (draft-melnikov-smtp-metadata-00): typed metadata containers beside the content, by BMTD.

A container is two octets of type, in network byte order, and data. Type 0 is trace header fields, type 1 IMAP
keywords; any other type is opaque and kept. What is checked here is what a later hop could not bear: a type 0 container
that would break the header it may be prepended to, and a second type 1 container.
"""

from typing import TYPE_CHECKING, Self

from gateway.header_text import check_trace_fields
from gateway.smtp.chunk import Chunk, begin_chunk, decline_chunk
from gateway.smtp.events import ContainerReceived
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.extensions.chunking import Chunking
from gateway.smtp.grammar import ChunkArgument
from gateway.smtp.reply import Reply

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Metadata"]

_TRACE_FIELDS = 0
_IMAP_KEYWORDS = 1
_TYPE_OCTETS = 2

_NO_TYPE = Reply.of(501, "5.5.4", "a container has two octets of type or none at all")
_TOO_BIG = Reply.of(552, "5.3.4", "too much metadata")
_SECOND_KEYWORDS = Reply.of(554, "5.5.0", "a second container of type 1")
_AFTER_CONTENT = Reply.of(503, "5.5.1", "BMTD comes before BDAT here")


class Metadata(Extension):
    """METADATA. The keyword is not registered with IANA (B7): a listener may switch the extension off.

    With `before_content` BMTD after BDAT is refused, as the draft's later revision has it.
    """

    name = "Metadata Transfer"
    keyword = "METADATA"
    requires = ("CHUNKING",)

    def __init__(self, *, before_content: bool = False) -> None:
        self._chunk_type = _OrderedContainerChunk if before_content else _ContainerChunk
        self.verbs = {b"BMTD": self._bmtd}

    @classmethod
    def for_policy(cls, policy: Policy) -> Self:
        return cls(before_content=policy.bmtd_before_content)

    def decline(self, connection: "ServerConnection", argument: bytes) -> None:
        decline_chunk(connection, argument)

    def _bmtd(self, connection: "ServerConnection", argument: bytes) -> None:
        begin_chunk(connection, argument, self._chunk_type)


class _ContainerChunk(Chunk):
    """One container; octets beyond the limits are counted but not kept."""

    def __init__(self, connection: "ServerConnection", argument: ChunkArgument) -> None:
        super().__init__(connection, argument)
        self._refusal: Reply | None = None
        self._pieces: list[bytes] = []

    def receive(self, octets: bytes) -> None:
        limits, transaction = self.connection.limits, self.connection.transaction
        transaction.metadata_octets += len(octets)
        if self.size > limits.container_octets or transaction.metadata_octets > limits.metadata_octets:
            self._refusal = _TOO_BIG  # B63
        if self._refusal is None:
            self._pieces.append(octets)

    def finish(self) -> None:
        connection = self.connection
        octets = b"".join(self._pieces)
        type_, data = int.from_bytes(octets[:_TYPE_OCTETS]), octets[_TYPE_OCTETS:]
        if self.size:
            self._refusal = self._refusal or self._check(type_, data)
        if self._refusal is not None:
            return self.fail(self._refusal)
        transaction = connection.transaction
        if self.size and transaction.failure is None:
            transaction.extensions.add(Metadata.keyword)
            transaction.container_types.append(type_)
            connection.tell(ContainerReceived(type_, data))
        return self.succeed("of metadata")

    def _check(self, type_: int, data: bytes) -> Reply | None:
        if self.size < _TYPE_OCTETS:
            return _NO_TYPE  # B12
        types = self.connection.transaction.container_types
        if len(types) >= self.connection.limits.containers:
            return _TOO_BIG  # B63
        if type_ == _IMAP_KEYWORDS and _IMAP_KEYWORDS in types:
            return _SECOND_KEYWORDS  # A7
        if type_ == _TRACE_FIELDS and (error := check_trace_fields(data)):
            return Reply.of(554, "5.6.0", error)  # A6, A8
        return None


class _OrderedContainerChunk(_ContainerChunk):
    """A container that may not come after content."""

    def finish(self) -> None:
        if Chunking.keyword in self.connection.transaction.extensions:
            self.refuse_out_of_sequence(_AFTER_CONTENT)
        else:
            super().finish()
