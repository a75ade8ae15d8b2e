"""The producer of one connector: sessions with the brokers, one after the other and never two at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import errors
from aiokafka.structs import RecordMetadata

from connectors.kafka import failures
from connectors.kafka.attempt import SharedAttempt
from connectors.kafka.batch import NotAcknowledged
from connectors.kafka.record import Record
from connectors.kafka.session import Session

__all__ = ["Producer"]

# After these the next session may take the record, where it is certainly not stored: the numbering of this one is
# broken, or it ended before it had the record.
_FOR_THE_NEXT_SESSION = (
    errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping,
    errors.OutOfOrderSequenceNumber,
    errors.ProducerClosed,
    errors.ProducerFenced,
    errors.UnknownProducerId,
)
_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_SESSIONS_PER_RECORD = 4


class Producer:
    """Sends records for as long as the gateway runs, over brokers that come and go."""

    def __init__(self, connect: Callable[[], Awaitable[Session]]) -> None:
        self._connect = connect
        self._sessions = SharedAttempt(self._next_session)
        self._session: Session | None = None

    async def connect(self) -> None:
        """Return when the brokers have let us in. Raises TransientFailure."""
        await self._current_session()

    async def find(self, topic: str) -> None:
        """Return when the brokers know `topic`. Raises TransientFailure."""
        session = await self._current_session()
        try:
            await session.find(topic)
        except (errors.KafkaError, OSError) as error:
            raise failures.from_error(error, f"topic {topic}") from error

    async def send(self, record: Record, deadline: float) -> RecordMetadata:
        """Return when all in-sync replicas have `record`, until the loop's time is `deadline`.

        Raises TransientFailure and PermanentFailure. Brokers measure a batch, not a record: one that was too large in
        company is tried once more alone.
        """
        where = f"topic {record.topic}"
        alone = False
        attempts_left = _SESSIONS_PER_RECORD
        while True:
            attempts_left -= 1
            session = self._sessions.made()
            if session is None or session.has_ended:
                try:
                    async with asyncio.timeout_at(deadline):
                        session = await self._current_session()
                except TimeoutError as late:
                    raise failures.silent(f"{where}: no broker has let us in yet") from late
            try:
                return await session.send(record, alone=alone, deadline=deadline)
            except NotAcknowledged as failure:
                error, doubt = failure.error, failure.possibly_stored
                may_go_alone = isinstance(error, _TOO_LARGE) and not alone
                may_go_again = may_go_alone or isinstance(error, _FOR_THE_NEXT_SESSION)
                if doubt or not attempts_left or not may_go_again:
                    raise failures.from_error(error, where, possibly_stored=doubt) from failure
                alone = alone or may_go_alone
                session.end()

    async def close(self) -> None:
        """Let go of the brokers at once; records on their way fail."""
        await self._sessions.stop()
        if self._session is not None:
            self._session.end(grace_seconds=0)
            await self._session.ended()

    async def _current_session(self) -> Session:
        session = await self._sessions.result()
        while session.has_ended:
            self._sessions.forget(session)
            session = await self._sessions.result()
        return session

    async def _next_session(self) -> Session:
        if self._session is not None:
            await self._session.ended()
        self._session = await self._connect()
        return self._session
