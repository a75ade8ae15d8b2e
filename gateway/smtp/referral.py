"""REFERRAL: a server names the one that takes a recipient's mail instead of taking it.

    450 4.4.4 [REFERRAL lmtp://backend2.example.org:24/] this recipient's mail is taken elsewhere

    url      = ("smtp" / "lmtp") "://" [userinfo "@"] host [":" port] "/"
    userinfo = *(unreserved / pct-encoded / sub-delims)           ; another address for RCPT; never a password

It is an answer to RCPT only, and only beside a 4yz: whoever does not know it comes again later, as a 450 asks. RFC 2221
is the same for IMAP. Dovecot says it in another way, without a code, to peers that are set up for it:

    550 5.2.900 <user@example.org> user@example.org@192.0.2.5:24 Referral
"""

import ipaddress
import re
from urllib.parse import quote, unquote

from msgspec import Struct, structs

from gateway.address import Address, AddressSyntaxError, parse_path
from gateway.smtp.dialect import DIALECTS, SMTP, Dialect
from gateway.smtp.reply import Reply
from gateway.smtp.response_codes import ResponseCode
from gateway.sockets import TcpBind
from gateway.status import Status

__all__ = [
    "ELSEWHERE",
    "REFERRAL",
    "Referral",
    "ReferralSyntaxError",
    "dovecot_referral_reply",
    "is_referral",
    "parse_referral",
    "read_dovecot_referral",
    "referral_in",
    "referral_reply",
    "with_referral_checked",
]

REFERRAL = "REFERRAL"
"""The name of the response code."""

ELSEWHERE = Status(4, 4, 4)
"""The status code beside a referral, X.4.4: unable to route."""

_DOVECOT = Status(5, 2, 900)
_PORTS = {"SMTP": 25, "LMTP": 24}
# A code that fits into no line would be left out, and the client would come again for ever.
_LONGEST = 400

# RFC 1035 §2.3.4; underscores are in no host name of RFC 1123, but in those of some networks.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"(?=[^:/ ]{{1,253}}(?:[:/ ]|\Z)){_LABEL}(?:\.{_LABEL})*"
_HOST = rf"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>{_NAME}))(?::(?P<port>[0-9]{{1,5}}))?"
_SUB_DELIMS = "!$&'()*+,;="
_USERINFO = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+"
_URL = re.compile(rf"(?P<protocol>smtp|lmtp)://(?:(?P<userinfo>{_USERINFO})@)?{_HOST}/", re.IGNORECASE)
_DOVECOT_TEXT = re.compile(rf"(?:(?P<user>[!-~](?:[ -~]*[!-~])?)@)?{_HOST} Referral", re.IGNORECASE)
_LIKE_AN_ADDRESS = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


class ReferralSyntaxError(ValueError):
    """The text is no URL of a referral. The message is one clause that says what would be."""


class Referral(Struct, frozen=True, kw_only=True):
    """Where a recipient's mail goes: a server, what it speaks, and another recipient, "" for the same one.

    `host` is a name in lower case, or an address without brackets.
    """

    dialect: Dialect
    host: str
    port: int
    recipient: str = ""

    @property
    def server(self) -> TcpBind:
        """The server's address."""
        return TcpBind(self.host, self.port)

    def __str__(self) -> str:
        user = f"{quote(self.recipient, safe=_SUB_DELIMS)}@" if self.recipient else ""
        return f"{self.dialect.name.lower()}://{user}{self.server}/"


