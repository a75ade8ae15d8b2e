"""Spools with mail in every state, made by the package itself, and the command that is run on them."""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from gateway.envelope import Mail
from gateway.spool import NewDelivery, NewMessage, Settlement, Spool, State
from gateway.testing import sample_mails

MAILSLUICE = Path(sys.executable).with_name("mailsluice")

MAIL_AGE = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A mail to be spooled: the state of its delivery for each connector, and who of its recipients goes there."""

    mail: Mail
    states: dict[str, State]
    recipients: dict[str, tuple[int, ...]] = field(default_factory=dict)
    age_seconds: float = MAIL_AGE
    due_seconds: float = 3600.0
    status: str = ""
    cause: str = ""
    possible_duplicate: bool = False


def run(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """The installed command, run in `folder`: for commands that have a log, which belongs to the process."""
    return subprocess.run(
        [MAILSLUICE, *map(str, arguments)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sample(name: str) -> Mail:
    """One of the sample mails, under a fresh id."""
    mails = sample_mails()
    mail = mails.pop(name)
    for other in mails.values():
        other.content.close()
    return mail


def fill(folder: Path, *messages: Spooled, paused: dict[str, str] | None = None) -> None:
    """Spool the mails into `folder`, in order, and close their contents.

    What waits has failed once. BEHIND puts a delivery into an order: the first one of a connector waits, and the
    others are behind it.
    """

    async def run() -> None:
        spool = Spool.open(folder)
        for message in messages:
            await _add(spool, message)
            message.mail.content.close()
        for connector, cause in (paused or {}).items():
            await spool.pause(connector, time.time(), cause)
        await spool.close()

    asyncio.run(run())


async def _add(spool: Spool, message: Spooled) -> None:
    everyone = tuple(range(len(message.mail.envelope.envelope.recipients)))
    deliveries = tuple(
        NewDelivery(
            connector=connector,
            recipients=message.recipients.get(connector, everyone),
            ordering_key=b"key" if state is State.BEHIND else None,
        )
        for connector, state in message.states.items()
    )
    now = time.time()
    await spool.add(NewMessage(mail=message.mail, deliveries=deliveries, accepted_at=now - message.age_seconds))
    for connector, state in message.states.items():
        if state is State.BEHIND:
            continue
        (entry,) = [
            each
            for each in (await spool.claim(connector, now=now, limit=1000, octets=1 << 30)).entries
            if each.mail.envelope.id == message.mail.envelope.id
        ]
        entry.mail.content.close()
        if state is not State.ATTEMPTED:
            await spool.settle(
                Settlement(
                    message=entry.message,
                    connector=connector,
                    state=state,
                    due=now + message.due_seconds,
                    attempts=entry.attempts,
                    possible_duplicate=message.possible_duplicate,
                    status=message.status,
                    cause=message.cause,
                )
            )
