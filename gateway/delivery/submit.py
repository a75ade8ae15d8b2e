"""Delivering one mail to all its destinations, or into the spool for those that get it later.

250 means durable: a recipient's answer is positive only when all destinations of its route have given a receipt, or the
spool has.
"""

import asyncio
import errno
from collections.abc import Sequence

from msgspec import structs

from gateway.connector import DeliveryFailure, Receipt
from gateway.delivery.destination import Destination
from gateway.delivery.engine import Engine
from gateway.delivery.outcome import Failure, RecipientOutcome
from gateway.delivery.routes import Route
from gateway.envelope import Mail
from gateway.status import LOCAL_ERROR, STORAGE_FULL

__all__ = ["submit"]

_MAXIMUM_TEXT = 400
_FULL = (errno.ENOSPC, errno.EDQUOT)


async def submit(mail: Mail, routed: Sequence[Route]) -> tuple[RecipientOutcome, ...]:
    """Deliver `mail` and say for each recipient, in order, what all the destinations of its route answered.

    `routed` are the routes of the recipients, in order. Each destination gets the mail once, with those recipients in
    the envelope that go there, and so does the spool. A recipient whom a destination refused has that failure from it
    where the others have its receipt. All are tried at the same time, and a failure of one does not stop the others.
    Returns when all have ended, also when cancelled: the content is not read after that.
    """
    positions: dict[Destination | Engine, list[int]] = {}
    for position, (_, route) in enumerate(zip(mail.envelope.envelope.recipients, routed, strict=True)):
        for taker in _takers(route):
            positions.setdefault(taker, []).append(position)
    if len(positions) == 1:
        # The common case needs no task of its own.
        (taker,) = positions
        answers = {taker: await _hand_to(taker, mail, positions[taker], routed)}
    else:
        async with asyncio.TaskGroup() as tasks:
            running = {
                taker: tasks.create_task(_hand_to(taker, mail, those, routed)) for taker, those in positions.items()
            }
        answers = {taker: task.result() for taker, task in running.items()}
    return tuple(_outcome(mail, position, route, answers) for position, route in enumerate(routed))


def _takers(route: Route) -> tuple[Destination | Engine, ...]:
    return (route.engine,) if route.engine is not None else route.destinations


async def _hand_to(
    taker: Destination | Engine, mail: Mail, positions: Sequence[int], routed: Sequence[Route]
) -> dict[int, Receipt | Failure]:
    """What it answers for each of the recipients at these positions."""
    restricted = mail.for_recipients(positions)
    if isinstance(taker, Engine):
        return dict.fromkeys(positions, await _spool(taker, restricted, [routed[position] for position in positions]))
    try:
        receipt = await taker.deliver(restricted)
    except DeliveryFailure as failure:
        return dict.fromkeys(positions, _failed(taker, failure))
    answers: dict[int, Receipt | Failure] = dict.fromkeys(positions, structs.replace(receipt, refused=()))
    for each in receipt.refused:
        # It counts the recipients of the mail that it got.
        answers[positions[each.position]] = _failed(taker, each.failure)
    return answers


def _failed(destination: Destination, failure: DeliveryFailure) -> Failure:
    text = _one_line(failure.text)
    return Failure(connector=destination.name, status=failure.status, text=text, cause=failure.cause)


async def _spool(engine: Engine, mail: Mail, routed: Sequence[Route]) -> Receipt | Failure:
    recipients: dict[str, list[int]] = {}
    for position, route in enumerate(routed):
        for destination in route.destinations:
            recipients.setdefault(destination.name, []).append(position)
    try:
        return await engine.accept(mail, recipients)
    except OSError as error:
        full = error.errno in _FULL
        return Failure(
            connector="spool",
            status=STORAGE_FULL if full else LOCAL_ERROR,
            text="not enough storage, try again later" if full else "local error, try again later",
            cause=str(error),
        )


def _one_line(text: str) -> str:
    # A line end in a reply would begin another reply; RFC 5321 §4.5.3.1.5 gives its line 512 octets, the code included.
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text[:_MAXIMUM_TEXT])


def _outcome(
    mail: Mail, position: int, route: Route, answers: dict[Destination | Engine, dict[int, Receipt | Failure]]
) -> RecipientOutcome:
    found = [answers[taker][position] for taker in _takers(route)]
    return RecipientOutcome(
        recipient=mail.envelope.envelope.recipients[position],
        receipts=tuple(answer for answer in found if isinstance(answer, Receipt)),
        failures=tuple(answer for answer in found if isinstance(answer, Failure)),
    )
