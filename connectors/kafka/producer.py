"""The producer of one connector: sessions with the brokers, one after the other and never two at a time."""

from collections.abc import Awaitable, Callable

from aiokafka import errors
from aiokafka.structs import RecordMetadata

from connectors.kafka import failures
from connectors.kafka.attempt import SharedAttempt
from connectors.kafka.record import Record
from connectors.kafka.session import Session

__all__ = ["Producer"]

# After these the record is certainly not stored, and the next session may take it: the numbering of this one is broken,
# or it ended before it had the record.
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

    async def send(self, record: Record) -> RecordMetadata:
        """Return when all in-sync replicas have `record`. Raises TransientFailure and PermanentFailure.

        Brokers measure a batch, not a record: one that was too large in company is tried once more alone.
        """
        alone = False
        attempts_left = _SESSIONS_PER_RECORD
        while True:
            attempts_left -= 1
            session = await self._current_session()
            try:
                return await session.send(record, alone=alone)
            except (errors.KafkaError, OSError) as error:
                may_go_alone = isinstance(error, _TOO_LARGE) and not alone
                if not attempts_left or not (may_go_alone or isinstance(error, _FOR_THE_NEXT_SESSION)):
                    raise failures.from_error(error, f"topic {record.topic}") from error
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
