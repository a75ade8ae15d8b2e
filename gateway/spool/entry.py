"""What goes into the spool, what comes out of it, and what is said about it afterwards: values.

A delivery is one message for one connector, with the recipients that go there. It waits, is attempted, and then is
either gone (delivered), waits again, or is kept as a dead letter:

    waiting ⇄ attempted → (delivered: no row)
       ↑          ├─────→ dead          an operator decides
    behind        └─────→ quarantined   the spool cannot give it back as it was

`behind` are those that wait for another of the same ordering key. An attempt is recorded before it is made: one that is
still recorded when the process starts may have been a delivery, and the next may make a duplicate.
"""

from enum import StrEnum

from msgspec import Struct

from gateway.envelope import Mail
from gateway.spool.content_files import INLINE_OCTETS

__all__ = [
    "Claim",
    "Damage",
    "DeadLetter",
    "Entry",
    "NewDelivery",
    "NewMessage",
    "Notification",
    "Settlement",
    "State",
    "octets_in_memory",
]

# With the parameters that a client may send.
_RECIPIENT_OCTETS = 1024


class State(StrEnum):
    """Where a delivery stands. DELIVERED is only ever said: there is no such row."""

    WAITING = "waiting"
    BEHIND = "behind"
    ATTEMPTED = "attempted"
    DEAD = "dead"
    QUARANTINED = "quarantined"
    DELIVERED = "delivered"


class NewDelivery(Struct, frozen=True, kw_only=True):
    """That a message goes to `connector`.

    `recipients` are the positions of those recipients of the envelope that go there, in order. With `attempted` the
    first attempt begins as soon as the message is stored, unless another of the same ordering key is before it.
    """

    connector: str
    recipients: tuple[int, ...]
    ordering_key: bytes | None = None
    attempted: bool = False


class NewMessage(Struct, frozen=True, kw_only=True):
    """A mail to be spooled, with at least one delivery. `accepted_at` is Unix time in seconds."""

    mail: Mail
    deliveries: tuple[NewDelivery, ...]
    accepted_at: float


class Entry(Struct, frozen=True, kw_only=True):
    """A delivery whose next attempt is recorded and shall now be made.

    `mail` has the recipients of this delivery only, which stand at `recipients` in the envelope of the message. Where
    `mail.content` is a file, it is for the caller to close. `attempts` counts this one.
    `possible_duplicate` says that an earlier one may have delivered the mail, and `is_ordered` that others may wait
    behind it: it has an ordering key. `part` is 0 but for what was once a dead letter of some of the recipients.
    """

    message: int
    connector: str
    mail: Mail
    recipients: tuple[int, ...]
    attempts: int
    part: int = 0
    possible_duplicate: bool = False
    is_ordered: bool = False


class Damage(Struct, frozen=True, kw_only=True):
    """A delivery that the spool cannot give back as it was, and why. It is in quarantine."""

    message: int
    connector: str
    cause: str


class Claim(Struct, frozen=True, kw_only=True):
    """Deliveries of one connector that were due. `next_due` is when the next one will be, Unix time; None for none."""

    entries: tuple[Entry, ...] = ()
    damaged: tuple[Damage, ...] = ()
    next_due: float | None = None


class Notification(Struct, frozen=True, kw_only=True):
    """A message of ours that is spooled with a settlement, in one commit.

    With a `recipient`, the position of one of the message's recipients, only where no other delivery to that one is
    left, be it waiting or dead.
    """

    message: NewMessage
    recipient: int | None = None


class DeadLetter(Struct, frozen=True, kw_only=True):
    """Some recipients of a delivery who become a dead letter of their own, while others wait for another attempt."""

    recipients: tuple[int, ...]
    possible_duplicate: bool
    status: str
    cause: str


class Settlement(Struct, frozen=True, kw_only=True):
    """What became of an attempt: the one that `attempts` counts, or with 0 whichever is under way.

    It is about the recipients at the positions `recipients` of the message, where there are any, else about all of the
    delivery's. The others have the mail, those of the `dead_letter` aside. `due` is when a delivery that waits is tried
    again, Unix time. It may be said again, whether or not it was heard.
    """

    message: int
    connector: str
    state: State
    part: int = 0
    recipients: tuple[int, ...] = ()
    dead_letter: DeadLetter | None = None
    due: float = 0.0
    attempts: int = 0
    possible_duplicate: bool = False
    status: str = ""
    cause: str = ""
    notifications: tuple[Notification, ...] = ()


def octets_in_memory(mail: Mail, recipients: int) -> int:
    """About how much a mail for so many recipients takes in memory while it is delivered."""
    metadata = sum(len(container.data) for container in mail.envelope.metadata.containers)
    # An open file is no less than the largest content that needs none.
    return min(mail.content.size, INLINE_OCTETS) + metadata + _RECIPIENT_OCTETS * recipients
