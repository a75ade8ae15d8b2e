"""Giving mails that were accepted earlier to one connector, in its form and under their old ids.

The connector is this command's own: nothing of a running gateway is touched. Emitting a mail twice is recognisable by
its id, so whatever was interrupted is simply done again. The content is digested once more as the connector reads it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from gateway.app.connectors import (
    build_connectors,
    close_connectors,
    destination_of,
    open_connectors,
    with_references,
)
from gateway.app.process import max_content_files
from gateway.config import ConfiguredConnector
from gateway.connector import DeliveryFailure, DestinationClosed, TransientFailure
from gateway.delivery import Destination
from gateway.envelope import Mail
from gateway.envelope.checked_content import CheckedContent
from gateway.retries import FOR_EVER
from gateway.spool.inspection import SpooledDelivery

__all__ = ["ATTEMPTS", "Outcome", "Reemission", "opened", "reemit"]

ATTEMPTS = 5

_CLOSING_SECONDS = 10
_LONGEST_DELAY_SECONDS = 60.0
# So many mails in a row that it did not take, each tried as often as may be, are the destination's fault.
_HOPELESS = 100
# No further mail is begun while the contents of those under way have so many octets.
_OCTETS_UNDER_WAY = 64 * 1024 * 1024
_REFUSALS_SHOWN = 5


class Reemission(Struct, frozen=True, kw_only=True):
    """A mail to be emitted; or why there is none. Its content is given away.

    `place` is where it is stored, `positions` those of its recipients among all that it had there (none says: all of
    them), and `deliveries` the spooled ones that it stands for.
    """

    id: str
    place: str = ""
    mail: Mail | None = None
    problem: str = ""
    positions: tuple[int, ...] = ()
    deliveries: tuple[SpooledDelivery, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one: `failure` is empty when the destination holds the mail. `octets` are those of the content.

    `refused` are the positions of the recipients for whom it does not, where it does for others. `is_hopeless` says
    that other mails fare no better, `is_transient` that this one might fare better another time.
    """

    reemission: Reemission
    octets: int = 0
    failure: str = ""
    refused: tuple[int, ...] = ()
    is_transient: bool = False
    is_hopeless: bool = False


@asynccontextmanager
async def opened(connectors: Mapping[str, ConfiguredConnector], name: str) -> AsyncIterator[Destination]:
    """The connector `name`, built and opened with those that it refers to. Raises StartError.

    `connectors` are in building order, as a configuration has them.
    """
    chosen = with_references(connectors, name)
    built = build_connectors(chosen)
    await open_connectors(built)
    try:
        yield destination_of(chosen[name], built[name])
    finally:
        await close_connectors(built, seconds=_CLOSING_SECONDS)


async def reemit(
    reemissions: AsyncIterator[Reemission],
    destination: Destination,
    *,
    attempts: int,
    per_second: float | None = None,
) -> AsyncGenerator[list[Outcome], None]:
    """Emit them, as many at a time as the destination takes, and give back what became of them, some at a time.

    A transient failure is tried again until there were so many attempts. Mails of one ordering key go one after
    another; `per_second` bounds how many are begun. Ends early where the destination takes nothing. The iterator is
    never asked while this generator stands at a `yield`, nor is a mail begun then; what it raises comes through.
    """
    under_way = _UnderWay(destination, attempts, per_second)
    failed_in_a_row = 0
    ended = False
    try:
        while not ended or under_way:
            while not ended and under_way.may_another_begin():
                reemission = await anext(reemissions, None)
                if reemission is None:
                    ended = True
                else:
                    under_way.begin(reemission)
            outcomes = await under_way.next_outcomes(may_begin=not ended)
            if outcomes:
                yield outcomes
            for outcome in outcomes:
                failed_in_a_row = failed_in_a_row + 1 if outcome.is_transient else 0
                ended = ended or outcome.is_hopeless
            ended = ended or failed_in_a_row >= _HOPELESS
    finally:
        await under_way.stop()


