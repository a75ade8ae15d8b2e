"""What a client session tells its owner, in order: every reply, and how each thing that the owner asked for ended."""

from msgspec import Struct

from gateway.address import Address
from gateway.smtp.reply import Reply

__all__ = [
    "ClientEvent",
    "Concluded",
    "Conclusion",
    "MailConcluded",
    "RecipientOutcome",
    "ReplyReceived",
    "SentCommand",
]


class SentCommand(Struct, frozen=True):
    """A command that awaits its reply; secrets are not part of `text`, and the greeting has an empty one.

    `recipient` is whom a reply after the content concerns (LMTP). `expected` is the first digit of a good reply.
    """

    text: str
    recipient: str = ""
    expected: int = 2

    def __str__(self) -> str:
        return f"{self.text or 'connect'} for <{self.recipient}>" if self.recipient else self.text or "connect"


class ReplyReceived(Struct, frozen=True):
    """One reply, and the command that it answers."""

    command: SentCommand
    reply: Reply


class Concluded(Struct, frozen=True):
    """What was asked is done, or not: `reply` decided it.

    Where the connection was lost it is a 451 that no server sent, which says why.
    """

    reply: Reply


class RecipientOutcome(Struct, frozen=True):
    """The reply that decided about one recipient: 2yz, the server has the mail for it; 4yz, try again; 5yz, never.

    It answered MAIL, RCPT, DATA, a chunk or the content. Where the connection was lost before the decision it is a 451
    that no server sent.
    """

    recipient: Address
    reply: Reply


class MailConcluded(Struct, frozen=True):
    """A mail transaction is over; one outcome for each of its recipients, in their order."""

    outcomes: tuple[RecipientOutcome, ...]


Conclusion = Concluded | MailConcluded
ClientEvent = ReplyReceived | Conclusion
