"""Which notifications go out about a spooled mail, and where to: each is new spooled mail, `gateway.notification`'s."""

import time
from collections.abc import Callable, Sequence

import structlog

from gateway import notification
from gateway.address import Address
from gateway.connector import DeliveryFailure
from gateway.delivery.clock import now
from gateway.envelope import Mail
from gateway.envelope.headers import MAXIMUM_OCTETS
from gateway.spool import Entry, NewDelivery, NewMessage, Notification

__all__ = ["Notices"]

_RETURNED_OCTETS = 1024 * 1024

_log = structlog.get_logger("mailsluice.delivery")


class Notices:
    """Writes the notifications of one configuration.

    `via` gives the destination that takes notifications about a recipient, "" where none does.
    """

    def __init__(self, *, hostname: str, via: Callable[[Address], str]) -> None:
        self._hostname = hostname
        self._via = via

    def failed(self, entry: Entry, failures: Sequence[DeliveryFailure]) -> tuple[Notification, ...]:
        """For the originator of a mail that has become a dead letter; nothing where nobody is to be told.

        `failures` has one for each recipient of the entry.
        """
        by_destination: dict[str, list[int]] = {}
        for position, recipient in enumerate(entry.mail.envelope.envelope.recipients):
            by_destination.setdefault(self._via(recipient.address), []).append(position)
        by_destination.pop("", None)
        return tuple(
            Notification(message=_spooled(written, via))
            for via, positions in by_destination.items()
            if (written := self._failed(entry.mail.for_recipients(positions), [failures[each] for each in positions]))
            is not None
        )

    def relayed(self, entry: Entry) -> tuple[Notification, ...]:
        """For an originator who asked (NOTIFY=SUCCESS), once every destination of the recipient has the mail."""
        found = []
        recipients = entry.mail.envelope.envelope.recipients
        # A mail with a thousand recipients has a thousand notifications: together they return no more than a few would.
        most_octets = min(MAXIMUM_OCTETS, _RETURNED_OCTETS // len(recipients))
        for place, recipient in enumerate(recipients):
            if recipient.parameters and (via := self._via(recipient.address)):
                written = self._relayed(entry.mail.for_recipients((place,)), most_octets)
                if written is not None:
                    found.append(Notification(message=_spooled(written, via), recipient=entry.recipients[place]))
        return tuple(found)

    def _failed(self, mail: Mail, failures: Sequence[DeliveryFailure]) -> Mail | None:
        undelivered = [
            notification.Undelivered(recipient=recipient, status=failure.status, text=failure.text)
            for recipient, failure in zip(mail.envelope.envelope.recipients, failures, strict=True)
        ]
        try:
            return notification.failed(mail, undelivered, hostname=self._hostname, now=time.time_ns())
        except OSError as error:
            _unwritten(mail, error)
            return None

    def _relayed(self, mail: Mail, most_octets: int) -> Mail | None:
        recipients = mail.envelope.envelope.recipients
        try:
            return notification.relayed(
                mail, recipients, hostname=self._hostname, now=time.time_ns(), most_octets=most_octets
            )
        except OSError as error:
            _unwritten(mail, error)
            return None


def _unwritten(mail: Mail, error: OSError) -> None:
    # The dead letter itself is kept, and seen in the log.
    _log.error("a notification cannot be written", id=mail.envelope.id, cause=str(error))


def _spooled(mail: Mail, via: str) -> NewMessage:
    return NewMessage(mail=mail, deliveries=(NewDelivery(connector=via, recipients=(0,)),), accepted_at=now())
