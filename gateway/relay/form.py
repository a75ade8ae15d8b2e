"""The form in which a mail goes to the next server, which is decided by what that server offers in its hello.

With METADATA (MD00 §4.1) the containers go as they are and the content is untouched. Without (§4.2) the trace fields
are prepended to the content and the other containers end here; over LMTP (§5) no Return-Path is left either, for the
server that makes the final delivery writes one (RFC 5321 §4.4). A mail that was flattened before goes as it is, but for
our own Return-Path on top. The parameters of DSN go only to a server that knows
them (RFC 3461 §5.2.2). Nothing is converted: what the server cannot take as it is fails for good.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import structs

from gateway.connector import Mail, PermanentFailure
from gateway.envelope import BLOCK, Content, Envelope, Parameter
from gateway.envelope.flatten import delivery_form, relay_form, return_path
from gateway.smtp.capabilities import Capabilities
from gateway.smtp.dialect import Dialect
from gateway.smtp.outgoing import OutgoingContent, OutgoingMail, OutgoingRecipient, declared_size
from gateway.status import CONVERSION_NOT_SUPPORTED, MESSAGE_TOO_BIG, NON_ASCII_ADDRESS, NON_ASCII_MESSAGE, Status
from gateway.threads import in_thread

__all__ = ["carries_metadata", "outgoing_mail", "takes_notifications"]

# RFC 1870 §4.
_LIMIT = re.compile("[0-9]{1,20}")

_Body = Literal["7BIT", "8BITMIME", "BINARYMIME"]

_BODIES: Mapping[str, _Body] = {"7BIT": "7BIT", "8BITMIME": "8BITMIME", "BINARYMIME": "BINARYMIME"}


def carries_metadata(capabilities: Capabilities) -> bool:
    """Whether the server takes containers (B2: METADATA is nothing without CHUNKING)."""
    return "METADATA" in capabilities and "CHUNKING" in capabilities


def takes_notifications(capabilities: Capabilities) -> bool:
    """Whether notifying the originator is the server's business from there on (RFC 3461 §5.2.1)."""
    return "DSN" in capabilities


async def outgoing_mail(mail: Mail, capabilities: Capabilities, dialect: Dialect) -> OutgoingMail:
    """The mail for that server. Reads the content where its declaration does not settle how it may go.

    Raises PermanentFailure for a mail that the server cannot take, LocalProtocolError for one that none could, OSError
    where the content cannot be read.
    """
    envelope = mail.envelope.envelope
    containers = mail.envelope.metadata.containers
    carries = carries_metadata(capabilities)
    notifies = takes_notifications(capabilities)
    wanted = ("SMTPUTF8", "RET", "ENVID") if notifies else ("SMTPUTF8",)
    outgoing = OutgoingMail(
        reverse_path=envelope.mail_from.address,
        recipients=tuple(
            OutgoingRecipient(each.address, _parameters(each.parameters, ("NOTIFY", "ORCPT") if notifies else ()))
            for each in envelope.recipients
        ),
        content=_content(mail, dialect, carries=carries),
        parameters=_parameters(envelope.mail_from.parameters, wanted),
        containers=tuple((container.type, container.data) for container in containers) if carries else (),
        body=_BODIES.get(mail.envelope.transaction.body, "7BIT"),
    )
    outgoing = await _international(outgoing, capabilities)
    outgoing = await _eight_bit(outgoing, capabilities)
    _check_size(outgoing, capabilities)
    return outgoing


def _content(mail: Mail, dialect: Dialect, *, carries: bool) -> OutgoingContent:
    if mail.envelope.message.flattened is not None:
        return _without_return_path(mail.envelope, mail.content)
    if carries:
        return mail.content
    containers = mail.envelope.metadata.containers
    if dialect.reply_per_recipient:
        return delivery_form(containers, mail.content)
    return relay_form(containers, mail.content) if containers else mail.content


