"""A session with the brokers: one producer with its identity at the brokers, and the records that are in it.

An idempotent producer numbers the records of each partition. When the brokers refuse one, its number is missing, and
they refuse all that follow: such a producer is of no more use and is replaced, as is one that does not answer.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import errors
from aiokafka.structs import RecordMetadata

from connectors.kafka.batch import NotAcknowledged
from connectors.kafka.clients import IdempotentProducer
from connectors.kafka.limit import Limit
from connectors.kafka.record import Record

__all__ = ["Session"]

# How long a record may go on alone when nobody waits for it any more, and how long the others may take to finish when
# the session ends.
_GRACE_SECONDS = 2.0
# Between questions for a topic that is not there: one that the brokers make on demand takes a moment.
_TOPIC_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)


class Session:
    """A started producer. `send` until `has_ended`; `end` may be called at any time and more than once."""

    def __init__(self, producer: IdempotentProducer) -> None:
        self._producer = producer
        self._sending: set[asyncio.Timeout | Limit] = set()
        self._idle = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether records have to go into another session."""
        return self._ending is not None

    async def send(self, record: Record, *, alone: bool, deadline: float) -> RecordMetadata:
        """Have `record` acknowledged by all in-sync replicas; `alone`: in a batch that no other record shares.

        Raises NotAcknowledged, at the latest when the loop's time is `deadline` or the session has ended. One that
        comes after the record was handed to the brokers ends the session.
        """
        sent: asyncio.Future[RecordMetadata] | None = None
        try:
            # Nearly every record finds its topic known and room in a batch, and waits for nothing but the answer.
            sent = None if alone else self._producer.append(record)
            if sent is not None:
                return await self._answer(sent, deadline)
            async with asyncio.timeout_at(deadline) as limit:
                with self._limited_by(limit):
                    await self.find(record.topic)
                    sent = await (self._send_alone(record) if alone else self._send_shared(record))
                    return await asyncio.shield(sent)
        except asyncio.CancelledError:
            if sent is not None:
                # The record cannot be taken out of the producer again, only the producer be given up.
                sent.add_done_callback(_look_at)
                settled = self._producer.settled(sent)
                asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._end_unless_done, settled)
            raise
        except NotAcknowledged as failure:
            if sent is None:
                # It waited for room behind a batch that failed, and was not in it.
                raise NotAcknowledged(failure.error) from failure
            # A right that is missing holds for one topic; mails to the others need not pay for those to this one.
            if not isinstance(failure.error, errors.TopicAuthorizationFailedError):
                self.end()
            raise
        except TimeoutError as late:
            return self._given_up(sent, late)
        except (errors.KafkaError, OSError) as error:
            raise NotAcknowledged(error) from error
        finally:
            # An exception that it holds holds this frame, and with it the record.
            sent = None

    async def find(self, topic: str) -> None:
        """Return when the brokers know `topic`. Raises the errors of aiokafka."""
        client = self._producer.client
        is_answered = await client.add_topic(topic)
        for pause in _TOPIC_PAUSES_SECONDS:
            if client.cluster.partitions_for_topic(topic) is not None:
                return
            if topic in client.cluster.unauthorized_topics:
                break
            await asyncio.sleep(pause)
            is_answered = await client.force_metadata_update()
        is_unauthorized = topic in client.cluster.unauthorized_topics
        self._producer.forget_topic(topic)
        if is_unauthorized:
            raise errors.TopicAuthorizationFailedError(topic)
        if not is_answered:
            raise errors.NodeNotReadyError("no broker answers")
        raise errors.UnknownTopicOrPartitionError(topic)

    def end(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Take no more records, give those on their way `grace_seconds` to arrive, and let go of the brokers."""
        moment = asyncio.get_running_loop().time() + grace_seconds
        for limit in self._sending:
            if not limit.expired():
                limit.reschedule(min(moment, limit.when() or moment))
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())

    async def ended(self) -> None:
        """Return when nothing of the session is left."""
        if self._ending is not None:
            await asyncio.wait([self._ending])

    async def _end(self) -> None:
        if self._sending:
            self._idle.clear()
            await self._idle.wait()
        await self._producer.abandon()

    async def _answer(self, sent: "asyncio.Future[RecordMetadata]", deadline: float) -> RecordMetadata:
        limit = Limit(sent, deadline)
        self._sending.add(limit)
        try:
            return await sent
        finally:
            limit.lift()
            self._leave(limit)
            # As in `send`.
            del sent, limit

    async def _send_shared(self, record: Record) -> "asyncio.Future[RecordMetadata]":
        sent: asyncio.Future[RecordMetadata] = await self._producer.send(
            record.topic, key=record.key, value=record.value, headers=record.headers
        )
        return sent

    async def _send_alone(self, record: Record) -> "asyncio.Future[RecordMetadata]":
        batch = self._producer.create_batch()
        batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
        batch.close()
        partition = self._producer.partition_of(record)
        sent: asyncio.Future[RecordMetadata] = await self._producer.send_batch(batch, record.topic, partition=partition)
        return sent

    @contextmanager
    def _limited_by(self, limit: asyncio.Timeout) -> Iterator[None]:
        self._sending.add(limit)
        try:
            yield
        finally:
            self._leave(limit)

    def _leave(self, limit: asyncio.Timeout | Limit) -> None:
        self._sending.discard(limit)
        if not self._sending:
            self._idle.set()

    def _given_up(self, sent: "asyncio.Future[RecordMetadata] | None", late: TimeoutError) -> RecordMetadata:
        if sent is None:
            raise NotAcknowledged(TimeoutError("nothing was sent yet; earlier mails have no answer either")) from late
        # A limit fails the future itself; anything else that is in it came at the last moment.
        is_answered = sent.done() and sent.exception() is not late
        if is_answered and sent.exception() is None:
            return sent.result()
        self.end()
        if is_answered:
            return sent.result()
        sent.add_done_callback(_look_at)
        raise self._producer.give_up(sent) from late

    def _end_unless_done(self, sent: "asyncio.Future[Any]") -> None:
        if not (sent.done() or self.has_ended):
            self.end()


def _look_at(sent: "asyncio.Future[RecordMetadata]") -> None:
    # asyncio complains of an exception that nobody has looked at.
    if not sent.cancelled():
        sent.exception()
