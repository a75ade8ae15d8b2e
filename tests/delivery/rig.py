"""An engine on a real spool, and mails for it."""

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import apsw
from msgspec import structs

from gateway.connector import PermanentFailure, RetrySchedule, TransientFailure
from gateway.delivery import Destination, Engine, Notices
from gateway.envelope import Content, Mail, new_id
from gateway.spool import Spool
from gateway.status import DESTINATION_UNREACHABLE, MESSAGE_REFUSED
from gateway.testing.samples import plain_mail

AT_ONCE = RetrySchedule(delays_seconds=(0.001,), for_ever=True)
DOWN = TransientFailure(DESTINATION_UNREACHABLE, "down")
REFUSED = PermanentFailure(MESSAGE_REFUSED, "no")
NO_NOTICES = Notices(hostname="mx.example.org", via=lambda _: "")


@dataclass
class Rig:
    """An engine on a spool in `folder`, with connectors that the test controls."""

    folder: object
    connectors: dict
    retries: RetrySchedule = AT_ONCE
    max_in_flight: int = 4
    destinations: dict = field(default_factory=dict)

    @asynccontextmanager
    async def running(self, *, seconds=5.0):
        self.spool = Spool.open(self.folder)
        self.engine = Engine(self.spool)
        await self.engine.start()
        self.destinations = {name: self.destination(name) for name in self.connectors}
        await self.engine.assign(self.destinations, NO_NOTICES)
        try:
            yield self.engine
        finally:
            await self.engine.stop(seconds=seconds)
            await self.spool.close()

    def destination(self, name):
        return Destination(
            self.connectors[name],
            name=name,
            metadata="preserve",
            deadline_seconds=30,
            max_in_flight=self.max_in_flight,
            retries=self.retries,
        )

    def rows(self, what="connector, state, attempts, possible_duplicate", table="delivery"):
        return self.ask(f"SELECT {what} FROM {table}")

    def ask(self, statement):
        # Never by the sqlite3 module: two copies of SQLite in one process take each other's locks away.
        database = apsw.Connection(str(self.folder / "spool.db"))
        database.set_busy_timeout(10_000)
        try:
            return sorted(database.execute(statement))
        finally:
            database.close()

    async def until(self, condition):
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  # another thread commits
                await asyncio.sleep(0.005)

    async def settled(self):
        await self.until(lambda: not self.rows())

    async def delivered_one(self, engine, name):
        """After a mail that has arrived, the queue knows that it has no other."""
        await engine.accept(fresh(), {name: (0,)})
        await self.settled()


def fresh(octets=b"Subject: x\r\n\r\nx\r\n"):
    mail = plain_mail()
    content = Content(octets)
    message = structs.replace(mail.envelope.message, size=len(octets), sha256=hashlib.sha256(octets).hexdigest())
    return Mail(structs.replace(mail.envelope, id=new_id(), message=message), content)
