"""What the tests of reading sides have in common: emit, read all again, compare."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Any

from msgspec import structs

from gateway.connector import Connector, Extent, Mail, Source
from gateway.envelope import Content, ContentReference, Envelope

EVERYTHING = Extent()


async def emitted(connector: Connector, mails: Iterable[Mail]) -> None:
    """Emit them all at once."""
    await asyncio.gather(*map(connector.emit, mails))


async def nothing_elsewhere(reference: ContentReference) -> Content:
    raise AssertionError(f"nothing lies elsewhere, and yet {reference} is asked for")


async def read_all(
    source: Source,
    extent: Extent = EVERYTHING,
    *,
    fetch: Any = nothing_elsewhere,
    is_wanted: Callable[[Envelope], bool] = lambda _: True,
) -> list[Mail]:
    """Every mail of the extent that is wanted; the source is closed then."""
    mails = []
    try:
        async with asyncio.timeout(60), aclosing(source.mails(extent, fetch)) as found:
            async for each in found:
                mail = await each.read(is_wanted)
                if mail is not None:
                    assert each.id in ("", mail.envelope.id)
                    mails.append(mail)
    finally:
        await source.close()
    return mails


def whole(envelope: Envelope) -> Envelope:
    """The envelope without its content and without what one destination did with the containers."""
    message = structs.replace(envelope.message, content=None, reference=None)
    return structs.replace(envelope, message=message, metadata=structs.replace(envelope.metadata, disposition=()))


def same(one: Mail, other: Mail) -> bool:
    """Whether two mails are one transaction: envelope, parameters, containers and octets."""
    return whole(one.envelope) == whole(other.envelope) and one.content.read() == other.content.read()