class _UnderWay:
    """The mails that are being emitted, and whether another one may begin."""

    def __init__(self, destination: Destination, attempts: int, per_second: float | None) -> None:
        self._destination = destination
        self._attempts = attempts
        self._pause_seconds = 1 / per_second if per_second else 0.0
        # Each may need a file and a connection, as a mail that the gateway receives may.
        self._places = min(destination.max_in_flight, max_content_files())
        self._octets_of: dict[asyncio.Task[Outcome], int] = {}
        self._last_of_key: dict[bytes, asyncio.Task[Outcome]] = {}
        self._time = asyncio.get_running_loop().time
        self._next_begins = 0.0

    def __bool__(self) -> bool:
        return bool(self._octets_of)

    def may_another_begin(self) -> bool:
        return self._has_room() and self._time() >= self._next_begins

    def begin(self, reemission: Reemission) -> None:
        mail = reemission.mail
        key = self._destination.ordering_key(mail) if mail else None
        before = self._last_of_key.get(key) if key is not None else None
        task = asyncio.create_task(_emit(reemission, self._destination, self._attempts, before))
        self._octets_of[task] = mail.content.size if mail else 0
        if key is not None:
            self._last_of_key[key] = task
        if mail:
            self._next_begins = self._time() + self._pause_seconds

    async def next_outcomes(self, *, may_begin: bool) -> list[Outcome]:
        """What has ended: at least one, unless the moment comes first at which another one may begin."""
        seconds = max(0.0, self._next_begins - self._time()) if may_begin and self._has_room() else None
        if not self._octets_of:
            await asyncio.sleep(seconds or 0.0)
            return []
        done, _ = await asyncio.wait(self._octets_of, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._octets_of[task]
        self._last_of_key = {key: task for key, task in self._last_of_key.items() if not task.done()}
        return [task.result() for task in done]

    async def stop(self) -> None:
        for task in self._octets_of:
            task.cancel()
        if self._octets_of:
            await asyncio.wait(self._octets_of)

    def _has_room(self) -> bool:
        return len(self._octets_of) < self._places and sum(self._octets_of.values()) < _OCTETS_UNDER_WAY


async def _emit(
    reemission: Reemission, destination: Destination, attempts: int, before: asyncio.Task[Outcome] | None
) -> Outcome:
    mail = reemission.mail
    if mail is None:
        return Outcome(reemission=reemission, failure=reemission.problem)
    message = mail.envelope.message
    content = CheckedContent(mail.content, (message.flattened or message).sha256)
    try:
        if before is not None:
            await asyncio.wait([before])
        return await _deliver(reemission, Mail(mail.envelope, content), destination, attempts)
    finally:
        content.close()


async def _deliver(reemission: Reemission, mail: Mail, destination: Destination, attempts: int) -> Outcome:
    everyone = left = tuple(range(len(mail.envelope.envelope.recipients)))
    refused: dict[int, DeliveryFailure] = {}
    attempt = 1
    while True:
        try:
            receipt = await destination.deliver(mail.for_recipients(left))
        except DeliveryFailure as failure:
            answers: dict[int, DeliveryFailure] = dict.fromkeys(left, failure)
        else:
            answers = {left[each.position]: each.failure for each in receipt.refused}
        refused = {at: failure for at, failure in refused.items() if at not in left} | answers
        again = {at: failure for at, failure in answers.items() if isinstance(failure, TransientFailure)}
        if not again or attempt >= attempts:
            return _outcome(reemission, mail, refused, everyone)
        left = tuple(sorted(again))
        wanted = max(failure.retry_after_seconds for failure in again.values())
        delay = FOR_EVER.delay_seconds(attempt, spread=random.random()) or 0.0  # noqa: S311  # spreads load
        await asyncio.sleep(max(delay, min(wanted, _LONGEST_DELAY_SECONDS)))
        attempt += 1


def _outcome(
    reemission: Reemission, mail: Mail, refused: Mapping[int, DeliveryFailure], everyone: tuple[int, ...]
) -> Outcome:
    if not refused:
        return Outcome(reemission=reemission, octets=mail.content.size)
    by_nobody = len(refused) == len(everyone)
    texts = {at: f"{failure.status} {failure.cause}" for at, failure in sorted(refused.items())}
    if by_nobody and len(set(texts.values())) == 1:
        said = texts[0]
    else:
        recipients = mail.envelope.envelope.recipients
        named = [f"<{recipients[at].address.raw}>: {text}" for at, text in texts.items()]
        more = f" and {len(named) - _REFUSALS_SHOWN} more" if len(named) > _REFUSALS_SHOWN else ""
        said = "; ".join(named[:_REFUSALS_SHOWN]) + more
    return Outcome(
        reemission=reemission,
        failure=said,
        refused=() if by_nobody else tuple((reemission.positions or everyone)[at] for at in sorted(refused)),
        octets=0 if by_nobody else mail.content.size,
        is_transient=by_nobody and all(isinstance(failure, TransientFailure) for failure in refused.values()),
        is_hopeless=any(isinstance(failure, DestinationClosed) for failure in refused.values()),
    )
