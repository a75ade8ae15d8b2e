"""A session with the next server, in which mails are sent one after another.

It begins with the greeting, the hello, TLS and a login, as `Access` asks for them, and ends with QUIT. Between mails
nothing is said: a transaction that is over leaves the session as it was before (RFC 5321 §4.1.1.4), and one that failed
is ended with RSET by the engine.
"""

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from msgspec import structs

from gateway.connector import Mail, PermanentFailure, TransientFailure
from gateway.relay.form import carries_metadata, outgoing_mail, takes_notifications
from gateway.relay.handover import Handover, printable, status_of, verdict
from gateway.relay.wire import ConnectionFailed, TlsFailed, Wire, connected
from gateway.smtp.capabilities import Capabilities
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import Concluded, Conclusion, MailConcluded, ReplyReceived
from gateway.smtp.dialect import Dialect
from gateway.smtp.extensions.xreplymeta import XReplyMeta
from gateway.smtp.outgoing import LocalProtocolError, OutgoingContent
from gateway.smtp.referral import REFERRAL
from gateway.sockets import TcpBind, UnixBind
from gateway.status import DESTINATION_UNREACHABLE, ENCRYPTION_NEEDED, LOCAL_ERROR, MESSAGE_REFUSED

__all__ = ["Access", "Login", "Session", "Tls", "open_session"]

_QUIT_SECONDS = 5
# RFC 5321 §3.8: whoever says so closes the connection, however long that takes it.
_LEAVING = 421


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS with a server of the name `hostname`.

    `opportunistic` takes what is there: STARTTLS where it is offered, and no TLS where it fails. `required` goes on
    under STARTTLS only, `implicit` begins with TLS.
    """

    context: ssl.SSLContext
    use: Literal["opportunistic", "required", "implicit"]
    hostname: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Whom to log in as."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a session begins. `hello_name` is what this host calls itself.

    `referrals` says in which form the server may refer recipients to others: by response codes, where it offers them,
    or in Dovecot's form as well. From a server that is not trusted with it, in none.
    """

    dialect: Dialect
    hello_name: str
    tls: Tls | None = None
    login: Login | None = None
    referrals: Literal["none", "structured", "dovecot"] = "none"


async def open_session(server: TcpBind | UnixBind, access: Access) -> "Session":
    """Connect, and come to where mail can be sent.

    Raises TransientFailure: a server that does not begin may do so later, whatever it says, for that is not about a
    mail. Cancelled, it leaves nothing open.
    """
    try:
        try:
            return await _opened(server, access, access)
        except TlsFailed:
            if access.tls is None or access.tls.use != "opportunistic":
                raise
            # RFC 7435 §3: better in clear than not at all, for nothing better was asked for.
            return await _opened(server, access, replace(access, tls=None))
    except ConnectionFailed as error:
        text = "the next mail server cannot be reached"
        raise TransientFailure(DESTINATION_UNREACHABLE, text, cause=str(error)) from error
    except LocalProtocolError as error:
        text = "the next mail server cannot be spoken with as configured"
        raise TransientFailure(DESTINATION_UNREACHABLE, text, cause=str(error)) from error


