"""The client's side of one mail transaction, as a generator: it writes commands and is resumed with their replies.

MAIL and all RCPT go in one group where PIPELINING is offered (RFC 2920 §3.1), then, when all of them are answered, the
metadata and the content in another (B52). A refusal of MAIL, of DATA or of a chunk concerns every recipient. RSET
follows wherever the server may still have the transaction open.
"""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from gateway.smtp.client_events import MailConcluded, RecipientOutcome, SentCommand
from gateway.smtp.content_writers import CheckedContent, Chunks, ChunkWriter, DataWriter
from gateway.smtp.outgoing import (
    OutgoingMail,
    OutgoingRecipient,
    check_mail,
    mail_command,
    rcpt_command,
    shown_rcpt_command,
)
from gateway.smtp.reply import Reply

if TYPE_CHECKING:
    from gateway.smtp.client import ClientConnection

__all__ = ["send_mail"]

_Replies = Generator[None, Reply, list[Reply]]


def send_mail(connection: "ClientConnection", mail: OutgoingMail) -> Generator[None, Reply, MailConcluded]:
    """The transaction of `mail`, not begun.

    Raises LocalProtocolError, or NotOffered, for a mail that must not be sent to this server.
    """
    check_mail(mail, connection.capabilities)
    mail_line = mail_command(mail, connection.capabilities)
    rcpt_lines = [rcpt_command(recipient, connection.capabilities) for recipient in mail.recipients]
    return _transaction(connection, mail, mail_line, rcpt_lines)


def _transaction(
    connection: "ClientConnection", mail: OutgoingMail, mail_line: str, rcpt_lines: Sequence[str]
) -> Generator[None, Reply, MailConcluded]:
    shown = map(shown_rcpt_command, mail.recipients)
    replies = yield from _envelope(connection, mail_line, tuple(zip(rcpt_lines, shown, strict=True)))
    accepted = [index for index, reply in enumerate(replies) if reply.is_positive]
    if accepted:
        recipients = [mail.recipients[index] for index in accepted]
        send = _by_chunks if mail.goes_by_chunks(connection.capabilities) else _by_data
        finals = yield from send(connection, mail, recipients)
        for index, final in zip(accepted, finals, strict=True):
            replies[index] = final
    addresses = (recipient.address for recipient in mail.recipients)
    return MailConcluded(tuple(map(RecipientOutcome, addresses, replies)))


def _envelope(connection: "ClientConnection", mail_line: str, rcpt_lines: Sequence[tuple[str, str]]) -> _Replies:
    """MAIL and RCPT, each line with what is shown of it: what became of each recipient so far."""
    pipelining = "PIPELINING" in connection.capabilities
    connection.write(mail_line)
    if pipelining:
        for line, shown in rcpt_lines:
            connection.write(line, shown=shown)
    begun = yield
    if not begun.is_positive and not pipelining:
        return [begun] * len(rcpt_lines)
    replies: list[Reply] = []
    for line, shown in rcpt_lines:
        if not pipelining:
            connection.write(line, shown=shown)
        replies.append((yield))
    if not begun.is_positive:
        return [begun] * len(rcpt_lines)
    if not any(reply.is_positive for reply in replies):
        yield from _reset(connection)
    return replies


def _by_data(connection: "ClientConnection", mail: OutgoingMail, recipients: Sequence[OutgoingRecipient]) -> _Replies:
    connection.write("DATA", expected=3)
    reply = yield
    if not reply.is_positive:
        yield from _reset(connection)
        return [reply] * len(recipients)
    finals = _finals(connection, ".", recipients)
    connection.write_content(DataWriter(CheckedContent(mail.content, binary=False), finals))
    replies: list[Reply] = []
    while len(replies) < len(finals):
        replies.append((yield))
    return _for_each(connection, replies, recipients)


def _by_chunks(connection: "ClientConnection", mail: OutgoingMail, recipients: Sequence[OutgoingRecipient]) -> _Replies:
    chunks = Chunks(mail)
    content = CheckedContent(mail.content, binary=mail.body == "BINARYMIME")
    finals = _finals(connection, chunks.final(), recipients)
    replies: list[Reply] = []
    for indices in _groups(connection, len(chunks), len(finals)):
        writer = ChunkWriter(chunks, indices, content, finals)
        connection.write_content(writer)
        replies = []
        while len(replies) < writer.answers:
            replies.append((yield))
            if not replies[-1].is_positive:
                writer.stop()
        # B44: the first refusal of a chunk before the last decides; those in the pipeline are answered by now.
        before_last = min(indices.stop, len(chunks) - 1) - indices.start
        for reply in replies[:before_last]:
            if not reply.is_positive:
                yield from _reset(connection)
                return [reply] * len(recipients)
    replies = replies[-len(finals) :]
    if not all(reply.is_positive for reply in replies):
        yield from _reset(connection)
    return _for_each(connection, replies, recipients)


def _groups(connection: "ClientConnection", chunks: int, finals: int) -> Sequence[range]:
    """Which chunks go out together, without waiting for replies."""
    if "PIPELINING" not in connection.capabilities:
        return [range(index, index + 1) for index in range(chunks)]
    if finals > 1 and chunks > 1:
        # Servers differ in whether the last chunk of a failed transaction is answered once or for each recipient (B43):
        # so it is sent only when all before it are known to be good.
        return (range(chunks - 1), range(chunks - 1, chunks))
    return (range(chunks),)


def _reset(connection: "ClientConnection") -> Generator[None, Reply, None]:
    connection.write("RSET")
    yield


def _finals(
    connection: "ClientConnection", text: str, recipients: Sequence[OutgoingRecipient]
) -> tuple[SentCommand, ...]:
    """What the end of the content completes: in LMTP there is a reply for each accepted recipient (RFC 2033 §4.2)."""
    if not connection.dialect.reply_per_recipient:
        return (SentCommand(text),)
    return tuple(SentCommand(text, recipient.address.raw) for recipient in recipients)


def _for_each(
    connection: "ClientConnection", replies: list[Reply], recipients: Sequence[OutgoingRecipient]
) -> list[Reply]:
    return replies if connection.dialect.reply_per_recipient else replies * len(recipients)
