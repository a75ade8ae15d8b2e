"""What delivery logs: a line for each attempt at a spooled mail, and alarms for what waits for an operator.

An alarm is a line of level error whose event begins with `alarm:`.
"""

from collections.abc import Sequence

import structlog

from gateway.connector import DeliveryFailure, Receipt
from gateway.spool import Entry, Notification

__all__ = [
    "broken",
    "claim_broken",
    "connector_missing",
    "dead_letter",
    "delivered",
    "interrupted_attempts",
    "paused",
    "put_off",
    "quarantined",
    "resumed",
    "spool_failed",
    "still_paused",
    "suspected",
    "trusted",
]

_log = structlog.get_logger("mailsluice.delivery")


def delivered(entry: Entry, receipt: Receipt, *, seconds: float) -> None:
    """A destination has the mail, for the recipients of the entry."""
    _log.info("delivered", **_which(entry), location=receipt.location, seconds=round(seconds, 6))


def put_off(entry: Entry, failure: DeliveryFailure, *, possibly_stored: bool, delay_seconds: float) -> None:
    """An attempt failed; there will be another."""
    _log.warning(
        "put off",
        **_which(entry),
        failure=f"{failure.status} {failure.cause}",
        possibly_stored=possibly_stored,
        delay_seconds=round(delay_seconds, 3),
    )


def dead_letter(entry: Entry, failure: DeliveryFailure, notifications: Sequence[Notification]) -> None:
    """There will be no other attempt unless an operator says so; the notifications tell the originator."""
    _log.error(
        "alarm: dead letter",
        **_which(entry),
        failure=f"{failure.status} {failure.cause}",
        notifications=[each.message.mail.envelope.id for each in notifications],
    )


def quarantined(message: int, connector: str, cause: str) -> None:
    """The spool cannot give back what it was given."""
    _log.error("alarm: spooled mail is damaged and in quarantine", message=message, connector=connector, cause=cause)


def broken(entry: Entry, error: Exception) -> None:
    """A defect of this program ended an attempt."""
    _log.error("alarm: a defect ended an attempt; it is made again", **_which(entry), exc_info=error)


def claim_broken(connector: str, error: Exception) -> None:
    """A defect of this program kept a destination from its mail."""
    _log.error("alarm: a defect keeps mail from a destination; it is tried again", connector=connector, exc_info=error)


def paused(connector: str, cause: str) -> None:
    """A destination wants no more mail."""
    _log.error(
        "alarm: destination closed; its mail waits until `mailsluice spool retry --connector`",
        connector=connector,
        cause=cause,
    )


def still_paused(connector: str) -> None:
    """A destination wanted no more mail before this process began, and no operator has resumed it."""
    paused(connector, "it was so before this start; `mailsluice spool ls` says since when and why")


def resumed(connector: str) -> None:
    """An operator lets a paused destination have mail again."""
    _log.info("resumed", connector=connector)


def suspected(connector: str, failure: DeliveryFailure) -> None:
    """A destination fails again and again; until it takes a mail it gets one at a time."""
    _log.error(
        "alarm: destination fails; its mail waits in the spool",
        connector=connector,
        failure=f"{failure.status} {failure.cause}",
    )


def trusted(connector: str) -> None:
    """A destination that was suspected has taken a mail."""
    _log.info("destination takes mail again", connector=connector)


def connector_missing(connector: str) -> None:
    """There is spooled mail for a connector that the configuration does not have."""
    _log.error("alarm: spooled mail waits for a connector that is not configured", connector=connector)


def interrupted_attempts(count: int) -> None:
    """The process before this one did not come to an end; what it was about to deliver is delivered again."""
    _log.warning("interrupted attempts are made again, each a possible duplicate", count=count)


def spool_failed(connector: str, error: OSError) -> None:
    """The spool could not be asked or told. It is tried again."""
    _log.error("the spool does not work", connector=connector, cause=str(error))


def _which(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.mail.envelope.id,
        "connector": entry.connector,
        "recipients": len(entry.recipients),
        "attempt": entry.attempts,
        "possible_duplicate": entry.possible_duplicate,
    }
