"""aiokafka's producer and connection, able to let go of everything at once.

A producer's own `stop()` first waits until every record is delivered, and an idempotent one waits for its brokers for
ever: with brokers that are down or hang, `stop()` does not return (aiokafka's issue 1101). This module is the only one
that reaches behind aiokafka's public interface. That is why its version is pinned, and why tests stop a real broker.
"""

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.producer.sender import Sender

__all__ = ["IdempotentProducer", "visit"]

_END_SECONDS = 1.0


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

    async def _send_produce_req(self, *args: Any) -> None:
        request = asyncio.current_task()
        self.requests.add(request)
        try:
            await super()._send_produce_req(*args)
        finally:
            self.requests.discard(request)


class IdempotentProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
    """An idempotent producer that waits for every in-sync replica. All options of AIOKafkaProducer but those two."""

    def __init__(self, *, request_timeout_ms: int, **options: Any) -> None:
        super().__init__(request_timeout_ms=request_timeout_ms, acks="all", enable_idempotence=True, **options)
        self._sender = _Sender(
            self.client,
            acks=-1,
            txn_manager=self._txn_manager,
            message_accumulator=self._message_accumulator,
            retry_backoff_ms=100,
            request_timeout_ms=request_timeout_ms,
        )

    def forget_topic(self, topic: str) -> None:
        """Ask the brokers no more for a topic that does not exist: such names come from strangers and have no end."""
        self.client._topics.discard(topic)  # noqa: SLF001  # see the module's docstring

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
