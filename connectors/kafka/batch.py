"""Batches under way: whether the brokers may have their records, and what kept them from an acknowledgement.

aiokafka sends a batch again and again, under the same number, while the error is one that passes; of what went wrong
meanwhile it tells nothing. Here each batch keeps its last error, and whether a request with it was written to a
connection and not refused since. What was never written can be taken back, and is then certainly not stored.

Together with `connectors.kafka.clients` this is all that reaches behind aiokafka's public interface.
"""

import copy
from typing import Any

from aiokafka import errors
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.sender import SendProduceReqHandler

from connectors.kafka.record import Record

__all__ = ["Accumulator", "NotAcknowledged", "ProduceHandler"]

# With these answers the leader has not appended the batch. Not among them: those to a batch that was appended and then
# not copied in time, or whose leader lost its place meanwhile (REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS_AFTER_APPEND,
# NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR), and a connection that ended before the answer.
_NOT_APPENDED = (
    errors.ClusterAuthorizationFailedError,
    errors.CorruptRecordException,
    errors.InvalidMessageError,
    errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping,
    errors.InvalidTimestampError,
    errors.InvalidTopicError,
    errors.LeaderNotAvailableError,
    errors.MessageSizeTooLargeError,
    errors.NotEnoughReplicasError,
    errors.OutOfOrderSequenceNumber,
    errors.PolicyViolationError,
    errors.RecordListTooLargeError,
    errors.TopicAuthorizationFailedError,
    errors.UnknownProducerId,
    errors.UnknownTopicOrPartitionError,
    errors.UnsupportedForMessageFormatError,
    errors.UnsupportedVersionError,
)


class NotAcknowledged(Exception):
    """The brokers have not acknowledged a record: `error` is why, `possibly_stored` whether they may have it still."""

    def __init__(self, error: Exception, *, possibly_stored: bool = False) -> None:
        # aiokafka copies an exception for each record, from these arguments and the attributes.
        super().__init__(error)
        self.error = error
        self.possibly_stored = possibly_stored


class _Batch(MessageBatch):  # type: ignore[misc]  # aiokafka has no types
    """Records that travel together. They fail with NotAcknowledged."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.possibly_stored = False
        self.trouble: Exception | None = None

    def failure(self, exception: Exception) -> None:
        super().failure(NotAcknowledged(exception, possibly_stored=self.possibly_stored))

    def has(self, sent: Any) -> bool:
        return any(future is sent for future, _ in self._msg_futures)


class Accumulator(MessageAccumulator):  # type: ignore[misc]  # aiokafka has no types
    """The batches of a producer, from their first record until they are settled."""

    def append(self, tp: Any, record: Record) -> Any:
        """Put `record` into the batch that goes next to the partition `tp`; None where that one has no room.

        `add_message` does the same and waits for room. Returns the record's future, which may be cancelled: the batch
        goes on without it. Raises the errors of aiokafka.
        """
        if self._closed:
            raise errors.ProducerClosed
        if self._exception is not None:
            raise copy.copy(self._exception)
        queue = self._batches.get(tp)
        batch = queue[-1] if queue else self._append_batch(self.create_builder(), tp)
        return batch.append(record.key, record.value, None, self._loop.create_future, record.headers)

    def settled(self, sent: Any) -> Any:
        """A future that is done when the brokers have the record of the future `sent` or never will.

        That one may have been cancelled.
        """
        batch = self._batch_of(sent)
        return sent if batch is None else batch.future

    def give_up(self, sent: Any) -> NotAcknowledged:
        """Why the record of the future `sent` is not acknowledged yet.

        Unless its batch may be stored, the batch is taken back: all of its records fail, and it is not sent any more.
        """
        batch = self._batch_of(sent)
        if batch is None:
            # A batch that the caller made has no futures of records, and one that was settled just now is not there.
            return NotAcknowledged(TimeoutError("the brokers have not answered"), possibly_stored=True)
        reason = batch.trouble or TimeoutError(self._waits_for(batch))
        if not batch.possibly_stored:
            self._take_back(batch, reason)
        return NotAcknowledged(reason, possibly_stored=batch.possibly_stored)

    def reenqueue(self, batch: _Batch) -> None:
        """Send `batch` again, unless it was taken back while it waited for that."""
        if not batch.future.done():
            super().reenqueue(batch)

    def _append_batch(self, builder: Any, tp: Any) -> _Batch:
        batch = _Batch(tp, builder, self._batch_ttl, self._linger_time)
        self._batches[tp].append(batch)
        if not self._waiter_future.done():
            self._waiter_future.set_result(None)
        return batch

    def _batch_of(self, sent: Any) -> _Batch | None:
        under_way = [*self._pending_batches, *(batch for queue in self._batches.values() for batch in queue)]
        return next((batch for batch in under_way if batch.has(sent)), None)

    def _waits_for(self, batch: _Batch) -> str:
        leader = self._cluster.leader_for_partition(batch.tp)
        if leader in (None, -1):
            return f"partition {batch.tp.partition} has no leader"
        broker = self._cluster.broker_metadata(leader)
        place = f"broker {broker.host}:{broker.port}" if broker else f"broker {leader}"
        if batch.possibly_stored:
            return f"{place} has not answered"
        return f"nothing was sent yet: {place} has not answered what came before, or cannot be reached"

    def _take_back(self, batch: _Batch, reason: Exception) -> None:
        queue = self._batches.get(batch.tp, ())
        if batch in queue:
            queue.remove(batch)
            if not queue:
                del self._batches[batch.tp]
            if batch.retry_count:
                # Where aiokafka looks for every batch that ends after its first attempt.
                self._pending_batches.add(batch)
        # Who waits for room behind this batch need not wait any more.
        batch.drain_ready()
        batch.failure(reason)


class ProduceHandler(SendProduceReqHandler):  # type: ignore[misc]  # aiokafka has no types
    """One produce request: its batches learn what became of it."""

    def __init__(self, sender: Any, batches: Any, node_id: int) -> None:
        super().__init__(sender, batches)
        self._node_id = node_id
        self._sent_first: list[_Batch] = []

    def create_request(self) -> Any:
        request = super().create_request()
        prepare = request.prepare

        # Called when there is a connection, directly before the request is written to it.
        def prepare_unless_taken_back(versions: Any) -> Any:
            batches = self._batches.values()
            if any(batch.future.done() for batch in batches):
                raise errors.NodeNotReadyError("a batch of this request was taken back")
            prepared = prepare(versions)
            self._sent_first = [batch for batch in batches if not batch.possibly_stored]
            for batch in batches:
                batch.possibly_stored = True
            return prepared

        request.prepare = prepare_unless_taken_back
        return request

    def _can_retry(self, error: Exception, batch: _Batch) -> bool:
        if batch.future.done():
            return False
        if isinstance(error, errors.NodeNotReadyError):
            broker = self._client.cluster.broker_metadata(self._node_id)
            place = f"{broker.host}:{broker.port}" if broker else str(self._node_id)
            # In place: with this very exception the batch fails, when it does.
            error.args = (f"no connection to broker {place}, which leads the partition",)
        batch.trouble = error
        if batch in self._sent_first and isinstance(error, _NOT_APPENDED):
            batch.possibly_stored = False
        return bool(super()._can_retry(error, batch)) and not self._sender.is_cut_off()
