"""The reading side of a connector: what it once stored, given again for a replay.

A connector type offers it, or not (`gateway.connector.ConnectorType.source`). A source only reads. It gives an envelope
and a content as they lie there; whether they are those that came in, by the envelope's digest, is checked above it, the
same for every source.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

from gateway.envelope.content import Content
from gateway.envelope.mail import Mail
from gateway.envelope.model import ContentReference, Envelope

__all__ = ["Extent", "Fetch", "Found", "Offsets", "Source", "SourceError", "Spot"]

Fetch: TypeAlias = Callable[[ContentReference], Awaitable[Content]]
"""Gets content that another connector holds (a claim check), for the caller to close. Raises SourceError."""

Read: TypeAlias = Callable[[Callable[[Envelope], bool]], Awaitable[Mail | None]]


class SourceError(Exception):
    """What is stored cannot be read, or is no mail as it came in. The text is one sentence, without a full stop."""


class Offsets(Struct, frozen=True, kw_only=True):
    """A range of one Kafka partition: from `first` (None: its beginning) to `last`, included (None: its end)."""

    partition: int
    first: int | None = None
    last: int | None = None


class Extent(Struct, frozen=True, kw_only=True):
    """Which part of what is stored is meant. What a source has nothing of, it leaves alone.

    `since` and `until` bound the time of receipt (RFC 3339 in UTC with microseconds, both included; "" for none): a
    source may give mails outside of them, but leaves out none inside. The others are exact. `prefix` is what keys of
    objects begin with; `topic`, `key` and `offsets` are those of records. None is all there is.
    """

    since: str = ""
    until: str = ""
    prefix: str | None = None
    topic: str | None = None
    key: bytes | None = None
    offsets: tuple[Offsets, ...] = ()


class Spot(Struct, frozen=True, kw_only=True):
    """Where one mail is, as the location of a receipt says it: which mail of an extent.

    `id` is the mail's, "" where the location does not say it; `index` is how many mails of the extent come before it.
    Without an `extent` the location names the content alone, as it does where mails share one.
    """

    extent: Extent | None
    id: str = ""
    index: int = 0


class Found(Struct, frozen=True, kw_only=True):
    """One stored mail. `place` says where it lies, in the destination's own terms, and no other mail has the same.

    `read` gets a condition: it returns None for a mail whose envelope does not meet it, if possible without reading the
    content, and otherwise the mail, its content for the caller to close. The headers may be missing from the envelope
    that is asked about. It raises SourceError where this mail cannot be read; others may be. It may be awaited beside
    the `read` of others, and after the iterator has gone on, until the source is closed. `id` is the mail's, as far as
    it is known without reading. `held` is how many octets are in memory already because of it.
    """

    place: str
    read: Read
    id: str = ""
    held: int = 0


class Source(Protocol):
    """What one configured connector has stored. All calls come from one event loop."""

    def mails(self, extent: Extent, fetch: Fetch) -> AsyncGenerator[Found]:
        """The mails of `extent`, oldest first as far as the destination has such an order; an async generator.

        It ends at what was there when it began, or a little later. Memory stays bounded however many there are. The
        iteration raises SourceError where it cannot go on.
        """

    async def content(self, reference: ContentReference) -> Content:
        """The content where a receipt of this connector said that it lies, for the caller to close.

        Raises SourceError.
        """

    async def close(self) -> None:
        """Release everything within a few seconds."""