def parse_referral(text: str) -> Referral:
    """Read a URL. Raises ReferralSyntaxError."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ReferralSyntaxError(
            "write smtp://host:port/ or lmtp://host:port/, with the / and nothing behind it; another recipient goes "
            "before the host with %40 for its @, and a password nowhere"
        )
    dialect = DIALECTS[match["protocol"].lower()]
    return _referral(match, dialect, recipient=unquote(match["userinfo"] or "", errors="surrogateescape"))


def is_referral(reply: Reply) -> bool:
    """Whether the reply to a RCPT refers its client, in either form."""
    return bool(reply.codes) and any(code.name == REFERRAL for code in reply.codes)


def referral_in(reply: Reply) -> Referral | None:
    """Where a reply refers to that `with_referral_checked` has seen; None where it does not refer."""
    return next((parse_referral(*code.parameters) for code in reply.codes if code.name == REFERRAL), None)


def with_referral_checked(reply: Reply, *, answers_rcpt: bool) -> Reply:
    """A reply as it came from a server, with a referral only where one counts: well-formed, beside a 4yz to RCPT."""
    if not is_referral(reply):
        return reply
    codes = [code for code in reply.codes if code.name == REFERRAL]
    if answers_rcpt and 400 <= reply.code < 500 and len(codes) == 1 and _is_well_formed(codes[0]):
        return reply
    return structs.replace(reply, codes=tuple(code for code in reply.codes if code.name != REFERRAL))


def referral_reply(referral: Referral) -> Reply:
    """What a client reads that has asked for referrals."""
    code = ResponseCode(REFERRAL, (str(referral),))
    return Reply(450, ELSEWHERE, ("this recipient's mail is taken elsewhere",), codes=(code,))


def dovecot_referral_reply(referral: Referral, recipient: Address) -> Reply | None:
    """What a peer reads that is set up for Dovecot's form; None where the recipient cannot be written in it."""
    # The address of a mail may be longer than a line of a reply, or have UTF-8 in it; what is cut short goes astray.
    user = referral.recipient or recipient.raw
    text = f"<{recipient.raw}> {user}@{referral.server} Referral"
    if len(text) > _LONGEST or not text.isascii():
        return None
    return Reply(550, _DOVECOT, (text,), codes=(ResponseCode(REFERRAL, (str(referral),)),))


def read_dovecot_referral(reply: Reply, *, recipient: str, dialect: Dialect) -> Reply:
    """The reply to the RCPT of `recipient` with the referral that it is in Dovecot's form, as a code.

    The target speaks the same `dialect`. A user without a domain is one of the recipient's domain. Any other reply
    stays as it is.
    """
    if reply.code != 550 or reply.status != _DOVECOT or len(reply.lines) != 1:
        return reply
    # The path is the one that was sent, so that what is written in an address is never read as a target.
    match = _DOVECOT_TEXT.fullmatch(reply.lines[0].removeprefix(f"<{recipient}> "))
    if match is None:
        return reply
    user = match["user"] or ""
    if user and "@" not in user:
        user += f"@{recipient.rpartition('@')[2]}"
    try:
        found = _referral(match, dialect, recipient="" if user == recipient else user)
    except ReferralSyntaxError:
        return reply
    return structs.replace(reply, codes=(ResponseCode(REFERRAL, (str(found),)),))


def _referral(match: re.Match[str], dialect: Dialect, *, recipient: str) -> Referral:
    port = int(match["port"] or _PORTS[dialect.name])
    if not 0 < port <= 65535:
        raise ReferralSyntaxError("a port is a number from 1 to 65535")
    if dialect != SMTP and port == _PORTS[SMTP.name]:
        raise ReferralSyntaxError("LMTP must not use port 25 (RFC 2033 §5)")
    try:
        if recipient and not parse_path(recipient.encode("utf-8", "surrogateescape"), utf8=False).domain:
            raise ReferralSyntaxError("the recipient needs a domain, with %40 for its @")
    except AddressSyntaxError:
        raise ReferralSyntaxError("the recipient is no address; write it with %40 for its @, in ASCII") from None
    referral = Referral(dialect=dialect, host=_host(match), port=port, recipient=recipient)
    if len(str(referral)) > _LONGEST:
        raise ReferralSyntaxError(f"a referral has at most {_LONGEST} characters")
    return referral


def _host(match: re.Match[str]) -> str:
    try:
        if match["literal"]:
            address = ipaddress.IPv6Address(match["literal"])
            return str(address.ipv4_mapped or address)
        name = match["name"].lower()
        # Resolvers read addresses in many forms, `127.1` and `2130706433` among them: only the usual one is one here.
        return str(ipaddress.IPv4Address(name)) if _LIKE_AN_ADDRESS.fullmatch(name) else name
    except ipaddress.AddressValueError:
        raise ReferralSyntaxError("the host is no name and no address; IPv6 addresses stand in brackets") from None


def _is_well_formed(code: ResponseCode) -> bool:
    try:
        parse_referral(" ".join(code.parameters))
    except ReferralSyntaxError:
        return False
    return True
