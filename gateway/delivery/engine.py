"""The delivery engine: what was accepted into the spool, given to each destination in its own time.

Each (message, connector) pair is delivered, retried or set aside by itself: there is a queue for every destination, and
no queue waits for another.
"""

import asyncio
from collections.abc import Mapping, Sequence

from gateway.connector import Receipt
from gateway.delivery import records
from gateway.delivery.clock import now
from gateway.delivery.destination import Destination
from gateway.delivery.notices import Notices
from gateway.delivery.queue import DeliveryQueue
from gateway.envelope import Mail
from gateway.spool import INLINE_OCTETS, NewDelivery, NewMessage, Spool, octets_in_memory

__all__ = ["Engine"]

_POLL_SECONDS = 1.0


class Engine:
    """Accepts mail into a spool, and delivers what is in it from `start` to `stop`."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._queues: dict[str, DeliveryQueue] = {}
        # Those whose destinations a reload has taken away, while their last attempts end.
        self._leaving: set[DeliveryQueue] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make interrupted attempts again, and begin to deliver. Raises OSError when the spool does not work."""
        interrupted = await self._spool.recover(now())
        if interrupted:
            records.interrupted_attempts(interrupted)
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def assign(self, destinations: Mapping[str, Destination], notices: Notices) -> None:
        """Deliver to these destinations from now on; attempts that are under way end with those before.

        A destination is known by its name, also to mail that was spooled for another of that name.
        """
        gone = [queue for name, queue in self._queues.items() if name not in destinations]
        for name, destination in destinations.items():
            if name in self._queues:
                self._queues[name].destination = destination
                self._queues[name].notices = notices
                self._queues[name].wake()
            else:
                self._queues[name] = DeliveryQueue(destination, self._spool, notices, added=self._wake_queues_of)
                self._queues[name].start()
        for queue in gone:
            del self._queues[queue.destination.name]
            self._leaving.add(queue)
        async with asyncio.TaskGroup() as leaving:
            for queue in gone:
                leaving.create_task(self._take_leave(queue))
        for connector in await self._spool.connectors() - self._queues.keys():
            records.connector_missing(connector)

    async def accept(self, mail: Mail, recipients: Mapping[str, Sequence[int]]) -> Receipt:
        """Take responsibility for `mail`: the receipt stands for what is on stable storage.

        `recipients` has the positions of the recipients for each destination. Raises OSError: then the spool does not
        have the mail.
        """
        id_ = mail.envelope.id
        is_small = mail.content.size <= INLINE_OCTETS
        octets = {name: octets_in_memory(mail, len(positions)) for name, positions in recipients.items()}
        # The queues themselves: meanwhile a reload may have others in their places, or none.
        reserved: dict[str, DeliveryQueue] = {}
        deliveries: list[NewDelivery] = []
        try:
            for name, positions in recipients.items():
                # A reload may have taken the destination away since RCPT: its mail then waits for it to come back.
                queue = self._queues.get(name)
                if queue is not None and is_small and queue.reserve(octets[name]):
                    reserved[name] = queue
                key = queue.destination.ordering_key(mail) if queue is not None else None
                places = tuple(positions)
                deliveries.append(
                    NewDelivery(connector=name, recipients=places, ordering_key=key, attempted=name in reserved)
                )
            entries = await self._spool.add(NewMessage(mail=mail, deliveries=tuple(deliveries), accepted_at=now()))
        except BaseException:
            for name, queue in reserved.items():
                queue.release(octets[name])
            raise
        for entry in entries:
            reserved.pop(entry.connector).begin(entry)
        for name, queue in reserved.items():
            queue.release(octets[name])
        for name in recipients.keys() - {entry.connector for entry in entries}:
            self._wake(name)
        return Receipt(id=id_, connector="spool", type="spool", location={"id": id_})

    async def stop(self, *, seconds: float) -> None:
        """Let attempts end for so long. What is not delivered by then is delivered after the next start."""
        if self._watching is not None:
            self._watching.cancel()
        async with asyncio.TaskGroup() as stopping:
            for queue in (*self._queues.values(), *self._leaving):
                stopping.create_task(queue.stop(seconds=seconds))

    def _wake_queues_of(self, message: NewMessage) -> None:
        for delivery in message.deliveries:
            self._wake(delivery.connector)

    def _wake(self, name: str) -> None:
        if name in self._queues:
            self._queues[name].wake()

    async def _take_leave(self, queue: DeliveryQueue) -> None:
        await queue.stop(seconds=queue.destination.deadline_seconds)
        self._leaving.discard(queue)
        # The destination may have come back meanwhile, and knows nothing of what this one has put off.
        self._wake(queue.destination.name)

    async def _watch(self) -> None:
        """Notice what another process changes in the spool: an operator who lets dead letters be tried again."""
        seen = -1
        while True:
            try:
                changes = await self._spool.changes()
                if changes != seen:
                    seen = changes
                    paused = await self._spool.paused()
                    for name, queue in self._queues.items():
                        queue.pause(paused=name in paused)
                        queue.ask_again()
            except OSError as error:
                records.spool_failed("", error)
            await asyncio.sleep(_POLL_SECONDS)
