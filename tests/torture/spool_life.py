"""The life of a spool, in a process that may die at any call: mails come, are attempted, and some are delivered.

`live` is what the process does; `remaining` is what a later process finds. Between them they must have all that was
acknowledged. The journals lie outside the spool, where nothing fails.
"""

import asyncio
import hashlib
import io
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from gateway.address import parse_path
from gateway.envelope import Content, Mail, Sender, new_id
from gateway.spool import NewDelivery, NewMessage, Settlement, Spool, SpoolError, State, reserve, writer
from gateway.spool.entry import Entry
from gateway.testing.samples import plain_mail
from tests.torture.journal import Attempt, Delivered, Ending, Journal, Outcome, sender
from tests.torture.shim import relent
from tests.torture.sinks import _described

__all__ = ["RECIPIENT", "Said", "live", "recover", "remaining", "said"]

RECIPIENT = "b@example.org"
_CONNECTOR = "destination"
_MENDED_SECONDS = 20.0
_AGAIN_SECONDS = 0.05
_LONG_AGO, _IN_A_YEAR = -1.0, 31_536_000.0


class Said(Struct, frozen=True):
    """What a destination says: that it has a mail now, and then that the spool was told so and has returned."""

    mail_id: str
    sha256: str
    is_settled: bool


def live(spool: str, journal: str, destination: str) -> None:
    """Bring mails into the spool and deliver some. Once that is done or refused, faults end, and all must be well."""
    # How long it spares a database that cannot be opened, and a full disk, a second each, is of no matter here.
    writer._REOPEN_SECONDS = reserve._TRY_AGAIN_SECONDS = 0.01
    asyncio.run(_live(Path(spool), Path(journal), Path(destination)))


def recover(spool: str) -> None:
    """Start, and stop again."""
    asyncio.run(_recover(Path(spool)))


def remaining(spool: Path, connector: str = _CONNECTOR) -> list[tuple[Delivered, bool]]:
    """The mails in the spool, each with whether it may be a duplicate, as a process that starts after a crash has them.

    Raises AssertionError for what the spool calls damaged.
    """
    return asyncio.run(_remaining(spool, connector))


def said(destination: Path) -> list[Said]:
    """What was said at the destination, in order."""
    return [msgspec.json.decode(line, type=Said) for line in destination.read_bytes().splitlines()]


async def _live(directory: Path, journal_path: Path, destination: Path) -> None:
    with Journal(journal_path) as journal, destination.open("ab", buffering=0) as says:
        try:
            spool = Spool.open(directory)
            await spool.recover(time.time())
        except (SpoolError, OSError):
            relent()
            spool = Spool.open(directory)
            await spool.recover(time.time())
        for mail, at_once in _mails(directory):
            await _add(spool, journal, mail, at_once=at_once, says=says)
        await _deliver_some(spool, says)
        relent()
        await _until_mended(lambda: _add(spool, journal, _mail(Content(b"after all\r\n")), at_once=False, says=says))
        await spool.close()


def _mails(directory: Path) -> Iterator[tuple[Mail, bool]]:
    """Content in a row, in a file that is linked, and in a file that is copied; attempted at once, and later."""
    yield _mail(Content(b"")), False
    yield _mail(Content(os.urandom(4096))), True
    try:
        file = io.FileIO(os.open(directory, os.O_TMPFILE | os.O_RDWR), "r+b")
        with file:
            file.write(os.urandom(100_000))
            yield _mail(Content(file=file)), False
    except OSError:
        # A client would have been told so before there was a mail.
        relent()
    yield _mail(Content(os.urandom(70_000))), False


def _mail(content: Content) -> Mail:
    envelope = plain_mail().envelope
    digest = hashlib.sha256(content.read()).hexdigest()
    message = structs.replace(envelope.message, size=content.size, sha256=digest)
    id_ = new_id()
    originator = Sender(address=parse_path(sender(id_).encode(), utf8=False))
    transaction = structs.replace(envelope.envelope, mail_from=originator)
    return Mail(structs.replace(envelope, id=id_, envelope=transaction, message=message), content)


async def _add(spool: Spool, journal: Journal, mail: Mail, *, at_once: bool, says: io.FileIO) -> bool:
    envelope = mail.envelope
    journal.attempted(
        Attempt(
            marker=envelope.id,
            mode="at once" if at_once else "later",
            recipients=(RECIPIENT,),
            size=envelope.message.size,
            sha256=envelope.message.sha256,
            metadata_sha256="",
        )
    )
    delivery = NewDelivery(connector=_CONNECTOR, recipients=(0,), attempted=at_once)
    try:
        entries = await spool.add(NewMessage(mail=mail, deliveries=(delivery,), accepted_at=time.time()))
    except OSError:
        journal.concluded(envelope.id, (Outcome(Ending.REJECTED, 451),))
        return False
    journal.concluded(envelope.id, (Outcome(Ending.ACKED, 250, envelope.id),))
    for entry in entries:
        await _deliver(spool, entry.message, entry.mail, says)
    return True


async def _deliver_some(spool: Spool, says: io.FileIO) -> None:
    try:
        claim = await spool.claim(_CONNECTOR, now=time.time(), limit=2, octets=1 << 20)
        for number, entry in enumerate(claim.entries):
            if number == 0:
                await _deliver(spool, entry.message, entry.mail, says)
            else:
                later = Settlement(message=entry.message, connector=_CONNECTOR, state=State.WAITING, due=_LONG_AGO)
                await spool.settle(later)
            entry.mail.content.close()
    except OSError:
        return


async def _deliver(spool: Spool, message: int, mail: Mail, says: io.FileIO) -> None:
    _say(says, mail, is_settled=False)
    try:
        await spool.settle(Settlement(message=message, connector=_CONNECTOR, state=State.DELIVERED))
    except OSError:
        return
    _say(says, mail, is_settled=True)


def _say(says: io.FileIO, mail: Mail, *, is_settled: bool) -> None:
    digest = hashlib.sha256(mail.content.read()).hexdigest()
    says.write(msgspec.json.encode(Said(mail.envelope.id, digest, is_settled)) + b"\n")


async def _until_mended(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Attempt it until it succeeds, as a client would."""
    async with asyncio.timeout(_MENDED_SECONDS):
        while not await attempt():  # noqa: ASYNC110  # nothing says when a disk is well again
            await asyncio.sleep(_AGAIN_SECONDS)


async def _recover(directory: Path) -> None:
    spool = Spool.open(directory)
    await spool.recover(time.time())
    await spool.close()


async def _remaining(directory: Path, connector: str) -> list[tuple[Delivered, bool]]:
    spool = Spool.open(directory)
    found: list[tuple[Delivered, bool]] = []
    try:
        await spool.recover(time.time())
        while entries := (await _claim(spool, connector)):
            for entry in entries:
                mail = entry.mail
                digest = hashlib.sha256(mail.content.read()).hexdigest()
                found.append((_described(mail.envelope, digest), entry.possible_duplicate))
                mail.content.close()
    finally:
        await spool.close()
    return found


async def _claim(spool: Spool, connector: str) -> tuple[Entry, ...]:
    claim = await spool.claim(connector, now=time.time() + _IN_A_YEAR, limit=100, octets=1 << 30)
    assert not claim.damaged, claim.damaged
    return claim.entries
