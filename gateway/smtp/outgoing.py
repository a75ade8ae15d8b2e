"""A mail as a client sends it, the commands that begin its transaction, and what must be true before a peer sees it.

The owner decides what a peer without an extension gets: nothing is dropped here. A parameter, a container or a body
type whose extension the peer has not offered in its present hello is refused with NotOffered.

    LocalProtocolError   what was asked must not be sent, to anybody
    └── NotOffered       this peer has not offered what it takes
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gateway.address import Address
from gateway.smtp import grammar
from gateway.smtp.capabilities import Capabilities
from gateway.smtp.extension import Extension, Parameter, Policy
from gateway.smtp.extensions import extension_table
from gateway.smtp.extensions.stoken import STOKEN_PARAMETERS
from gateway.smtp.extensions.xreplymeta import MAILDATA_PARAMETERS

__all__ = [
    "CHUNK_OCTETS",
    "LocalProtocolError",
    "NotOffered",
    "OutgoingContent",
    "OutgoingMail",
    "OutgoingRecipient",
    "check_mail",
    "check_parameter",
    "declared_size",
    "ends_within_line",
    "mail_command",
    "rcpt_command",
    "shown_rcpt_command",
]

CHUNK_OCTETS = 1024 * 1024

_LARGEST_TYPE = 65535
_TOKENS = frozenset((*MAILDATA_PARAMETERS, *STOKEN_PARAMETERS))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# The server's own declarations of its extensions say which parameter belongs to which, and what its value may be.
_KNOWN = extension_table(Policy(message_octets=0, starttls=True, authentication=True, reply_codes=True))


class LocalProtocolError(ValueError):
    """What was asked must not be sent. The message says why, in one clause."""


class NotOffered(LocalProtocolError):
    """What was asked needs an extension that the server does not offer; `what` begins with its keyword."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the server does not offer {what}")
        self.what = what


