"""STOKEN: submission by token (draft-slusarz-extra-smtp-submission-token-00), in LMTP and under TLS only.

A local user, logged in, gets a token for a correspondent with GENSTOKEN. The correspondent's server comes with AUTH
STOKEN and shows for each recipient the token that this recipient gave. Whether tokens are good is the owner's to say.
Codes carry what the draft puts into numbers of its own, which are registered nowhere: `[STOKEN token]` for 2.1.11 and
2.1.13, `[DELIVERY-ID id]` for 2.1.12 and 2.1.13. REVSTOKEN is not offered.
"""

import re
from typing import TYPE_CHECKING, ClassVar, Self

from gateway.address import Address, AddressSyntaxError, parse_path
from gateway.smtp.events import MailReceived, RecipientReceived, SubmissionTokenRequested
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.refusals import NOT_AVAILABLE
from gateway.smtp.reply import Reply
from gateway.smtp.state import State
from gateway.smtp.submission_token import LONGEST_TOKEN, TokenKind, token_address

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["DELIVERY_ID", "STOKEN", "STOKEN_PARAMETERS", "Stoken", "is_offered"]

STOKEN = "STOKEN"
"""The keyword, the mechanism of AUTH, the parameter of RCPT, and the name of the code that has a token."""

DELIVERY_ID = "DELIVERY-ID"
"""The name of the code that says under which id a mail was delivered."""

_OWN_TOKEN = "MYSTOKEN"  # noqa: S105  # the name of a parameter

STOKEN_PARAMETERS = (STOKEN, _OWN_TOKEN)
"""The parameters of RCPT that have a token."""

_NOT_NOW = Reply.of(503, "5.5.1", "GENSTOKEN comes after a hello and outside a transaction")
_LOG_IN = Reply.of(530, "5.7.0", "log in as the recipient first")
_SYNTAX = Reply.of(501, "5.5.4", "use GENSTOKEN TEMP or PERM, the sender's address, and your own or none")
_BAD_SENDER = Reply.of(501, "5.1.3", "the sender's address does not follow RFC 5321")
_BAD_RECIPIENT = Reply.of(501, "5.1.7", "the recipient has to be the address that you are logged in as")
_IRREVOCABLE = Reply.of(502, "5.5.1", "tokens are not revoked one by one here")
_OTHER_SENDER = Reply.of(550, "5.7.1", "your token is for another sender")
_NO_TOKEN = Reply.of(550, "5.7.1", "no token for this recipient")
_NOT_BY_TOKEN = Reply.of(503, "5.5.1", "a token of RCPT is for clients that came by AUTH STOKEN")

_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_TOKEN}}}")
# The draft leaves the form of tokens to their makers, and this one is another's.
_FOREIGN_TOKEN = re.compile(rf"[!-<>-~]{{1,{LONGEST_TOKEN}}}")


class Stoken(Extension):
    """STOKEN. Which clients are offered it is the owner's decision (`ServerConnection.greet`)."""

    name = "Submission Token"
    keyword = STOKEN
    requires: ClassVar[tuple[str, ...]] = ("AUTH", "ENHANCEDSTATUSCODES", "XREPLYMETA")
    rcpt_octets = len(f" {STOKEN}= {_OWN_TOKEN}=") + 2 * LONGEST_TOKEN

    def __init__(self) -> None:
        self.verbs = {b"GENSTOKEN": self._generate, b"REVSTOKEN": self._revoke}
        self.rcpt_parameters = {STOKEN: _check_token, _OWN_TOKEN: _check_foreign_token}

    @classmethod
    def for_policy(cls, policy: Policy) -> Self | None:
        return cls() if policy.submission_tokens else None

    def is_offered(self, connection: "ServerConnection") -> bool:
        return is_offered(connection)

    def refuse_mail(self, connection: "ServerConnection", mail: MailReceived) -> Reply | None:
        if connection.authenticated_by != STOKEN or token_address(mail.address) == connection.authenticated_as:
            return None
        return _OTHER_SENDER

    def refuse_rcpt(self, connection: "ServerConnection", recipient: RecipientReceived) -> Reply | None:
        given = [keyword for keyword, _ in recipient.parameters if keyword in self.rcpt_parameters]
        if connection.authenticated_by != STOKEN:
            return _NOT_BY_TOKEN if given else None
        return None if STOKEN in given else _NO_TOKEN

    def _generate(self, connection: "ServerConnection", argument: bytes) -> None:
        if not self.is_offered(connection):
            return connection.respond(NOT_AVAILABLE)
        if connection.state is not State.READY:
            return connection.respond(_NOT_NOW)
        # Whom a token has let in shall not make more of them.
        if not connection.authenticated_as or connection.authenticated_by == STOKEN:
            return connection.respond(_LOG_IN)
        kind, *addresses = argument.split() or [b""]
        if kind.upper() not in (b"TEMP", b"PERM") or not 1 <= len(addresses) <= 2:
            return connection.respond(_SYNTAX)
        own = connection.authenticated_as.encode()
        if (sender := _address(addresses[0])) is None:
            return connection.respond(_BAD_SENDER)
        recipient, login = _address(addresses[1] if addresses[1:] else own), _address(own)
        if recipient is None or login is None or token_address(recipient) != token_address(login):
            return connection.respond(_BAD_RECIPIENT)
        return connection.ask(
            SubmissionTokenRequested(
                kind=TokenKind[kind.decode().upper()],
                sender=token_address(sender),
                recipient=token_address(recipient),
            )
        )

    def _revoke(self, connection: "ServerConnection", argument: bytes) -> None:  # noqa: ARG002  # a verb
        connection.respond(_IRREVOCABLE)


def is_offered(connection: "ServerConnection") -> bool:
    """Whether tokens count in this session: LMTP, under TLS, and with a client that may use them (T1)."""
    is_theirs = connection.dialect.reply_per_recipient and connection.tls and STOKEN in connection.reply_codes
    return is_theirs and STOKEN in connection.extensions


def _address(octets: bytes) -> Address | None:
    try:
        address = parse_path(octets, utf8=False)
    except AddressSyntaxError:
        return None
    return address if address.domain else None


def _check_token(value: str) -> str:
    return "" if _TOKEN.fullmatch(value) else f"a token is 1 to {LONGEST_TOKEN} characters of base64url"


def _check_foreign_token(value: str) -> str:
    return "" if _FOREIGN_TOKEN.fullmatch(value) else f"a token is 1 to {LONGEST_TOKEN} printable characters"
