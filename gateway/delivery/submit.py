"""Delivering one mail to all its destinations.

250 means durable: a recipient's answer is positive only when all destinations of its route have given a receipt.
"""

import asyncio
from collections.abc import Sequence

from msgspec import structs

from gateway.connector import DeliveryFailure, Receipt
from gateway.delivery.destination import Destination
from gateway.delivery.outcome import Failure, RecipientOutcome
from gateway.delivery.routes import Route
from gateway.envelope import Mail, Recipient

__all__ = ["submit"]

_MAXIMUM_TEXT = 400


async def submit(mail: Mail, routed: Sequence[Route]) -> tuple[RecipientOutcome, ...]:
    """Deliver `mail` and say for each recipient, in order, what all the destinations of its route answered.

    `routed` are the routes of the recipients, in order. Each destination gets the mail once, with those recipients in
    the envelope that go there. All are tried at the same time, and a failure of one does not stop the others. Returns
    when all have ended, also when cancelled: the content is not read after that.
    """
    recipients: dict[Destination, list[Recipient]] = {}
    for recipient, route in zip(mail.envelope.envelope.recipients, routed, strict=True):
        for destination in route.destinations:
            recipients.setdefault(destination, []).append(recipient)
    if len(recipients) == 1:
        # The common case needs no task of its own.
        (destination,) = recipients
        answers = {destination: await _deliver(destination, mail)}
    else:
        async with asyncio.TaskGroup() as tasks:
            running = {
                destination: tasks.create_task(_deliver(destination, _restricted(mail, to)))
                for destination, to in recipients.items()
            }
        answers = {destination: task.result() for destination, task in running.items()}
    return tuple(
        _outcome(recipient, route, answers)
        for recipient, route in zip(mail.envelope.envelope.recipients, routed, strict=True)
    )


async def _deliver(destination: Destination, mail: Mail) -> Receipt | Failure:
    try:
        return await destination.deliver(mail)
    except DeliveryFailure as failure:
        text = _one_line(failure.text)
        return Failure(connector=destination.name, status=failure.status, text=text, cause=failure.cause)


def _one_line(text: str) -> str:
    # A line end in a reply would begin another reply; RFC 5321 §4.5.3.1.5 gives its line 512 octets, the code included.
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text[:_MAXIMUM_TEXT])


def _restricted(mail: Mail, recipients: list[Recipient]) -> Mail:
    envelope = mail.envelope
    if len(recipients) == len(envelope.envelope.recipients):
        return mail
    restricted = structs.replace(envelope.envelope, recipients=tuple(recipients))
    return Mail(structs.replace(envelope, envelope=restricted), mail.content)


def _outcome(recipient: Recipient, route: Route, answers: dict[Destination, Receipt | Failure]) -> RecipientOutcome:
    found = [answers[destination] for destination in route.destinations]
    return RecipientOutcome(
        recipient=recipient,
        receipts=tuple(answer for answer in found if isinstance(answer, Receipt)),
        failures=tuple(answer for answer in found if isinstance(answer, Failure)),
    )