class Session:
    """An open session, of `server` and `access`. It does one thing at a time; `open_session` makes it."""

    def __init__(
        self,
        server: TcpBind | UnixBind,
        access: Access,
        connection: ClientConnection,
        wire: Wire,
        resources: AsyncExitStack,
    ) -> None:
        self.server = server
        self.access = access
        self._connection = connection
        self._wire = wire
        self._resources = resources
        # How many mails were sent in it, taken or not.
        self.mails = 0

    @property
    def is_open(self) -> bool:
        """Whether another mail can be sent, for all that is known here."""
        return self._connection.is_open

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers in its last hello."""
        return self._connection.capabilities

    async def send(self, mail: Mail, *, until: float) -> Handover:
        """Send one mail, in the form that suits the server, and say what became of it.

        What the server has decided by the time `until` of the event loop's clock, stands; for all else it has not
        answered, and the session is over. Raises PermanentFailure for a mail that cannot go to this server,
        TransientFailure where its content cannot be read. Cancelled, it leaves the session closed to other mails; close
        it.
        """
        self.mails += 1
        late = asyncio.get_running_loop().call_at(until, self._wire.give_up, f"{self.server} did not finish in time")
        try:
            return await self._send(mail)
        except LocalProtocolError as error:
            text = "the mail is not one that SMTP can carry"
            raise PermanentFailure(MESSAGE_REFUSED, text, cause=str(error)) from error
        except OSError as error:
            raise TransientFailure(LOCAL_ERROR, "the mail could not be read now", cause=str(error)) from error
        except asyncio.CancelledError:
            # No goodbye, which would wait until the server has read the mail.
            self._connection.end("the mail was given up")
            raise
        finally:
            late.cancel()

    async def close(self) -> None:
        """Say goodbye where the session is in order, and close the connection. Takes a few seconds at most."""
        try:
            if self._connection.is_open:
                self._connection.quit()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_QUIT_SECONDS):
                        await _conclude(self._wire)
        finally:
            await self._resources.aclose()

    async def _send(self, mail: Mail) -> Handover:
        outgoing = await outgoing_mail(mail, self.capabilities, self._connection.dialect)
        if self.access.referrals != "none" and _offers_referrals(self.capabilities):
            asking = (*outgoing.parameters, (XReplyMeta.keyword, REFERRAL))
            outgoing = structs.replace(outgoing, parameters=asking)
        content = _WatchedContent(outgoing.content)
        self._connection.send(structs.replace(outgoing, content=content))
        heard: list[ReplyReceived] = []
        concluded = cast("MailConcluded", await self._hear(heard))
        if any(each.reply.code == _LEAVING for each in heard):
            self._connection.end("the server has taken its leave")
        all_sent = bool(heard) and content.all_read
        return Handover(
            verdicts=tuple(verdict(each, heard=heard, all_sent=all_sent) for each in concluded.outcomes),
            carried=carries_metadata(self.capabilities) and mail.envelope.message.flattened is None,
            notifies=takes_notifications(self.capabilities),
            answered=bool(heard),
        )

    async def _hear(self, heard: list[ReplyReceived]) -> Conclusion:
        while isinstance(event := await self._wire.next_event(), ReplyReceived):
            heard.append(event)
        return event


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


def _offers_referrals(capabilities: Capabilities) -> bool:
    return REFERRAL in map(str.upper, capabilities.get(XReplyMeta.keyword, ()))


async def _opened(server: TcpBind | UnixBind, asked_for: Access, access: Access) -> Session:
    connection = ClientConnection(
        access.dialect,
        hello_name=access.hello_name,
        trusted=access.referrals != "none",
        dovecot_referrals=access.referrals == "dovecot",
    )
    async with AsyncExitStack() as resources:
        tls = access.tls if access.tls is not None and access.tls.use == "implicit" else None
        context, name = (tls.context, tls.hostname) if tls is not None else (None, "")
        wire = await resources.enter_async_context(connected(connection, server, context, hostname=name))
        try:
            await _begin(connection, wire, access)
        except BaseException:
            # Nothing was begun that a goodbye would end.
            connection.end("the session was given up")
            raise
        return Session(server, asked_for, connection, wire, resources.pop_all())


async def _begin(connection: ClientConnection, wire: Wire, access: Access) -> None:
    await _agree(wire)
    tls = access.tls
    if tls is not None and tls.use != "implicit":
        await _secure(connection, wire, tls)
    if access.login is not None:
        connection.authenticate(access.login.user, access.login.password)
        await _agree(wire)


async def _secure(connection: ClientConnection, wire: Wire, tls: Tls) -> None:
    required = tls.use == "required"
    if "STARTTLS" not in connection.capabilities:
        if required:
            raise _insecure("the server does not offer STARTTLS")
        return
    connection.start_tls()
    reply = (await _conclude(wire)).reply
    if reply.is_positive:
        await wire.start_tls(tls.context, tls.hostname)
        connection.tls_established()
        await _agree(wire)
    elif required:
        raise _insecure(printable(reply))
    elif not connection.is_open:
        raise TlsFailed(f"TLS failed: {printable(reply)}")


def _insecure(cause: str) -> TransientFailure:
    return TransientFailure(ENCRYPTION_NEEDED, "the next mail server offers no TLS now", cause=cause)


async def _agree(wire: Wire) -> None:
    reply = (await _conclude(wire)).reply
    if not reply.is_positive:
        # Not about a mail: a 5yz here comes from a server that is being changed, or does not know us yet.
        text = "the next mail server does not take mail now"
        raise TransientFailure(status_of(reply, 4), text, cause=printable(reply))


async def _conclude(wire: Wire) -> Concluded:
    while isinstance(event := await wire.next_event(), ReplyReceived):
        pass
    return cast("Concluded", event)
