"""The client side of an SMTP or LMTP session (RFC 5321, RFC 2033) without I/O: octets in, events out, octets to write.

    connection = ClientConnection(SMTP, hello_name="mta.example.org")
    …                                             # then the same after each send(), quit(), …
    while isinstance(event := connection.next_event(), ReplyReceived | None):
        write(connection.data_to_send())          # whenever the transport has room, also while replies come
        connection.receive_data(octets)           # whenever there are any

A connection does one thing at a time, and each ends with one event that says how: opening, which begins by itself and
includes the hello, with Concluded; `start_tls`, `tls_established`, `authenticate` and `quit` as well; `send` with
MailConcluded. Whatever the server does, nothing is raised: when the connection is lost or the server does not speak the
protocol, everything undecided ends with a 451 that says so. What the owner must not ask raises LocalProtocolError.

Each of these things is an exchange, one generator: it writes commands and is resumed with their replies, one by one.
"""

import base64
import re
from collections import deque
from collections.abc import Generator

from gateway.smtp import grammar
from gateway.smtp.capabilities import Capabilities, read_capabilities
from gateway.smtp.client_events import ClientEvent, Concluded, Conclusion, ReplyReceived, SentCommand
from gateway.smtp.client_transaction import send_mail
from gateway.smtp.content_writers import ContentWriter
from gateway.smtp.dialect import Dialect
from gateway.smtp.extensions.xreplymeta import XReplyMeta, enabled_codes
from gateway.smtp.outgoing import LocalProtocolError, NotOffered, OutgoingMail
from gateway.smtp.referral import read_dovecot_referral, with_referral_checked
from gateway.smtp.reply import Reply, ReplySyntaxError, goes_on, read_reply

__all__ = ["ClientConnection"]

_BLOCK = 256 * 1024

_RCPT = re.compile(r'RCPT TO:<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>')

_Exchange = Generator[None, Reply, Conclusion]


