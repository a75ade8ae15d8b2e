"""Authentication (RFC 4954) by PLAIN (RFC 4616) and LOGIN, and by token (STOKEN) where that is offered.

Who may pass is the owner's decision.
"""

import binascii
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from gateway.address import parse_path
from gateway.smtp.events import CredentialsReceived, MailReceived
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.extensions.stoken import STOKEN, is_offered
from gateway.smtp.grammar import is_xtext
from gateway.smtp.reply import Reply
from gateway.smtp.state import Cause, State
from gateway.smtp.submission_token import read_token, token_address

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Auth"]

_SEQUENCE = Reply.of(503, "5.5.1", "AUTH comes once, after a hello and outside a transaction")
_MECHANISM_MISSING = Reply.of(501, "5.5.4", "a mechanism is missing")
_MECHANISM_UNKNOWN = Reply.of(504, "5.5.4", "mechanism not implemented")
_NEEDS_TLS = Reply.of(530, "5.7.0", "AUTH needs TLS here")
_CANCELLED = Reply.of(501, "5.7.0", "authentication cancelled")
_NOT_BASE64 = Reply.of(501, "5.5.2", "not base64")
_TOO_LONG = Reply.of(500, "5.5.6", "the response is too long")
_MALFORMED = Reply.of(501, "5.5.2", "the response does not follow the mechanism")
_OTHER_IDENTITY = Reply.of(535, "5.7.8", "acting for another identity is not supported")
_BAD_TOKEN = Reply.of(535, "5.7.8", "authentication failed")
_REQUIRED = Reply.of(530, "5.7.0", "authentication required")

# RFC 4954 §4: the longest line of an exchange, CRLF included.
_LINE_OCTETS = 12288

_GIVE_RESPONSE = Reply.of(334, "", "")
_GIVE_LOGIN = Reply.of(334, "", "VXNlcm5hbWU6")
_GIVE_PASSWORD = Reply.of(334, "", "UGFzc3dvcmQ6")


class Auth(Extension):
    """AUTH; `without_tls` offers it on a session in clear too, `required` refuses MAIL without it."""

    name = "Authentication"
    keyword = "AUTH"
    verb_octets: ClassVar[Mapping[bytes, int]] = {b"AUTH": _LINE_OCTETS}
    mail_octets = 500

    def __init__(self, *, required: bool = False, without_tls: bool = False) -> None:
        self._required = required
        self._without_tls = without_tls
        self.verbs = {b"AUTH": self._auth}
        self.mail_parameters = {"AUTH": _check_identity}

    @classmethod
    def for_policy(cls, policy: Policy) -> Self | None:
        if not policy.authentication:
            return None
        return cls(required=policy.require_authentication, without_tls=policy.authentication_without_tls)

    def keyword_parameters(self, connection: "ServerConnection") -> tuple[str, ...]:  # noqa: ARG002  # a hook
        return ("PLAIN", "LOGIN")

    def is_offered(self, connection: "ServerConnection") -> bool:
        return connection.tls or self._without_tls

    def refuse_mail(self, connection: "ServerConnection", mail: MailReceived) -> Reply | None:  # noqa: ARG002  # a hook
        return _REQUIRED if self._required and not connection.authenticated_as else None

    def _auth(self, connection: "ServerConnection", argument: bytes) -> None:
        if connection.state is not State.READY or connection.authenticated_as or not connection.extended:
            return connection.respond(_SEQUENCE)
        if not self.is_offered(connection):
            return connection.respond(_NEEDS_TLS)
        mechanism, _, initial = argument.partition(b" ")
        match mechanism.upper():
            case b"":
                return connection.respond(_MECHANISM_MISSING)
            case b"PLAIN":
                exchange: _Plain | _Login | _Stoken = _Plain(connection)
            case b"LOGIN":
                exchange = _Login(connection)
            case b"STOKEN" if is_offered(connection):
                exchange = _Stoken(connection)
            case _:
                return connection.respond(_MECHANISM_UNKNOWN)
        connection.step(Cause.AUTH_STARTED)
        if initial:
            return exchange.read(b"" if initial == b"=" else initial)
        connection.respond(exchange.challenge)
        return connection.read_line(exchange.read)


class _Exchange(ABC):
    """A mechanism's conversation: lines of base64, `*` to cancel."""

    challenge: Reply

    def __init__(self, connection: "ServerConnection") -> None:
        self._connection = connection

    def read(self, line: bytes) -> None:
        if len(line) + 2 > _LINE_OCTETS:
            return self._end(_TOO_LONG)
        if line == b"*":
            return self._end(_CANCELLED)
        try:
            response = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            return self._end(_NOT_BASE64)
        return self.receive(response)

    @abstractmethod
    def receive(self, response: bytes) -> None:
        """Take the decoded response."""

    def _end(self, reply: Reply) -> None:
        self._connection.step(Cause.AUTH_ENDED)
        self._connection.respond(reply)


class _Plain(_Exchange):
    challenge = _GIVE_RESPONSE

    def receive(self, response: bytes) -> None:
        # RFC 4616 §2: [authzid] NUL authcid NUL passwd
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            return self._end(_MALFORMED)
        identity, login, password = parts
        if identity not in (b"", login):
            return self._end(_OTHER_IDENTITY)
        return self._connection.ask(CredentialsReceived(mechanism="PLAIN", login=login, password=password))


class _Login(_Exchange):
    challenge = _GIVE_LOGIN
    _login: bytes | None = None

    def receive(self, response: bytes) -> None:
        if self._login is None:
            self._login = response
            self._connection.respond(_GIVE_PASSWORD)
            return self._connection.read_line(self.read)
        if not self._login or not response:
            return self._end(_MALFORMED)
        return self._connection.ask(CredentialsReceived(mechanism="LOGIN", login=self._login, password=response))


class _Stoken(_Exchange):
    challenge = _GIVE_RESPONSE

    def receive(self, response: bytes) -> None:
        # The draft's example has a backslash and a zero where its text has NUL, and addresses seldom have either.
        separator = b"\0" if b"\0" in response else b"\\0"
        recipient, found, shown = response.rpartition(separator)
        try:
            address = parse_path(recipient, utf8=False)
            # Without a separator there is no recipient.
            token = read_token(shown.decode("ascii") if found else "")
        except ValueError:
            return self._end(_BAD_TOKEN)
        return self._connection.ask(
            CredentialsReceived(
                mechanism=STOKEN, login=token.sender.encode(), password=shown, recipient=token_address(address)
            )
        )


def _check_identity(value: str) -> str:
    # RFC 4954 §5: read even from a client that has not authenticated; never believed here.
    return "" if value and (value == "<>" or is_xtext(value)) else "AUTH is an address in xtext, or <>"
