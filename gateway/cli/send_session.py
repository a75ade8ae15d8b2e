"""The session of `mailsluice send`: one connection, one mail, every reply printed as it comes."""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from msgspec import structs
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TimeRemainingColumn, TransferSpeedColumn

from gateway.cli.terminal import printable
from gateway.relay.wire import Wire, connected
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import Concluded, Conclusion, MailConcluded, RecipientOutcome, ReplyReceived
from gateway.smtp.outgoing import LocalProtocolError, NotOffered, OutgoingContent, OutgoingMail
from gateway.sockets import TcpBind, UnixBind

__all__ = ["Login", "Refused", "Submission", "Tls", "submit"]

_LARGE_OCTETS = 4 * 1024 * 1024


class Refused(Exception):
    """The server does not go on with the session. The message is its reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS with a server of this name, from the first octet or after STARTTLS."""

    context: ssl.SSLContext
    implicit: bool
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Whom to log in as."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One mail, and how its server is reached. With `chunking_required` it does not go by DATA."""

    server: TcpBind | UnixBind
    mail: OutgoingMail
    tls: Tls | None
    login: Login | None
    chunking_required: bool


async def submit(connection: ClientConnection, submission: Submission) -> tuple[RecipientOutcome, ...]:
    """Open the session, send the mail and end the session: what became of each recipient.

    Prints every reply line. Raises ConnectionFailed or Refused when it does not come to the mail, LocalProtocolError
    when the mail cannot go to this server, and OSError when its content can no longer be read.
    """
    tls = submission.tls
    async with connected(
        connection, submission.server, tls.context if tls is not None and tls.implicit else None
    ) as wire:
        try:
            outcomes = await _submit(connection, wire, submission)
        except (Refused, LocalProtocolError):
            await _quit(connection, wire)
            raise
        await _quit(connection, wire)
        return outcomes


async def _submit(connection: ClientConnection, wire: Wire, submission: Submission) -> tuple[RecipientOutcome, ...]:
    tls, login = submission.tls, submission.login
    await _agree(wire)
    if tls is not None and not tls.implicit:
        connection.start_tls()
        await _agree(wire)
        await wire.start_tls(tls.context, tls.hostname)
        connection.tls_established()
        await _agree(wire)
    if login is not None:
        connection.authenticate(login.user, login.password)
        await _agree(wire)
    if submission.chunking_required and "CHUNKING" not in connection.capabilities:
        raise NotOffered("CHUNKING")
    with _watched(submission.mail.content) as content:
        connection.send(structs.replace(submission.mail, content=content))
        concluded = cast("MailConcluded", await _conclude(wire))  # as send() always ends
    return concluded.outcomes


async def _agree(wire: Wire) -> None:
    match await _conclude(wire):
        case Concluded(reply) if not reply.is_positive:
            raise Refused(printable(str(reply)))


async def _quit(connection: ClientConnection, wire: Wire) -> None:
    if connection.is_open:
        connection.quit()
        await _conclude(wire)


async def _conclude(wire: Wire) -> Conclusion:
    while isinstance(event := await wire.next_event(), ReplyReceived):
        for line in _lines(event):
            # Not typer.echo: it keeps the stream it saw first, and would write across a progress bar.
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    return event


def _lines(event: ReplyReceived) -> Iterator[str]:
    reply = event.reply
    status = f"{reply.status} " if reply.status is not None else ""
    for number, line in enumerate(reply.lines, 1):
        separator = " " if number == len(reply.lines) else "-"
        yield printable(f"{event.command}: {reply.code}{separator}{status}{line}")


@contextmanager
def _watched(content: OutgoingContent) -> Iterator[OutgoingContent]:
    """The content, with a progress bar where it is large and somebody watches."""
    console = Console(stderr=True)
    if content.size < _LARGE_OCTETS or not console.is_terminal:
        yield content
        return
    columns = (BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield _Watched(content, progress, progress.add_task("", total=content.size))


class _Watched:
    """Content that moves a progress bar when it is read."""

    def __init__(self, content: OutgoingContent, progress: Progress, task: TaskID) -> None:
        self._content = content
        self._progress = progress
        self._task = task
        self.size = content.size

    def read_at(self, position: int, size: int) -> bytes:
        block = self._content.read_at(position, size)
        self._progress.update(self._task, completed=position + len(block))
        return block
