"""A spool and the delivery engine before one connector, as on a route with `accept = "spooled"`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from gateway.connector import Connector, ConnectorType, RetrySchedule
from gateway.delivery import Destination, Engine, Notices
from gateway.envelope import Mail
from gateway.spool import Spool

__all__ = ["Spooling", "spooling"]

_SOON = RetrySchedule(delays_seconds=(0.05,), for_ever=True)


@dataclass(frozen=True)
class Spooling:
    folder: Path
    engine: Engine

    async def accept(self, *mails: Mail) -> None:
        await asyncio.gather(*(self.engine.accept(mail, {"destination": (0,)}) for mail in mails))

    def rows(self, what: str, table: str = "delivery") -> list[tuple[Any, ...]]:
        # Never by the sqlite3 module: two copies of SQLite in one process take each other's locks away.
        database = apsw.Connection(str(self.folder / "spool.db"))
        database.set_busy_timeout(10_000)
        try:
            return sorted(database.execute(f"SELECT {what} FROM {table}"))
        finally:
            database.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  # another thread commits
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Return when nothing is left to be delivered."""
        await self.until(lambda: not self.rows("id", "message"))


@asynccontextmanager
async def spooling(
    folder: Path, kind: ConnectorType[Any], connector: Connector, *, retries: RetrySchedule = _SOON
) -> AsyncIterator[Spooling]:
    """An engine that delivers to `connector`, which is open, what is accepted for it."""
    spool = Spool.open(folder)
    engine = Engine(spool)
    await engine.start()
    destination = Destination(
        connector,
        name="destination",
        metadata="preserve",
        deadline_seconds=30,
        max_in_flight=kind.max_in_flight,
        retries=retries,
    )
    await engine.assign({"destination": destination}, Notices(hostname="mx.example.org", via=lambda _: ""))
    try:
        yield Spooling(folder, engine)
    finally:
        await engine.stop(seconds=5)
        await spool.close()
