"""Spools for the tests of the package: mails to put in, and short ways to say what is done with them."""

import hashlib
import io
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
from msgspec import structs

from gateway.envelope import Content, Mail
from gateway.spool import Entry, NewDelivery, NewMessage, Settlement, Spool, State
from gateway.testing.samples import plain_mail

LARGE = 100_000


def mail_of(octets: bytes, *, file: Path | None = None) -> Mail:
    """A mail with this content; in an unnamed file of the directory `file`, as the ingress receives large ones."""
    mail = plain_mail()
    message = structs.replace(
        mail.envelope.message, size=len(octets), sha256=hashlib.sha256(octets).hexdigest(), headers=()
    )
    content = Content(octets)
    if file is not None:
        unnamed = io.FileIO(os.open(file, os.O_TMPFILE | os.O_RDWR, 0o600), "r+b")
        unnamed.write(octets)
        content = Content(file=unnamed)
    return Mail(structs.replace(mail.envelope, message=message), content)


def new(mail: Mail | None = None, *connectors: str, **delivery: Any) -> NewMessage:
    mail = plain_mail() if mail is None else mail
    return NewMessage(
        mail=mail,
        deliveries=tuple(
            NewDelivery(connector=each, recipients=(0,), **delivery) for each in connectors or ("archive",)
        ),
        accepted_at=time.time(),
    )


def settled(entry: Entry, state: State = State.DELIVERED, **values: Any) -> Settlement:
    return Settlement(
        message=entry.message,
        connector=entry.connector,
        part=entry.part,
        state=state,
        attempts=entry.attempts,
        **values,
    )


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Spool]:
    spool = Spool.open(directory)
    try:
        yield spool
    finally:
        await spool.close()


async def claimed(spool: Spool, connector: str = "archive", **values: Any) -> tuple[Entry, ...]:
    values = {"now": time.time() + 1, "limit": 1000, "octets": 1 << 30} | values
    return (await spool.claim(connector, **values)).entries


async def drained(spool: Spool, connector: str = "archive") -> dict[str, bytes]:
    """Everything that can be delivered, delivered: the contents by id."""
    found: dict[str, bytes] = {}
    while entries := await claimed(spool, connector):
        for entry in entries:
            assert entry.mail.envelope.id not in found
            found[entry.mail.envelope.id] = entry.mail.content.read()
            entry.mail.content.close()
            await spool.settle(settled(entry))
    return found


def rows(directory: Path, statement: str) -> list[tuple[Any, ...]]:
    """What the database says, asked beside its owner."""
    connection = apsw.Connection(str(directory / "spool.db"))
    try:
        return list(connection.execute(statement))
    finally:
        connection.close()
