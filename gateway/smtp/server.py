"""The server side of an SMTP or LMTP session (RFC 5321, RFC 2033) without I/O: octets in, events out, octets to write.

    connection.receive_data(octets)
    while not isinstance(event := connection.next_event(), Waiting):
        …                                  # some events stop the session until connection.answer(…)
    write(connection.data_to_send())

The connection answers by itself whatever needs no decision: bad syntax, commands out of sequence, hellos, what
extensions add. Nothing a client sends raises an exception. Calling `answer` when nothing was asked is the owner's
mistake and raises RuntimeError. Replies come in the order of the commands, however they were pipelined (RFC 2920 §3.2).
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from gateway.smtp import grammar
from gateway.smtp.dialect import Dialect
from gateway.smtp.events import (
    ConnectionEnded,
    ContentReceived,
    CredentialsReceived,
    Event,
    MailReceived,
    MessageReceived,
    RecipientReceived,
    SubmissionTokenRequested,
    TransactionAborted,
    Waiting,
)
from gateway.smtp.extension import ExtensionTable
from gateway.smtp.extensions.stoken import STOKEN
from gateway.smtp.extensions.xreplymeta import announceable
from gateway.smtp.limits import Limits
from gateway.smtp.referral import is_referral
from gateway.smtp.refusals import NOT_AVAILABLE, TOO_BIG
from gateway.smtp.reply import Reply
from gateway.smtp.state import TRANSITIONS, Cause, State
from gateway.smtp.transaction import Transaction
from gateway.smtp.verbs import NOT_IMPLEMENTED, VERBS

__all__ = ["Payload", "ServerConnection"]

_UNKNOWN_VERB = Reply.of(500, "5.5.1", "unknown command")
_TOO_LONG = Reply.of(500, "5.5.2", "line too long")
_BARE_IN_COMMAND = Reply.of(500, "5.5.2", "lines end with CR LF, and have no other CR or LF")
_NUL_IN_COMMAND = Reply.of(500, "5.5.2", "NUL in a command")
_TOO_MANY_ERRORS = Reply.of(421, "4.7.0", "too many errors")
_TOO_MUCH_JUNK = Reply.of(421, "4.7.0", "too many commands without mail")

# How far past its limit a line is read to find its end and stay in step, before the session is ended instead.
_LINE_DISCARD_OCTETS = 64 * 1024

# The events that take one reply.
_ASKED = MailReceived | RecipientReceived | CredentialsReceived | SubmissionTokenRequested


class Payload(Protocol):
    """Octets that are not lines: content after DATA, or the payload of a chunk."""

    def read(self, octets: bytes, start: int) -> int:
        """Take what belongs to the payload from `start` on, and say where it ends: at the end unless it is complete."""


class ServerConnection:
    """One session. The public attributes are facts for extensions and the owner; only this module changes them."""

    def __init__(self, dialect: Dialect, *, hostname: str, extensions: ExtensionTable, limits: Limits) -> None:
        self.dialect = dialect
        self.hostname = hostname
        self.extensions = extensions
        self.limits = limits
        self.state = State.START
        self.hello = ""
        self.extended = False
        self.tls = False
        self.authenticated_as = ""
        self.authenticated_by = ""
        self.reply_codes: tuple[str, ...] = ()
        self.transaction = Transaction()
        self._octets = b""
        self._position = 0
        self._payload: Payload | None = None
        self._line_reader: Callable[[bytes], None] | None = None
        self._events: deque[Event] = deque()
        self._question: Event | None = None
        self._output: list[bytes] = []
        self._errors = 0
        self._junk = 0
        self._enhanced = "ENHANCEDSTATUSCODES" in extensions
        self._longest_line = max(limits.command_octets, *extensions.line_octets.values())

    @property
    def proven_login(self) -> str:
        """The login whose password the client has shown; "" for one that came by a token, which proves no login."""
        return "" if self.authenticated_by == STOKEN else self.authenticated_as

    @property
    def in_payload(self) -> bool:
        """Whether the client is in the middle of content or of a container, not of a command."""
        return self._payload is not None

    # What the owner calls.

    def greet(self, *, reply_codes: tuple[str, ...] = ()) -> None:
        """Open the session with the greeting (RFC 5321 §3.1).

        `reply_codes` are those that this client is offered, as many as the line of a hello can name.
        """
        self.reply_codes = announceable(reply_codes) if reply_codes else ()
        service = "ESMTP" if self.dialect.name == "SMTP" else self.dialect.name
        self._write(Reply.of(220, "", f"{self.hostname} {service} Mailsluice"))

    def receive_data(self, octets: bytes) -> None:
        """Take what the client sent."""
        if self.state is State.CLOSED:
            return
        if self._position == len(self._octets):
            self._octets = octets
        else:
            self._octets = self._octets[self._position :] + octets
        self._position = 0

    def next_event(self) -> Event | Waiting:
        """The next event, or what the session waits for."""
        events = self._events
        while not events:
            if self._question is not None:
                return Waiting.FOR_ANSWER
            if self.state is State.CLOSED or not self._advance():
                return Waiting.FOR_OCTETS
        return events.popleft()

    def data_to_send(self) -> bytes:
        """The replies since the last call."""
        output = self._output
        octets = b"".join(output)
        output.clear()
        return octets

    def answer(self, *replies: Reply) -> None:
        """Answer the last event: one reply; for MessageReceived in LMTP one for each accepted recipient, in order."""
        question, self._question = self._question, None
        if isinstance(question, MessageReceived):
            self._answer_message(replies)
            return
        if len(replies) != 1 or not isinstance(question, _ASKED):
            raise RuntimeError("answer() takes one reply to an event that asks for one")
        (reply,) = replies
        if isinstance(question, MailReceived):
            if reply.is_positive:
                self.transaction.mail = question
                self.transaction.extensions.update(question.extensions)
                for accept in self.extensions.accept_mail:
                    accept(self, question)
                self.step(Cause.MAIL_ACCEPTED)
        elif isinstance(question, RecipientReceived):
            if reply.is_positive:
                self.transaction.recipients += 1
                self.transaction.extensions.update(question.extensions)
                self.step(Cause.RCPT_ACCEPTED)
        elif isinstance(question, CredentialsReceived):
            if reply.is_positive:
                self.authenticated_by = question.mechanism
                self.authenticated_as = question.login.decode("utf-8", "backslashreplace")
            self.step(Cause.AUTH_ENDED)
        self._respond_to(question, reply)

    def fail_transaction(self, failure: Reply) -> None:
        """The owner cannot take the rest of this transaction (a full disk): it is read to its end and refused.

        Once MessageReceived has been told, only its answer counts.
        """
        transaction = self.transaction
        if transaction.mail is not None and transaction.failure is None and self.state is not State.DELIVERING:
            transaction.failure = failure
            self.tell(TransactionAborted(failure))

    def tls_established(self) -> None:
        """The handshake is done: everything known of the client is forgotten (RFC 3207 §4.2).

        What was received since TlsRequested must have come under TLS. Octets in clear behind STARTTLS may be an
        attacker's (RFC 3207 §6) and are none of the client's: the owner does not give them.
        """
        self._question = None
        self.tls = True
        self.hello = ""
        self.extended = False
        self.authenticated_as = ""
        self.authenticated_by = ""
        self.step(Cause.TLS_ESTABLISHED)

    def close(self, reply: Reply) -> None:
        """Say a last reply and end the session; what was received of an open transaction is void."""
        if self.state is State.CLOSED:
            return
        if self._question is not None:
            # Perhaps the owner has not read it yet, and must not act on what it can no longer answer.
            self._events.clear()
            self._question = None
        self.reset_transaction()
        self._write(reply)
        self.abandon()
        self.step(Cause.CLOSED)
        self.tell(ConnectionEnded())

    def abandon(self) -> None:
        """The client is gone, or is not heard any more: nothing of what it has sent is kept, or points back here."""
        self._payload = self._line_reader = None
        self._octets, self._position = b"", 0

    # What verbs and extensions call.

    def step(self, cause: Cause) -> None:
        """Move the session's state."""
        self.state = TRANSITIONS[self.state][cause]

    def tell(self, event: Event) -> None:
        """Give the owner an event."""
        self._events.append(event)

    def ask(self, question: Event) -> None:
        """Give the owner an event and stop until it is answered."""
        self._events.append(question)
        self._question = question

    def respond(self, reply: Reply) -> None:
        """Send a reply to a command; one refusal too many ends the session."""
        self._write(reply)
        if reply.code >= 400:
            self._count_error()

    def respond_again(self, reply: Reply) -> None:
        """Refuse what the client may have sent before it heard of the first refusal, which has been counted."""
        self._write(reply)

    def respond_to_junk(self, reply: Reply) -> None:
        """Send a reply to a command that does no work; too many of them end the session."""
        self._junk += 1
        if self._junk > self.limits.junk:
            self.close(_TOO_MUCH_JUNK)
        else:
            self.respond(reply)

    def introduce(self, name: str, *, extended: bool) -> None:
        """A hello is accepted: the client's name, and whether extensions may be used."""
        self.hello = name
        self.extended = extended
        self.step(Cause.HELLO)

    def known_verbs(self) -> str:
        """The verbs that do something here, for HELP."""
        verbs = VERBS[self.dialect.name].keys() | self.extensions.offered_verbs(self)
        return " ".join(sorted(verb.decode() for verb in verbs))

    def read_payload(self, payload: Payload) -> None:
        """What follows is not lines but this payload."""
        self._payload = payload

    def end_payload(self) -> None:
        """The payload has taken its last octet; lines follow."""
        self._payload = None

    def read_line(self, reader: Callable[[bytes], None]) -> None:
        """Give the next line to `reader` instead of taking it for a command (an AUTH exchange)."""
        self._line_reader = reader

    @property
    def has_more_octets(self) -> bool:
        """Whether the client sent anything behind the present command."""
        return self._position < len(self._octets)

    def receive_content(self, octets: bytes) -> None:
        """Count content octets and pass them on, unless the transaction has failed."""
        transaction = self.transaction
        transaction.content_octets += len(octets)
        if transaction.failure is None and transaction.content_octets > self.limits.message_octets:
            self.fail_transaction(TOO_BIG)
        if transaction.failure is None and octets:
            self.tell(ContentReceived(octets))

    def end_content(self) -> None:
        """Content and metadata are complete: ask the owner for the outcome, or refuse what has failed before."""
        transaction = self.transaction
        if transaction.failure is None:
            self.step(Cause.CONTENT_COMPLETE)
            self.ask(MessageReceived(extensions=tuple(sorted(transaction.extensions))))
            return
        # RFC 2033 §4.3, B43: one for each accepted recipient, also when all fail alike; none where there are none.
        count = transaction.recipients if self.dialect.reply_per_recipient else 1
        self._end_refused_transaction((transaction.failure,) * count)

    def end_refused_content(self, reply: Reply) -> None:
        """The last chunk of a transaction that has failed: an SMTP client gets `reply`, as it may know the failure."""
        if self.dialect.reply_per_recipient:
            self.end_content()
        else:
            self._end_refused_transaction((reply,))

    # Lines and payloads.

    def _advance(self) -> bool:
        # One step through the received octets; False when there are too few for one.
        octets = self._octets
        if self._position == len(octets):
            # A client that has nothing to say shall not keep a buffer.
            self._octets, self._position = b"", 0
            return False
        if self._payload is None:
            return self._read_line(octets)
        position = self._payload.read(octets, self._position)
        # The payload may have ended the session, which empties the buffer.
        if self.state is not State.CLOSED:
            self._position = position
        return True

    def _read_line(self, octets: bytes) -> bool:
        start = self._position
        end = octets.find(b"\n", start)
        length = (end + 1 if end >= 0 else len(octets)) - start
        if length > self._longest_line + _LINE_DISCARD_OCTETS:
            self.close(_TOO_LONG)
            return True
        if end < 0:
            return False
        self._position = end + 1
        line = octets[start:end]
        if not line or line.find(b"\r") < len(line) - 1:
            # RFC 5321 §2.3.8, E7: what follows could be another client's commands smuggled in; do not read on.
            self.close(_BARE_IN_COMMAND)
        elif self._line_reader is not None:
            reader, self._line_reader = self._line_reader, None
            reader(line[:-1])
        else:
            self._dispatch(line[:-1])
        return True

    def _dispatch(self, line: bytes) -> None:
        verb, argument = grammar.command(line)
        length = len(line) + 2
        if length > self.limits.command_octets and length > self.extensions.line_octets.get(verb, 0):
            self.respond(_TOO_LONG)
            return
        if b"\0" in line:
            self.respond(_NUL_IN_COMMAND)
            return
        act = VERBS[self.dialect.name].get(verb) or self.extensions.verbs.get(verb)
        if act is None:
            self.respond(NOT_AVAILABLE if verb in NOT_IMPLEMENTED else _UNKNOWN_VERB)
            return
        for refuse in self.extensions.refuse_verb:
            if (refusal := refuse(self, verb)) is not None:
                self.respond(refusal)
                return
        act(self, argument)

    def _respond_to(self, question: Event, reply: Reply) -> None:
        if reply.is_positive:
            self._write(reply)
        elif is_referral(reply):
            # What the client can use, and no error of its; how many one transaction has is bounded.
            self.transaction.referred += 1
            self._write(reply)
        elif 400 <= reply.code < 500 and isinstance(question, MailReceived | RecipientReceived):
            # "Not now" is no fault of the client's, yet one that asks without end is not heard without end.
            self.respond_to_junk(reply)
        else:
            self.respond(reply)

    def _write(self, reply: Reply) -> None:
        self._output.append(reply.encode(enhanced=self._enhanced, structured=self.transaction.reply_codes))

    # The end of a transaction.

    def reset_transaction(self) -> None:
        """Forget the transaction, wherever it stood; the owner hears of it unless it has heard already."""
        transaction, self.transaction = self.transaction, Transaction()
        if transaction.mail is not None and transaction.failure is None:
            self.tell(TransactionAborted())

    def _answer_message(self, replies: tuple[Reply, ...]) -> None:
        expected = self.transaction.recipients if self.dialect.reply_per_recipient else 1
        if len(replies) != expected:
            raise RuntimeError(f"{len(replies)} replies to a message that needs {expected}")
        if any(reply.is_positive for reply in replies):
            self._errors = self._junk = 0
        self._end_transaction(replies)

    def _end_transaction(self, replies: tuple[Reply, ...]) -> None:
        for reply in replies:
            self._write(reply)
        self.transaction = Transaction()
        self.step(Cause.TRANSACTION_ENDED)

    def _end_refused_transaction(self, replies: tuple[Reply, ...]) -> None:
        # One refusal, however many recipients read of it. What a destination refuses is not counted: the client could
        # not know better.
        self._end_transaction(replies)
        self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors > self.limits.errors:
            self.close(_TOO_MANY_ERRORS)
