"""A destination: one configured connector, with everything that holds for whichever connector it is."""

import asyncio
from typing import Literal

import structlog

from gateway.connector import Connector, DeliveryFailure, Receipt, TransientFailure
from gateway.envelope import BLOCK, Mail
from gateway.envelope.flatten import flatten, preserve
from gateway.status import DESTINATION_UNRESPONSIVE, LOCAL_ERROR
from gateway.threads import in_thread

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
    ) -> None:
        self.name = name
        self._connector = connector
        self._flattens = metadata == "flatten"
        self._deadline_seconds = deadline_seconds
        self._places = asyncio.Semaphore(max_in_flight)

    async def deliver(self, mail: Mail) -> Receipt:
        """The connector's receipt for `mail`.

        Raises DeliveryFailure: the connector's own, a transient one when the deadline has passed (waiting for a place
        counts), and a transient one for any other exception.
        """
        deadline = asyncio.timeout(self._deadline_seconds)
        try:
            async with deadline, self._places:
                return await self._connector.emit(await self._form(mail))
        except DeliveryFailure:
            raise
        except Exception as error:
            if deadline.expired():
                cause = f"no answer within {self._deadline_seconds:g} seconds"
                raise TransientFailure(
                    DESTINATION_UNRESPONSIVE, "the destination did not answer in time", cause=cause
                ) from error
            # One of two places that catch everything. A connector that breaks its contract must not cost a session, and
            # nothing is known of the mail, so the client has to keep it. Cancellation is no Exception and goes on.
            _log.exception("a connector raised what it may not raise", connector=self.name, id=mail.envelope.id)
            raise TransientFailure(LOCAL_ERROR, "the mail could not be delivered now", cause=repr(error)) from error

    async def _form(self, mail: Mail) -> Mail:
        if not self._flattens:
            return preserve(mail)
        if mail.content.size <= BLOCK:
            return flatten(mail)
        # Flattening digests the content.
        return await in_thread(lambda _: flatten(mail))
