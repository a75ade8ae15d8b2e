"""A destination: one configured connector, with everything that holds for whichever connector it is."""

import asyncio
from typing import Literal, cast

import structlog

from gateway.connector import (
    Connector,
    DeliveryFailure,
    DestinationClosed,
    OrderedConnector,
    PermanentFailure,
    Receipt,
    Refused,
    TransientFailure,
)
from gateway.envelope import BLOCK, Mail
from gateway.envelope.flatten import flatten, preserve
from gateway.retries import FOR_EVER, RetrySchedule
from gateway.status import DESTINATION_UNRESPONSIVE, LOCAL_ERROR
from gateway.threads import in_thread
from gateway.turns import turn

__all__ = ["Destination"]

_log = structlog.get_logger()


class Destination:
    """Bounds a connector in time and in number, and gives it mails in the form that its configuration asks for."""

    def __init__(
        self,
        connector: Connector,
        *,
        name: str,
        metadata: Literal["preserve", "flatten"],
        deadline_seconds: float,
        max_in_flight: int,
        retries: RetrySchedule = FOR_EVER,
    ) -> None:
        self.name = name
        self.deadline_seconds = deadline_seconds
        self.max_in_flight = max_in_flight
        self.retries = retries
        self._connector = connector
        self._ordered = connector if isinstance(connector, OrderedConnector) else None
        self._flattens = metadata == "flatten"
        self._places = asyncio.Semaphore(max_in_flight)
        self._under_way = 0
        self._retired = False
        self._idle = asyncio.Event()
        self._idle.set()

    def ordering_key(self, mail: Mail) -> bytes | None:
        """The key in whose order a spooled mail stands: those of one key come one after another."""
        return self._ordered.ordering_key(mail) if self._ordered is not None else None

    async def retire(self, *, seconds: float) -> None:
        """Take no more mail, and return when the mails that are under way have ended, after so long at most."""
        self._retired = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("a destination is left with mail under way", connector=self.name, mails=self._under_way)

    async def deliver(self, mail: Mail) -> Receipt:
        """The connector's receipt for `mail`.

        Raises DeliveryFailure: the connector's own, a transient one when the deadline has passed (waiting for a place
        counts), and a transient one for any other exception and for anything that is no receipt for this mail.
        """
        if self._retired:
            raise TransientFailure(LOCAL_ERROR, "the configuration was changed, try again", cause="retired by a reload")
        self._under_way += 1
        self._idle.clear()
        try:
            receipt = await self._deliver(mail)
            # One answer of a broker or a store may be about hundreds of mails.
            await turn()
            return receipt
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _deliver(self, mail: Mail) -> Receipt:
        deadline = asyncio.timeout(self.deadline_seconds)
        try:
            async with deadline, self._places:
                return _receipt(await self._connector.emit(await self._form(mail)), mail)
        except DeliveryFailure:
            raise
        except asyncio.CancelledError as error:
            if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
                raise
            # Nobody cancelled this task: the connector let out what became of something within it.
            raise self._broken_contract(mail, error) from error
        except Exception as error:
            if deadline.expired():
                cause = f"no answer within {self.deadline_seconds:g} seconds"
                raise TransientFailure(
                    DESTINATION_UNRESPONSIVE,
                    "the destination did not answer in time",
                    cause=cause,
                    possibly_stored=True,
                ) from error
            # One of two places that catch everything.
            raise self._broken_contract(mail, error) from error

    def _broken_contract(self, mail: Mail, error: BaseException) -> TransientFailure:
        # A connector that breaks its contract must not cost a session, and nothing is known of the mail, so the client
        # has to keep it.
        _log.error("a connector broke its contract", connector=self.name, id=mail.envelope.id, exc_info=error)
        return TransientFailure(
            LOCAL_ERROR, "the mail could not be delivered now", cause=repr(error), possibly_stored=True
        )

    async def _form(self, mail: Mail) -> Mail:
        if not self._flattens:
            return preserve(mail)
        metadata = sum(len(container.data) for container in mail.envelope.metadata.containers)
        if mail.content.size + metadata <= BLOCK:
            return flatten(mail)
        # Flattening digests the content and reads the trace fields that go before it.
        return await in_thread(lambda _: flatten(mail))


def _receipt(answer: object, mail: Mail) -> Receipt:
    # A type checker says so of our own connectors; a 250 for a mail that nobody has is too much to leave to it.
    if not isinstance(answer, Receipt):
        raise TypeError(f"emit returned {answer!r} and no Receipt")
    if answer.refused:
        _check_refused(answer.refused, len(mail.envelope.envelope.recipients))
    return answer


def _check_refused(refused: tuple[Refused, ...], recipients: int) -> None:
    positions = {each.position for each in refused}
    if len(positions) < len(refused) or not positions <= set(range(recipients)):
        raise ValueError(f"a receipt refuses the recipients {sorted(positions)} of {recipients}, or one of them twice")
    if len(positions) == recipients:
        raise ValueError("a receipt refuses every recipient")
    for each in refused:
        wrong = isinstance(each.failure, DestinationClosed)
        if wrong or not isinstance(each.failure, TransientFailure | PermanentFailure):
            raise TypeError(f"a receipt refuses a recipient by {each.failure!r}")
