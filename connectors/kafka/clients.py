"""aiokafka's producer and connection, able to let go of everything at once.

A producer's own `stop()` first waits until every record is delivered, and an idempotent one waits for its brokers for
ever: with brokers that are down or hang, `stop()` does not return (aiokafka's issue 1101). This module and
`connectors.kafka.batch` are the only ones that reach behind aiokafka's public interface. That is why its version is
pinned, and why tests stop a real broker.
"""

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.producer.sender import Sender
from aiokafka.structs import RecordMetadata, TopicPartition

from connectors.kafka.batch import Accumulator, NotAcknowledged, ProduceHandler
from connectors.kafka.partition import choose_partition
from connectors.kafka.record import Record

__all__ = ["IdempotentProducer", "visit"]

_END_SECONDS = 1.0
# A network that hiccups is worth so long a wait. A new leader is worth a longer one, but somebody has to tell of it.
_CUT_OFF_SECONDS = 3.0


async def visit(host: str, port: int, **options: Any) -> None:
    """Connect to a broker, log in and leave. Options of AIOKafkaConnection; raises what it raises."""
    connection = _Connection(host, port, **options)
    try:
        await connection.connect()
    finally:
        connection.close()


class _Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    """A connection that ends when it is closed, and not when a broker that hangs has agreed to that."""

    def close(self, *args: Any, **options: Any) -> Any:
        if self._writer is not None:
            self._writer.transport.abort()
        return super().close(*args, **options)


class _Sender(Sender):  # type: ignore[misc]  # aiokafka has no types
    """The task that sends batches, with the requests that it has under way."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.requests: set[asyncio.Task[Any] | None] = set()
        self._cut_off_since: float | None = None

    def is_cut_off(self) -> bool:
        """Whether for some seconds no broker has told where the leaders are; asked whenever a request has failed."""
        cluster = self.client.cluster
        if cluster._last_refresh_ms == cluster._last_successful_refresh_ms:  # noqa: SLF001
            self._cut_off_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._cut_off_since is None:
            self._cut_off_since = now
        return now - self._cut_off_since >= _CUT_OFF_SECONDS

    async def _send_produce_req(self, node_id: int, batches: Any) -> None:
        request = asyncio.current_task()
        self.requests.add(request)
        try:
            await ProduceHandler(self, batches, node_id).do(node_id)
        finally:
            self.requests.discard(request)
        self._in_flight.remove(node_id)
        self._muted_partitions.difference_update(batches)


class IdempotentProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """An idempotent producer that waits for every in-sync replica, and chooses partitions as the Java client does.

    It has all options of AIOKafkaProducer but those three.
    """

    def __init__(self, *, request_timeout_ms: int, **options: Any) -> None:
        super().__init__(
            request_timeout_ms=request_timeout_ms,
            acks="all",
            enable_idempotence=True,
            partitioner=choose_partition,
            **options,
        )
        made: Any = self._message_accumulator
        self._message_accumulator: Accumulator = Accumulator(
            self._metadata,
            made._batch_size,  # noqa: SLF001  # see the module's docstring
            made._compression_type,  # noqa: SLF001
            made._batch_ttl,  # noqa: SLF001
            txn_manager=self._txn_manager,
            linger_ms=made._linger_time * 1000,  # noqa: SLF001
        )
        self._sender = _Sender(
            self.client,
            acks=-1,
            txn_manager=self._txn_manager,
            message_accumulator=self._message_accumulator,
            retry_backoff_ms=100,
            request_timeout_ms=request_timeout_ms,
        )

    def append(self, record: Record) -> "asyncio.Future[RecordMetadata] | None":
        """Put `record` into a batch at once; None where `send` would wait, for room or for what is known of the topic.

        Returns the future that `send` returns. For records that are known to fit into a request: they are not measured
        again. Raises the errors of aiokafka.
        """
        partition = self.partition_of(record)
        if partition is None or record.topic not in self.client._topics:  # noqa: SLF001  # see the module's docstring
            return None
        place = TopicPartition(record.topic, partition)
        sent: asyncio.Future[RecordMetadata] | None = self._message_accumulator.append(place, record)
        return sent

    def partition_of(self, record: Record) -> int | None:
        """The partition for `record`; None where the brokers have not told of its topic."""
        cluster = self.client.cluster
        partitions = cluster.partitions_for_topic(record.topic)
        if partitions is None:
            return None
        available = () if record.key is not None else cluster.available_partitions_for_topic(record.topic)
        return choose_partition(record.key, sorted(partitions), sorted(available))

    def forget_topic(self, topic: str) -> None:
        """Ask the brokers no more for a topic that does not exist: such names come from strangers and have no end."""
        self.client._topics.discard(topic)  # noqa: SLF001  # see the module's docstring

    def settled(self, sent: "asyncio.Future[Any]") -> "asyncio.Future[Any]":
        """A future that is done when the brokers have the record of `sent`, which may be cancelled, or never will."""
        settled: asyncio.Future[Any] = self._message_accumulator.settled(sent)
        return settled

    def give_up(self, sent: "asyncio.Future[Any]") -> NotAcknowledged:
        """Why the record of the future that `send` returned is not acknowledged yet.

        Unless it may be stored, it is taken back, and those that share its batch with it.
        """
        return self._message_accumulator.give_up(sent)

    async def abandon(self) -> None:
        """Drop every record and cut every connection. The futures of records that were dropped are never resolved."""
        client = self.client
        self._closed = self._message_accumulator._closed = True  # noqa: SLF001
        for connection in client._conns.values():  # noqa: SLF001
            if connection._writer is not None:  # noqa: SLF001
                # A close in order would first wait until a broker that hangs has read what was sent to it.
                connection._writer.transport.abort()  # noqa: SLF001
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._end_tasks()
                await client.close()

    async def _end_tasks(self) -> None:
        sender = self._sender
        while running := [task for task in (sender.sender_task, *sender.requests) if task and not task.done()]:
            for task in running:
                task.cancel()
            # The sender catches the first cancellation and waits for its requests.
            await asyncio.sleep(0)
