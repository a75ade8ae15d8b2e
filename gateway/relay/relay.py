"""A relay: hands mails to the next mail server, which is always the same, each in a session of its own.

What that server offers decides the form of a mail: with METADATA (MD00 §4.1) its containers go as they are, without
(§4.2) the trace fields are prepended to the content and the other containers end here; the parameters of DSN go only to
a server that knows them (RFC 3461 §5.2.2). Nothing else about a mail is changed: what the server cannot take as it is
fails for good.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Literal, cast

from msgspec import structs

from gateway.connector import Mail, PermanentFailure, Receipt, RetrySchedule, TransientFailure
from gateway.envelope import Parameter
from gateway.envelope.flatten import relay_form
from gateway.relay.wire import ConnectionFailed, Wire, connected
from gateway.smtp import SMTP
from gateway.smtp.capabilities import Capabilities
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import Concluded, Conclusion, MailConcluded, RecipientOutcome, ReplyReceived
from gateway.smtp.outgoing import LocalProtocolError, NotOffered, OutgoingContent, OutgoingMail, OutgoingRecipient
from gateway.smtp.reply import Reply
from gateway.sockets import TcpBind
from gateway.status import DESTINATION_UNREACHABLE, DESTINATION_UNRESPONSIVE, LOCAL_ERROR, MESSAGE_REFUSED, Status

__all__ = ["RELAY_RETRIES", "Relay"]

# RFC 5321 §4.5.4.1: every half hour or less often, for four or five days; sooner at first, for a server that restarts.
RELAY_RETRIES = RetrySchedule(delays_seconds=(60, 300, 900, *(1800,) * 239), for_ever=False)

_QUIT_SECONDS = 5

_BODIES: Mapping[str, Literal["7BIT", "8BITMIME", "BINARYMIME"]] = {
    "7BIT": "7BIT",
    "8BITMIME": "8BITMIME",
    "BINARYMIME": "BINARYMIME",
}
_CONVERSION_NOT_SUPPORTED = Status(5, 6, 3)
_NON_ASCII_ADDRESS = Status(5, 6, 7)


class Relay:
    """A Connector whose destination is the SMTP server `server`.

    Made for mails of one recipient. One with several is delivered when the server has taken it for all of them; where
    it has taken it for some, the failure of the others is that of the mail.
    """

    def __init__(self, server: TcpBind, *, name: str, hostname: str, deadline_seconds: float) -> None:
        """`hostname` is what this gateway says in its hello.

        A mail whose fate is open after `deadline_seconds` has failed for the time being. That is less than RFC 5321
        §4.5.3.2 would wait for some of the replies; only the relay can then say whether the server may have the mail,
        so whoever bounds it as well leaves it ten seconds more.
        """
        self.name = name
        self.server = server
        self._hostname = hostname
        self._deadline_seconds = deadline_seconds

    async def open(self) -> None:
        """Nothing to open: the server may come and go."""

    async def emit(self, mail: Mail) -> Receipt:
        """Hand over one mail; the receipt has the server's reply.

        A TransientFailure says `possibly_stored` where the whole mail was sent and the server's answer did not come.
        """
        attempt = _Attempt(mail, ClientConnection(SMTP, hello_name=self._hostname))
        try:
            reply = await attempt.run(self.server, seconds=self._deadline_seconds)
        except ConnectionFailed as error:
            raise TransientFailure(
                DESTINATION_UNREACHABLE, "the next mail server cannot be reached", cause=str(error)
            ) from error
        except NotOffered as error:
            status = _NON_ASCII_ADDRESS if error.what == "SMTPUTF8" else _CONVERSION_NOT_SUPPORTED
            text = "the next mail server cannot take a mail of this form"
            raise PermanentFailure(status, text, cause=str(error)) from error
        except LocalProtocolError as error:
            raise PermanentFailure(
                MESSAGE_REFUSED, "the mail is not one that SMTP can carry", cause=str(error)
            ) from error
        except TimeoutError as error:
            raise TransientFailure(
                DESTINATION_UNRESPONSIVE,
                "the next mail server did not answer in time",
                cause=f"{self.server} did not finish within {self._deadline_seconds:g} seconds",
                possibly_stored=attempt.all_sent,
            ) from error
        except OSError as error:
            raise TransientFailure(LOCAL_ERROR, "the mail could not be read now", cause=str(error)) from error
        location: dict[str, str | int] = {"host": self.server.host, "port": self.server.port, "reply": _shown(reply)}
        return Receipt(id=mail.envelope.id, connector=self.name, type="smtp", location=location)

    async def close(self) -> None:
        """Nothing to close: each session ends with its mail."""


class _Attempt:
    """One mail in one session, and how far it has come."""

    def __init__(self, mail: Mail, connection: ClientConnection) -> None:
        self._mail = mail
        self._connection = connection
        self._content: _WatchedContent | None = None
        self._heard: list[Reply] = []

    @property
    def all_sent(self) -> bool:
        """Whether the server may have the whole mail, for all that is known here."""
        return self._content is not None and self._content.all_read

    async def run(self, server: TcpBind, *, seconds: float) -> Reply:
        """The reply that accepts the mail. Raises TransientFailure and PermanentFailure, as the server decides.

        Otherwise ConnectionFailed, LocalProtocolError, TimeoutError, and what reading the content raises.
        """
        async with AsyncExitStack() as session:
            try:
                async with asyncio.timeout(seconds):
                    wire = await session.enter_async_context(connected(self._connection, server))
                    # Beyond the deadline: what is decided by then stays so.
                    session.push_async_callback(_quit, self._connection, wire)
                    return await self._converse(wire)
            except (asyncio.CancelledError, OSError):
                # Given up: no goodbye, which would wait until the server has read the mail.
                self._connection.end("the mail was given up")
                raise

    async def _converse(self, wire: Wire) -> Reply:
        opened = cast("Concluded", await self._conclude(wire)).reply
        if not opened.is_positive:
            # Not about this mail: a 5yz here comes from a server that is being changed, or does not know us yet.
            text = "the next mail server does not take mail now"
            raise TransientFailure(_status(opened, 4), text, cause=_shown(opened))
        outgoing = _outgoing(self._mail, self._connection.capabilities)
        self._content = _WatchedContent(outgoing.content)
        self._connection.send(structs.replace(outgoing, content=self._content))
        return self._judge(cast("MailConcluded", await self._conclude(wire)).outcomes)

    async def _conclude(self, wire: Wire) -> Conclusion:
        while isinstance(event := await wire.next_event(), ReplyReceived):
            self._heard.append(event.reply)
        return event

    def _judge(self, outcomes: tuple[RecipientOutcome, ...]) -> Reply:
        # A transient failure before a permanent one, for then it is worth coming again.
        decisive = min(outcomes, key=lambda outcome: (4, 5, 2).index(outcome.reply.code // 100))
        reply = decisive.reply
        cause = f"<{decisive.recipient}>: {_shown(reply)}"
        if reply.is_positive:
            return reply
        if reply.code >= 500:
            raise PermanentFailure(_status(reply, 5), "the next mail server refuses the mail", cause=cause)
        if reply in self._heard:
            text = "the next mail server asks to come again later"
            for_others = any(outcome.reply.is_positive for outcome in outcomes)
            raise TransientFailure(_status(reply, 4), text, cause=cause, possibly_stored=for_others)
        text = "the connection to the next mail server was lost"
        raise TransientFailure(_status(reply, 4), text, cause=cause, possibly_stored=self.all_sent)


class _WatchedContent:
    """Content that knows whether all of it was given away. Of no octets, it says so from the start."""

    def __init__(self, content: OutgoingContent) -> None:
        self._content = content
        self._read = 0
        self.size = content.size

    @property
    def all_read(self) -> bool:
        return self._read >= self.size

    def read_at(self, position: int, size: int) -> bytes:
        block = self._content.read_at(position, size)
        if position == self._read:  # and not a look at the end
            self._read += len(block)
        return block


def _outgoing(mail: Mail, capabilities: Capabilities) -> OutgoingMail:
    """The mail in the form that suits the server. Raises LocalProtocolError for what suits none."""
    envelope, containers = mail.envelope.envelope, mail.envelope.metadata.containers
    carries = "METADATA" in capabilities and "CHUNKING" in capabilities
    notifies = "DSN" in capabilities
    return OutgoingMail(
        reverse_path=envelope.mail_from.address,
        recipients=tuple(
            OutgoingRecipient(each.address, _parameters(each.parameters, ("NOTIFY", "ORCPT") if notifies else ()))
            for each in envelope.recipients
        ),
        content=mail.content if carries or not containers else relay_form(containers, mail.content),
        parameters=_parameters(
            envelope.mail_from.parameters, ("SMTPUTF8", "RET", "ENVID") if notifies else ("SMTPUTF8",)
        ),
        containers=tuple((container.type, container.data) for container in containers) if carries else (),
        body=_BODIES.get(mail.envelope.transaction.body, "7BIT"),
    )


def _parameters(parameters: Iterable[Parameter], keywords: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    # AUTH is between us and the client (RFC 4954 §5); SIZE and BODY are said anew; unknown ones mean nothing here.
    return tuple((each.keyword, each.value) for each in parameters if each.keyword.upper() in keywords)


async def _quit(connection: ClientConnection, wire: Wire) -> None:
    if connection.is_open:
        connection.quit()
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIT_SECONDS):
                while isinstance(await wire.next_event(), ReplyReceived):
                    pass


def _status(reply: Reply, class_: int) -> Status:
    if reply.status is None:
        return Status(class_, 0, 0)
    return Status(class_, reply.status.subject, reply.status.detail)


def _shown(reply: Reply) -> str:
    return "".join(each if each.isprintable() else "?" for each in str(reply))