class ClientConnection:
    """One session. `capabilities` are what the server offers in its present hello, nothing before it."""

    def __init__(
        self, dialect: Dialect, *, hello_name: str, trusted: bool = False, dovecot_referrals: bool = False
    ) -> None:
        """`hello_name` is this host's domain name or address literal. Raises LocalProtocolError when it is neither.

        Of a `trusted` server the response codes are read that a mail asks for by XREPLYMETA; of others they are text.
        With `dovecot_referrals` it may refer recipients in Dovecot's form too, which needs no asking.
        """
        try:
            grammar.hello_name(hello_name.encode("ascii"))
        except (UnicodeEncodeError, grammar.CommandSyntaxError):
            raise LocalProtocolError("the name in a hello is printable ASCII without blanks") from None
        self.dialect = dialect
        self.capabilities: Capabilities = {}
        self._hello_name = hello_name
        self._trusted = trusted
        self._dovecot_referrals = trusted and dovecot_referrals
        self._codes: frozenset[str] = frozenset()
        self._received = b""
        self._events: deque[ClientEvent] = deque()
        self._lines: list[bytes] = []
        self._writer: ContentWriter | None = None
        self._unanswered: deque[SentCommand] = deque((SentCommand(""),))
        self._exchange: _Exchange | None = None
        self._failure: Reply | None = None
        self._begin(self._opening())

    @property
    def is_open(self) -> bool:
        """Whether the session goes on. When it does not, everything asked of it ends with a 451 at once."""
        return self._failure is None

    # The transport's side.

    def receive_data(self, octets: bytes) -> None:
        """Take what the server sent."""
        if self._failure is not None:
            return
        start = self._received.rfind(b"\n") + 1
        self._received += octets
        if goes_on(self._received, start):
            return
        while self._received and self._failure is None:
            try:
                found = read_reply(self._received)
            except ReplySyntaxError as error:
                self.end(str(error))
                return
            if found is None:
                return
            reply, length = found
            self._received = self._received[length:]
            self._take(reply)

    def next_event(self) -> ClientEvent | None:
        """The next event; None when there is none before more octets are written or received."""
        return self._events.popleft() if self._events else None

    def data_to_send(self, limit: int = _BLOCK) -> bytes:
        """The next octets to write, about `limit`; none when the server must answer first.

        Raises LocalProtocolError when the content turns out not to be what was said of it (a bare CR or LF, too few
        octets), and what reading the content raises. The session is then over, and the mail not sent: close.
        """
        pieces, self._lines = self._lines, []
        size = sum(map(len, pieces))
        while self._writer is not None and size < limit:
            try:
                octets, completed = self._writer.write(limit - size)
            except (LocalProtocolError, OSError):
                self.end("the content could not be read")
                raise
            pieces.append(octets)
            size += len(octets)
            self._unanswered += completed
            if self._writer.done:
                self._writer = None
        return b"".join(pieces)

    def end(self, reason: str) -> None:
        """The connection is lost or given up, `reason` says why in one clause: what is undecided becomes a 451."""
        if self._failure is None:
            self._failure = Reply.of(451, "4.4.2", reason)
            self._received = b""
            self._lines.clear()
            self._writer = None
            self._unanswered.clear()
            self._fail_exchange()

    # What the owner may ask.

    def start_tls(self) -> None:
        """Ask for TLS (RFC 3207). When it concludes with 220 do the handshake, then call `tls_established`.

        Raises NotOffered when the server does not offer it.
        """
        if "STARTTLS" not in self.capabilities:
            raise NotOffered("STARTTLS")
        self._begin(self._one("STARTTLS"))

    def tls_established(self) -> None:
        """The handshake after STARTTLS is done: forget what the server offered in clear, and say hello again."""
        if self._received:
            # RFC 3207 §6: what came in clear behind the 220 may be an attacker's.
            self.end("the server sent octets between STARTTLS and TLS")
        self._begin(self._hello())

    def authenticate(self, login: str, password: str) -> None:
        """Log in by PLAIN (RFC 4616) or, where the server does not offer that, LOGIN. It concludes with 235.

        The password goes to the server as it is: TLS is the owner's business. Raises NotOffered when the server offers
        neither, LocalProtocolError for a NUL.
        """
        if "\0" in login + password:
            raise LocalProtocolError("a login and a password have no NUL")
        mechanisms = {mechanism.upper() for mechanism in self.capabilities.get("AUTH", ())}
        if "PLAIN" in mechanisms:
            self._begin(self._plain(login, password))
        elif "LOGIN" in mechanisms:
            self._begin(self._login(login, password))
        else:
            raise NotOffered("AUTH by PLAIN or LOGIN")

    def send(self, mail: OutgoingMail) -> None:
        """Send one mail. Its content is read while `data_to_send` is called.

        Raises NotOffered when the server lacks an extension that the mail needs, LocalProtocolError when no server
        could take it; nothing of it is sent then.
        """
        # X9: only what was announced in the present hello, and asked for.
        offered = {word.upper() for word in self.capabilities.get(XReplyMeta.keyword, ())} if self._trusted else set()
        self._begin(send_mail(self, mail), codes=enabled_codes(mail.parameters, offered))

    def quit(self) -> None:
        """End the session in order; close when it concludes."""
        self._begin(self._one("QUIT"))

    # What an exchange calls.

    def write(self, line: str, *, shown: str = "", expected: int = 2) -> None:
        """Send a command. `shown` stands for one that has a secret; `expected` is the first digit of a good reply."""
        if self._failure is None:
            self._lines.append(f"{line}\r\n".encode())
            self._unanswered.append(SentCommand(shown or line, expected=expected))

    def write_content(self, writer: ContentWriter) -> None:
        """Send, behind the commands, what `writer` gives."""
        if self._failure is None:
            self._writer = writer

    # The exchanges of a session outside of mail transactions.

    def _opening(self) -> _Exchange:
        greeting = yield
        if not greeting.is_positive:
            return Concluded(greeting)
        return (yield from self._hello())

    def _hello(self) -> _Exchange:
        self.capabilities = {}
        self.write(f"{self.dialect.extended_hello.decode()} {self._hello_name}")
        reply = yield
        if reply.code in (500, 502) and b"HELO" in self.dialect.hello:
            # RFC 5321 §3.2: a server without extensions does not know EHLO.
            self.write(f"HELO {self._hello_name}")
            reply = yield
        elif reply.is_positive:
            self.capabilities = read_capabilities(reply)
        return Concluded(reply)

    def _one(self, line: str) -> _Exchange:
        self.write(line)
        return Concluded((yield))

    def _plain(self, login: str, password: str) -> _Exchange:
        response = _base64(f"\0{login}\0{password}")
        self.write(f"AUTH PLAIN {response}", shown="AUTH PLAIN")
        return Concluded((yield))

    def _login(self, login: str, password: str) -> _Exchange:
        self.write("AUTH LOGIN", expected=3)
        reply = yield
        if reply.is_positive:
            self.write(_base64(login), shown="AUTH LOGIN (login)", expected=3)
            reply = yield
        if reply.is_positive:
            self.write(_base64(password), shown="AUTH LOGIN (password)")
            reply = yield
        return Concluded(reply)

    # Replies.

    def _begin(self, exchange: _Exchange, *, codes: frozenset[str] = frozenset()) -> None:
        if self._exchange is not None:
            raise LocalProtocolError("the connection does one thing at a time; wait for its conclusion")
        if self._received:
            # With the rest of it, it would be taken for the answer to what is asked now.
            self.end("the server began a reply without being asked")
        self._exchange = exchange
        self._codes = codes
        next(exchange)
        self._fail_exchange()

    def _take(self, reply: Reply) -> None:
        if self._exchange is None or not self._unanswered:
            # A server that shuts down, or one that answers content before it has it all: there is no way on from here.
            self.end(f"the server said, without being asked: {reply}")
            return
        command = self._unanswered.popleft()
        reply = self._with_codes(reply, command)
        self._events.append(ReplyReceived(command, reply))
        if reply.is_positive and reply.code // 100 != command.expected:
            self.end(f"the server's answer to {command} makes no sense: {reply}")
        else:
            self._resume(self._exchange, reply)

    def _with_codes(self, reply: Reply, command: SentCommand) -> Reply:
        recipient = _RCPT.match(command.text)
        if self._codes:
            reply = with_referral_checked(reply.with_codes_read(self._codes), answers_rcpt=recipient is not None)
        if self._dovecot_referrals and recipient is not None and not reply.codes:
            reply = read_dovecot_referral(reply, recipient=recipient[1], dialect=self.dialect)
        return reply

    def _resume(self, exchange: _Exchange, reply: Reply) -> None:
        try:
            exchange.send(reply)
        except StopIteration as conclusion:
            self._exchange = None
            self._events.append(conclusion.value)

    def _fail_exchange(self) -> None:
        # An exchange asks for a bounded number of replies, also when each is this one.
        while self._failure is not None and self._exchange is not None:
            self._resume(self._exchange, self._failure)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