class OutgoingContent(Protocol):
    """The message content: octets that are read in blocks, from front to back, while they are sent."""

    @property
    def size(self) -> int:
        """How many octets there are."""

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` octets from `position`; at least one, unless `position` is the end."""


class OutgoingRecipient(Struct, frozen=True):
    """One forward-path and the ESMTP parameters of its RCPT."""

    address: Address
    parameters: tuple[tuple[str, str], ...] = ()


class OutgoingMail(Struct, frozen=True, kw_only=True):
    """One mail transaction. `parameters` are those of MAIL without SIZE and BODY, which the client adds itself.

    `containers` are metadata (MD00 §3.1), type and data, in order. With `chunked` the content goes by BDAT to a server
    that offers CHUNKING, in chunks of `chunk_octets`; otherwise, and to other servers, by DATA. DATA cannot carry
    content that ends within a line: there a last CRLF is added (RFC 5321 §4.1.1.4).

    Raises LocalProtocolError for what no server could take.
    """

    reverse_path: Address
    recipients: tuple[OutgoingRecipient, ...]
    content: OutgoingContent
    parameters: tuple[tuple[str, str], ...] = ()
    containers: tuple[tuple[int, bytes], ...] = ()
    body: Literal["7BIT", "8BITMIME", "BINARYMIME"] = "7BIT"
    chunked: bool = True
    chunk_octets: int = CHUNK_OCTETS

    def __post_init__(self) -> None:
        if not self.recipients:
            raise LocalProtocolError("a mail has at least one recipient")
        if self.chunk_octets < 1:
            raise LocalProtocolError("a chunk has at least one octet")
        if not self.chunked and (self.containers or self.body == "BINARYMIME"):
            raise LocalProtocolError("metadata and binary content go by BDAT, not by DATA")
        if not all(0 <= type_ <= _LARGEST_TYPE for type_, _ in self.containers):
            raise LocalProtocolError(f"the type of a container is a number from 0 to {_LARGEST_TYPE}")

    def goes_by_chunks(self, capabilities: Capabilities) -> bool:
        """Whether the content goes by BDAT to a server that offers `capabilities`."""
        return self.chunked and "CHUNKING" in capabilities


def check_mail(mail: OutgoingMail, capabilities: Capabilities) -> None:
    """Raise NotOffered for a mail whose content or metadata cannot go to this server."""
    # B6: a server that does not know BMTD would take the container for commands. B2: METADATA is nothing by itself.
    needed = ("METADATA", "CHUNKING") if mail.containers else ("CHUNKING",) if mail.body == "BINARYMIME" else ()
    for keyword in needed:
        if keyword not in capabilities:
            raise NotOffered(keyword)


def check_parameter(keyword: str, value: str) -> None:
    """Raise LocalProtocolError for a parameter of MAIL or RCPT whose value its extension does not allow."""
    _owners(keyword, value, _KNOWN.mail_parameters if keyword in _KNOWN.mail_parameters else _KNOWN.rcpt_parameters)


def mail_command(mail: OutgoingMail, capabilities: Capabilities) -> str:
    """The MAIL line. Raises LocalProtocolError, or NotOffered, for parameters that cannot go to this server."""
    utf8 = any(keyword.upper() == "SMTPUTF8" for keyword, _ in mail.parameters)
    addresses = (mail.reverse_path, *(recipient.address for recipient in mail.recipients))
    if not utf8 and not all(address.raw.isascii() for address in addresses):
        raise LocalProtocolError("a non-ASCII address needs SMTPUTF8")
    parameters = list(mail.parameters)
    if mail.body != "7BIT":
        parameters.append(("BODY", mail.body))
    if "SIZE" in capabilities:
        parameters.append(("SIZE", str(declared_size(mail, capabilities))))
    return _command("MAIL FROM:", mail.reverse_path, parameters, _KNOWN.mail_parameters, capabilities)


def rcpt_command(recipient: OutgoingRecipient, capabilities: Capabilities) -> str:
    """The RCPT line. Raises LocalProtocolError, or NotOffered, for parameters that cannot go to this server."""
    return _command("RCPT TO:", recipient.address, recipient.parameters, _KNOWN.rcpt_parameters, capabilities)


def shown_rcpt_command(recipient: OutgoingRecipient) -> str:
    """What stands for the RCPT line where others may read it; "" where the line has no secret."""
    has_token = any(keyword.upper() in _TOKENS for keyword, _ in recipient.parameters)
    return f"RCPT TO:<{recipient.address.raw}> (parameters)" if has_token else ""


def ends_within_line(content: OutgoingContent) -> bool:
    """Whether the last line lacks its CRLF. Content of no lines at all does not."""
    return content.size > 0 and content.read_at(max(0, content.size - 2), 2) != b"\r\n"


def declared_size(mail: OutgoingMail, capabilities: Capabilities) -> int:
    """What SIZE says of the mail to a server that offers `capabilities` (RFC 1870 §5), in octets."""
    # B61: metadata counts, each container with the two octets of its type. RFC 1870 §5: the end of DATA does not.
    metadata = sum(2 + len(data) for _, data in mail.containers)
    by_data = not mail.goes_by_chunks(capabilities)
    return mail.content.size + metadata + (2 if by_data and ends_within_line(mail.content) else 0)


_Declared = Mapping[str, Sequence[tuple[Extension, Parameter]]]


def _command(
    verb: str,
    address: Address,
    parameters: Sequence[tuple[str, str]],
    known: _Declared,
    capabilities: Capabilities,
) -> str:
    words = [f"{verb}<{address.raw}>"]
    for keyword, value in parameters:
        owners = _owners(keyword.upper(), value, known)
        if owners and not any(owner in capabilities for owner in owners):
            raise NotOffered(owners[0])
        words.append(f"{keyword}={value}" if value else keyword)
    line = " ".join(words)
    if _CONTROL.search(line):
        raise LocalProtocolError("an address or a parameter has a control character")
    return line


def _owners(keyword: str, value: str, known: _Declared) -> list[str]:
    """The extensions to which a parameter with this value belongs; none where nobody here knows the parameter."""
    word = f"{keyword}={value}" if value else keyword
    try:
        if grammar.parameters(word.encode()) != ((keyword, value),):
            raise LocalProtocolError(f"the parameter {keyword} is malformed")
    except grammar.CommandSyntaxError as error:
        raise LocalProtocolError(str(error)) from None
    faults = [(extension.keyword, check(value)) for extension, check in known.get(keyword, ())]
    owners = [owner for owner, fault in faults if not fault]
    if faults and not owners:
        raise LocalProtocolError(faults[0][1])
    return owners
