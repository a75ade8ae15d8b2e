"""Giving mails that were accepted earlier to one connector, in its form and under their old ids.

The connector is this command's own: nothing of a running gateway is touched. Emitting a mail twice is recognisable by
its id, so whatever was interrupted is simply done again.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from gateway.app.connectors import build_connectors, close_connectors, destination_of, open_connectors
from gateway.app.process import max_connections
from gateway.config import ConfiguredConnector
from gateway.connector import DeliveryFailure, DestinationClosed, TransientFailure
from gateway.delivery import Destination
from gateway.envelope import Mail
from gateway.retries import FOR_EVER
from gateway.spool.inspection import SpooledDelivery
from gateway.threads import in_thread

__all__ = ["ATTEMPTS", "Outcome", "Reemission", "opened", "reemit"]

ATTEMPTS = 5

_CLOSING_SECONDS = 10
_LONGEST_DELAY_SECONDS = 60.0
# So many mails in a row that it did not take, each tried as often as may be, are the destination's fault.
_HOPELESS = 100


class Reemission(Struct, frozen=True, kw_only=True):
    """A mail to be emitted, and the deliveries that it stands for; or why there is none. Its content is given away."""

    id: str
    mail: Mail | None = None
    problem: str = ""
    deliveries: tuple[SpooledDelivery, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one: `failure` is empty when the destination holds the mail. `octets` are those of the content.

    `is_hopeless` says that others fare no better, `is_transient` that it might fare better another time.
    """

    reemission: Reemission
    octets: int = 0
    failure: str = ""
    is_transient: bool = False
    is_hopeless: bool = False


@asynccontextmanager
async def opened(connectors: Mapping[str, ConfiguredConnector], name: str) -> AsyncIterator[Destination]:
    """The connector `name`, built and opened with those that it refers to. Raises StartError.

    `connectors` are in building order, as a configuration has them.
    """
    needed = {name}
    for each in reversed(tuple(connectors)):
        if each in needed:
            needed.update(connectors[each].settings.references())
    chosen = {each: configured for each, configured in connectors.items() if each in needed}
    built = build_connectors(chosen)
    await open_connectors(built)
    try:
        yield destination_of(chosen[name], built[name])
    finally:
        await close_connectors(built, seconds=_CLOSING_SECONDS)


async def reemit(
    reemissions: Iterator[Reemission], destination: Destination, *, attempts: int
) -> AsyncGenerator[list[Outcome], None]:
    """Emit them, as many at a time as the destination takes, and give back what became of them, some at a time.

    A transient failure is tried again until there were so many attempts. Mails of one ordering key go one after
    another. Ends early where the destination takes nothing. The iterator is read in another thread, never while this
    generator stands at a `yield`; what it raises comes through.
    """
    # Each may need a file and a connection, as a connection of the gateway may.
    places = min(destination.max_in_flight, max_connections())
    running: set[asyncio.Task[Outcome]] = set()
    last_of_key: dict[bytes, asyncio.Task[Outcome]] = {}
    failed_in_a_row = 0
    ended = False
    try:
        while running or not ended:
            while not ended and len(running) < places:
                reemission = await in_thread(lambda _: next(reemissions, None))
                if reemission is None:
                    ended = True
                    break
                key = destination.ordering_key(reemission.mail) if reemission.mail else None
                before = last_of_key.get(key) if key is not None else None
                task = asyncio.create_task(_emit(reemission, destination, attempts, before))
                running.add(task)
                if key is not None:
                    last_of_key[key] = task
            if not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            last_of_key = {key: task for key, task in last_of_key.items() if not task.done()}
            outcomes = [task.result() for task in done]
            yield outcomes
            for outcome in outcomes:
                failed_in_a_row = failed_in_a_row + 1 if outcome.is_transient else 0
                ended = ended or outcome.is_hopeless
            ended = ended or failed_in_a_row >= _HOPELESS
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


async def _emit(
    reemission: Reemission, destination: Destination, attempts: int, before: asyncio.Task[Outcome] | None
) -> Outcome:
    mail = reemission.mail
    if mail is None:
        return Outcome(reemission=reemission, failure=reemission.problem)
    try:
        if before is not None:
            await asyncio.wait([before])
        return await _deliver(reemission, mail, destination, attempts)
    finally:
        mail.content.close()


async def _deliver(reemission: Reemission, mail: Mail, destination: Destination, attempts: int) -> Outcome:
    attempt = 1
    while True:
        try:
            await destination.deliver(mail)
        except TransientFailure as failure:
            if attempt >= attempts:
                return _failed(reemission, failure)
            delay = FOR_EVER.delay_seconds(attempt, spread=random.random()) or 0.0  # noqa: S311  # spreads load
            await asyncio.sleep(max(delay, min(failure.retry_after_seconds, _LONGEST_DELAY_SECONDS)))
            attempt += 1
        except DeliveryFailure as failure:
            return _failed(reemission, failure)
        else:
            return Outcome(reemission=reemission, octets=mail.content.size)


def _failed(reemission: Reemission, failure: DeliveryFailure) -> Outcome:
    return Outcome(
        reemission=reemission,
        failure=f"{failure.status} {failure.cause}",
        is_transient=isinstance(failure, TransientFailure),
        is_hopeless=isinstance(failure, DestinationClosed),
    )