def _without_return_path(envelope: Envelope, content: Content) -> OutgoingContent:
    # RFC 5321 §4.4: SMTP carries none, and an LMTP server adds one. Flattening has put ours on top.
    field = return_path(envelope)
    return _Rest(content, len(field)) if content.read_at(0, len(field)) == field else content


class _Rest:
    """A content without its first octets."""

    def __init__(self, content: Content, start: int) -> None:
        self._content = content
        self._start = start
        self.size = content.size - start

    def read_at(self, position: int, size: int) -> bytes:
        return self._content.read_at(self._start + position, size)


def _parameters(parameters: Iterable[Parameter], keywords: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    # AUTH is between us and the client (RFC 4954 §5); SIZE and BODY are said anew; unknown ones mean nothing here.
    return tuple((each.keyword, each.value) for each in parameters if each.keyword.upper() in keywords)


async def _international(mail: OutgoingMail, capabilities: Capabilities) -> OutgoingMail:
    """The mail without SMTPUTF8 where the server does not offer it and nothing in the mail needs it (RFC 6531 §3.2)."""
    if "SMTPUTF8" in capabilities or not any(keyword.upper() == "SMTPUTF8" for keyword, _ in mail.parameters):
        return mail
    addresses = (mail.reverse_path, *(recipient.address for recipient in mail.recipients))
    parameters = (value for recipient in mail.recipients for _, value in recipient.parameters)
    if not all(address.raw.isascii() for address in addresses) or not all(value.isascii() for value in parameters):
        raise _unfit(NON_ASCII_ADDRESS, "SMTPUTF8")
    # UTF-8 may stand in the header fields of body parts, too, and nobody looks for them here.
    if not await _is_ascii(mail):
        raise _unfit(NON_ASCII_MESSAGE, "SMTPUTF8")
    return structs.replace(mail, parameters=tuple(each for each in mail.parameters if each[0].upper() != "SMTPUTF8"))


async def _eight_bit(mail: OutgoingMail, capabilities: Capabilities) -> OutgoingMail:
    """The mail with the body type that its octets need (E9: 8-bit octets may come without having been declared)."""
    if mail.body == "BINARYMIME":
        if "BINARYMIME" not in capabilities or "CHUNKING" not in capabilities:
            raise _unfit(CONVERSION_NOT_SUPPORTED, "BINARYMIME")
        return mail
    offered = "8BITMIME" in capabilities
    if offered and mail.body == "8BITMIME":
        return mail
    if await _is_ascii(mail):
        return structs.replace(mail, body="7BIT")
    if not offered:
        raise _unfit(CONVERSION_NOT_SUPPORTED, "8BITMIME")
    return structs.replace(mail, body="8BITMIME")


def _check_size(mail: OutgoingMail, capabilities: Capabilities) -> None:
    # RFC 1870 §6.1, B61, A15: containers count, and are not shed to make a mail fit. 0 is no limit.
    (limit, *_) = capabilities.get("SIZE") or ("0",)
    size = declared_size(mail, capabilities)
    if _LIMIT.fullmatch(limit) and 0 < int(limit) < size:
        cause = f"the mail has {size} octets, the server takes {limit}"
        raise PermanentFailure(MESSAGE_TOO_BIG, "the mail is too big for the next mail server", cause=cause)


async def _is_ascii(mail: OutgoingMail) -> bool:
    if not all(data.isascii() for type_, data in mail.containers if type_ == 0):
        return False
    if mail.content.size <= BLOCK:
        return mail.content.read_at(0, mail.content.size).isascii()
    return await in_thread(lambda _: _all_ascii(mail.content))


def _all_ascii(content: OutgoingContent) -> bool:
    return all(content.read_at(start, BLOCK).isascii() for start in range(0, content.size, BLOCK))


def _unfit(status: Status, extension: str) -> PermanentFailure:
    text = "the next mail server cannot take a mail of this form"
    return PermanentFailure(status, text, cause=f"the server does not offer {extension}")
