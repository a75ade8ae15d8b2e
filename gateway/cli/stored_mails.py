"""Stored mails on their way into a replay: chosen, read some ahead, and checked against the digest of their envelopes.

What is not as it came in goes nowhere: a content of another digest, a mail that was flattened, one that cannot be read.
Each of them becomes a sentence.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial

from msgspec import Struct, structs

from gateway.address import Address
from gateway.cli.journal import Journal
from gateway.cli.reemission import Reemission
from gateway.cli.rewriting import Rewriting, UnmatchedRecipientError
from gateway.connector import Found, SourceError
from gateway.envelope import Envelope, Mail
from gateway.threads import in_thread

__all__ = ["Choice", "Preparation", "prepared", "stored"]

# Reading waits for the network, and for less of it when some is done at once.
_READ_AHEAD = 8
_OCTETS_READ_AHEAD = 64 * 1024 * 1024
# A sentence quotes what is stored, which may be anybody's and of any length.
_LONGEST_PROBLEM = 500


class Choice(Struct, frozen=True, kw_only=True):
    """Which mails are meant: those for which everything holds that is said here.

    `since` and `until` are RFC 3339 in UTC with microseconds, both included; `ids` are ids or beginnings of them;
    `recipient` holds for one of the recipients.
    """

    since: str = ""
    until: str = ""
    ids: tuple[str, ...] = ()
    recipient: Callable[[Address], bool] | None = None

    def may_have(self, id_: str) -> bool:
        """Whether a mail of this id may be meant; "" is not known."""
        return not self.ids or not id_ or id_.startswith(self.ids)

    def has(self, envelope: Envelope) -> bool:
        """Whether the mail with this envelope is meant."""
        return (
            self.may_have(envelope.id)
            and self.since <= envelope.received_at
            and (not self.until or envelope.received_at <= self.until)
            and (self.recipient is None or any(self.recipient(each.address) for each in envelope.envelope.recipients))
        )


class Preparation(Struct, frozen=True, kw_only=True):
    """What is done with every mail of a replay before it is emitted, wherever it comes from."""

    rewriting: Rewriting | None = None
    journal: Journal | None = None

    def is_done(self, place: str) -> bool:
        """Whether nobody is left who has not acknowledged the mail at `place`. Raises JournalError."""
        return self.journal is not None and self.journal.refused(place) == ()

    def prepare(self, reemission: Reemission) -> Reemission:
        """The mail to those who get it, and have not got it yet. Raises JournalError."""
        mail = reemission.mail
        if mail is None:
            return reemission
        if self.rewriting is not None:
            try:
                mail = self.rewriting.apply(mail)
            except UnmatchedRecipientError as error:
                mail.content.close()
                return structs.replace(reemission, mail=None, problem=str(error))
        left = self.journal.refused(reemission.place) if self.journal else None
        if left:
            mail = mail.for_recipients(left)
        return structs.replace(reemission, mail=mail, positions=left or ())


async def prepared(reemissions: AsyncGenerator[Reemission], preparation: Preparation) -> AsyncGenerator[Reemission]:
    """What is left to be emitted of `reemissions`. Raises JournalError."""
    async with aclosing(reemissions):
        async for reemission in reemissions:
            if not preparation.is_done(reemission.place):
                yield preparation.prepare(reemission)
            elif reemission.mail is not None:
                reemission.mail.content.close()


async def stored(found: AsyncGenerator[Found], choice: Choice, preparation: Preparation) -> AsyncGenerator[Reemission]:
    """The chosen mails of a source, in its order. Raises SourceError where the source cannot go on, and JournalError.

    Some are read ahead. An aclose() closes the contents of those.
    """
    reading: deque[tuple[asyncio.Task[Reemission | None], int]] = deque()
    try:
        async with aclosing(found):
            async for each in found:
                if not choice.may_have(each.id) or preparation.is_done(each.place):
                    continue
                reading.append((asyncio.create_task(_read(each, choice)), each.held))
                while len(reading) >= _READ_AHEAD or sum(held for _, held in reading) >= _OCTETS_READ_AHEAD:
                    if reemission := await _next(reading):
                        yield preparation.prepare(reemission)
        while reading:
            if reemission := await _next(reading):
                yield preparation.prepare(reemission)
    finally:
        await _drop(reading)


async def _next(reading: "deque[tuple[asyncio.Task[Reemission | None], int]]") -> Reemission | None:
    # It stays in the queue while it is waited for: who is interrupted then has it closed.
    await asyncio.wait([reading[0][0]])
    return reading.popleft()[0].result()


async def _drop(reading: "deque[tuple[asyncio.Task[Reemission | None], int]]") -> None:
    for task, _ in reading:
        task.cancel()
    for task, _ in reading:
        with suppress(asyncio.CancelledError):
            reemission = await task
            if reemission is not None and reemission.mail is not None:
                reemission.mail.content.close()


async def _read(found: Found, choice: Choice) -> Reemission | None:
    id_ = found.id or found.place
    try:
        mail = await found.read(choice.has)
    except SourceError as error:
        text = str(error)
        problem = text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]} …"
        return Reemission(id=id_, place=found.place, problem=problem)
    if mail is None:
        return None
    message = mail.envelope.message
    # The content is beside the envelope from here on, wherever it was.
    whole = structs.replace(mail.envelope, message=structs.replace(message, content=None, reference=None))
    try:
        problem = await in_thread(partial(_problem, mail))
    except BaseException:
        mail.content.close()
        raise
    if problem:
        mail.content.close()
        return Reemission(id=mail.envelope.id, place=found.place, problem=problem)
    return Reemission(id=mail.envelope.id, place=found.place, mail=Mail(whole, mail.content))


def _problem(mail: Mail, _: object) -> str:
    message = mail.envelope.message
    if message.flattened is not None:
        return "it was flattened when it was stored: the content and the metadata that came in are not there"
    if mail.content.size != message.size:
        return f"the content was changed: it has {mail.content.size} octets instead of {message.size}"
    try:
        sha256 = mail.content.sha256()
    except OSError as error:
        return f"the content cannot be read: {error.strerror or error}"
    return "" if sha256 == message.sha256 else "the content was changed: its SHA-256 is not the envelope's"
