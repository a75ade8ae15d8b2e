"""The shares of a spooled delivery whose destination took the mail for some recipients only.

Places count the recipients of the delivery, as those of the mail that was emitted; the delivery knows their positions
in the message.
"""

from collections.abc import Sequence

from msgspec import structs

from gateway.connector import DeliveryFailure, PermanentFailure, Refused, TransientFailure
from gateway.delivery.outcome import in_brief
from gateway.spool import Entry

__all__ = ["share", "taken", "together"]


def share(entry: Entry, places: Sequence[int]) -> Entry:
    """The delivery with the recipients at these places only."""
    positions = tuple(entry.recipients[place] for place in places)
    return structs.replace(entry, mail=entry.mail.for_recipients(places), recipients=positions)


def taken(entry: Entry, refused: Sequence[Refused]) -> Entry:
    """The delivery with those recipients only who were not refused."""
    places = {each.position for each in refused}
    return share(entry, [place for place in range(len(entry.recipients)) if place not in places])


def together(failures: Sequence[DeliveryFailure]) -> DeliveryFailure:
    """One failure for several, of which there is at least one: what an operator reads about a delivery.

    It is permanent where all are, and has the status of the first that is like it.
    """
    transient = [each for each in failures if isinstance(each, TransientFailure)]
    first = (transient or failures)[0]
    cause = in_brief(failures) if len({(each.status, each.cause) for each in failures}) > 1 else first.cause
    if not transient:
        return PermanentFailure(first.status, first.text, cause=cause)
    return TransientFailure(
        first.status,
        first.text,
        cause=cause,
        possibly_stored=any(each.possibly_stored for each in transient),
        retry_after_seconds=max(each.retry_after_seconds for each in transient),
    )
