"""What a server session tells its owner, in order. Events marked (answer) stop the session until they are answered."""

from enum import Enum, auto

from msgspec import Struct

from gateway.address import Address
from gateway.smtp.reply import Reply
from gateway.smtp.submission_token import TokenKind

__all__ = [
    "ChunkReceived",
    "ConnectionEnded",
    "ContainerReceived",
    "ContentReceived",
    "CredentialsReceived",
    "Event",
    "MailReceived",
    "MessageReceived",
    "RecipientReceived",
    "SubmissionTokenRequested",
    "TlsRequested",
    "TransactionAborted",
    "Waiting",
]


class Waiting(Enum):
    """Why there is no event now."""

    FOR_OCTETS = auto()
    FOR_ANSWER = auto()


class Event(Struct, frozen=True):
    """Anything a session tells."""


class MailReceived(Event, frozen=True, kw_only=True):
    """(answer) MAIL, in sequence and with parameters that `extensions` (their EHLO keywords) here know.

    `size` is 0 when none was declared.
    """

    address: Address
    parameters: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...] = ()
    size: int
    body: str
    utf8: bool


class RecipientReceived(Event, frozen=True, kw_only=True):
    """(answer) RCPT, in sequence and with parameters that `extensions` (their EHLO keywords) here know.

    Their values may be tokens, so a repr is without them.
    """

    address: Address
    parameters: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"RecipientReceived(address={self.address.raw!r}, parameters={[name for name, _ in self.parameters]!r})"


class ContentReceived(Event, frozen=True):
    """The next octets of the message content, dot-stuffing undone."""

    octets: bytes


class ChunkReceived(Event, frozen=True):
    """A BDAT chunk of `size` octets is complete; its octets came before as ContentReceived."""

    size: int


class ContainerReceived(Event, frozen=True):
    """One whole metadata container (MD00 §3.1): its type and the octets after it."""

    type: int
    data: bytes


class MessageReceived(Event, frozen=True, kw_only=True):
    """(answer, one reply for each accepted recipient in LMTP) Content and metadata are complete.

    `extensions` are the EHLO keywords of the extensions that the transaction used.
    """

    extensions: tuple[str, ...]


class TransactionAborted(Event, frozen=True):
    """The transaction that MailReceived began will not complete; what was received of it is void.

    `failure` is why it is refused, and None where the client gave it up itself.
    """

    failure: Reply | None = None


class CredentialsReceived(Event, frozen=True, kw_only=True):
    """(answer) The client wants to authenticate (RFC 4954).

    With the mechanism STOKEN `password` is a token for mail to `recipient`, and `login` the sender that it names.
    """

    mechanism: str
    login: bytes
    password: bytes
    recipient: str = ""

    def __repr__(self) -> str:
        return f"CredentialsReceived(mechanism={self.mechanism!r}, login={self.login!r})"


class SubmissionTokenRequested(Event, frozen=True, kw_only=True):
    """(answer) A client that has logged in wants a token for mail from `sender` to itself, `recipient`.

    Addresses are those of `submission_token.token_address`.
    """

    kind: TokenKind
    sender: str
    recipient: str


class TlsRequested(Event, frozen=True):
    """The client may begin its TLS handshake once the pending output is written; say when it is done."""


class ConnectionEnded(Event, frozen=True):
    """Write the pending output and close."""
