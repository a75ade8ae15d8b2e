"""XREPLYMETA: replies that programs read too, by response codes (`gateway.smtp.response_codes`).

RFC 2034 §5 asks of an extension that changes replies for an announcement by the server and consent by the client.
Here the keyword is the announcement, with the names of the codes for this client, and a parameter of MAIL the consent,
for one transaction: `XREPLYMETA` for all of them, `XREPLYMETA=ID,KAFKA` for some. Without it no reply has a code.

A client that has enabled MAILDATA may show a token about stored content with RCPT, as `MAILDATA=` or `XMAILDATA=`.
"""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Self

from gateway.smtp.events import MailReceived, RecipientReceived
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.reply import Reply
from gateway.smtp.response_codes import is_code_name

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["MAILDATA", "MAILDATA_PARAMETERS", "XReplyMeta", "announceable", "enabled_codes"]

MAILDATA = "MAILDATA"
"""The name of the code that has a token about stored content."""

# RFC 5321 §2.2.2: a private parameter's name begins with X; the other is what it was first called.
MAILDATA_PARAMETERS = (MAILDATA, f"X{MAILDATA}")

# RFC 5321 §4.5.3.1.5: what a line of a reply has for the names. What is behind its end would be cut off.
_NAMES_OCTETS = 512 - len("250-XREPLYMETA\r\n")

_TOKEN = re.compile("[A-Za-z0-9_-]{1,384}")


class XReplyMeta(Extension):
    """XREPLYMETA. Which codes a client is offered is the owner's decision (`ServerConnection.greet`)."""

    name = "Structured Reply Metadata"
    keyword = "XREPLYMETA"
    mail_octets = 100
    rcpt_octets = 420

    def __init__(self) -> None:
        self.mail_parameters = {self.keyword: _check_names}
        self.rcpt_parameters = dict.fromkeys(MAILDATA_PARAMETERS, _check_token)

    @classmethod
    def for_policy(cls, policy: Policy) -> Self | None:
        return cls() if policy.reply_codes else None

    def keyword_parameters(self, connection: "ServerConnection") -> tuple[str, ...]:
        return connection.reply_codes

    def is_offered(self, connection: "ServerConnection") -> bool:
        return bool(connection.reply_codes)

    def accept_mail(self, connection: "ServerConnection", mail: MailReceived) -> None:
        connection.transaction.reply_codes = enabled_codes(mail.parameters, connection.reply_codes)

    def refuse_rcpt(self, connection: "ServerConnection", recipient: RecipientReceived) -> Reply | None:
        given = [keyword for keyword, _ in recipient.parameters if keyword in MAILDATA_PARAMETERS]
        if given and MAILDATA not in connection.transaction.reply_codes:
            return Reply.of(555, "5.5.4", f"{given[0]} is for a MAIL with {self.keyword}={MAILDATA}")
        if len(given) > 1:
            return Reply.of(501, "5.5.4", f"{MAILDATA} is given twice")
        return None


def announceable(names: Sequence[str]) -> tuple[str, ...]:
    """The names for which the line of a hello has room, in order; what was not announced is not sent either (X1)."""
    room = _NAMES_OCTETS
    found: list[str] = []
    for name in names:
        if len(name) < room:
            room -= 1 + len(name)
            found.append(name)
    return tuple(found)


def enabled_codes(parameters: Sequence[tuple[str, str]], offered: Collection[str]) -> frozenset[str]:
    """The names of the codes that the parameters of a MAIL enable, of those that the server has offered."""
    value = next((value for keyword, value in parameters if keyword.upper() == XReplyMeta.keyword), None)
    if value is None:
        return frozenset()
    # Names that nobody here knows are no error: a client may ask for whatever it can read (X4).
    return frozenset(offered) & frozenset(value.upper().split(",")) if value else frozenset(offered)


def _check_token(value: str) -> str:
    return "" if _TOKEN.fullmatch(value) else "a token is 1 to 384 characters of base64url"


def _check_names(value: str) -> str:
    if not value or all(map(is_code_name, value.split(","))):
        return ""
    return f"{XReplyMeta.keyword} takes names of response codes, with commas between them"
