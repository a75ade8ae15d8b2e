"""The spool as the delivery engine uses it: what is awaited here has happened on stable storage."""

import errno
import os
import threading
import time
from functools import partial
from pathlib import Path

import apsw
import structlog

from gateway.envelope import Content, Mail
from gateway.spool import operations
from gateway.spool.content_files import INLINE_OCTETS, ORPHAN_SECONDS, ContentFiles, is_intact
from gateway.spool.database import open_database
from gateway.spool.entry import Claim, Damage, Entry, NewMessage, Settlement, State
from gateway.spool.lock import SpoolError, lock
from gateway.spool.operations import Due
from gateway.spool.writer import Writer
from gateway.threads import in_thread

__all__ = ["Spool"]

# How soon something that the system could not do (no descriptors left) is tried again.
_LATER_SECONDS = 5.0

_log = structlog.get_logger("mailsluice.spool")


class Spool:
    """The spool in one directory, which belongs to this process until `close`. Make one with `Spool.open`."""

    def __init__(self, directory: Path, lock_: int) -> None:
        self._directory = directory
        self._lock = lock_
        self._files = ContentFiles(directory / "content")
        self._writer = Writer(self._connect)

    @classmethod
    def open(cls, directory: Path) -> "Spool":
        """Take the spool in `directory`, which is made where it does not exist. Raises SpoolError."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = lock(directory)
            try:
                spool = cls(directory, held)
            except BaseException:
                os.close(held)
                raise
        except OSError as error:
            raise SpoolError(f"the spool directory {directory} cannot be written to: {error.strerror}") from error
        except apsw.Error as error:
            raise SpoolError(f"the spool's database {directory / 'spool.db'} cannot be opened: {error}") from error
        return spool

    async def recover(self, now: float) -> int:
        """Let interrupted attempts be made again, remove orphaned content, and say how many attempts there were.

        Call it once, before anything is claimed. Raises OSError.
        """
        interrupted = await self._writer.run(lambda connection: operations.put_back_attempted(connection, now))
        await self.remove_orphans()
        return interrupted

    async def remove_orphans(self) -> None:
        """Remove the content files that a crash left without a message. Raises OSError."""
        names = await in_thread(lambda _: self._files.old_names())
        if names:
            known = await self._writer.run(lambda connection: operations.known_ids(connection, names))
            for name in names:
                if name not in known:
                    self._files.remove(name)
                    _log.info("content without a message was removed", id=name)

    async def add(self, message: NewMessage) -> tuple[Entry, ...]:
        """Store a message; what it holds is then safe. Returns the deliveries whose first attempt is recorded.

        Only content of at most INLINE_OCTETS can be attempted at once. Raises OSError: then nothing was stored.
        """
        mail = message.mail
        id_ = mail.envelope.id
        is_file = mail.content.size > INLINE_OCTETS
        begun = time.monotonic()
        if is_file:
            await in_thread(partial(self._store, id_, mail.content))

        def add(connection: apsw.Connection) -> operations.Added:
            if is_file and time.monotonic() - begun > ORPHAN_SECONDS / 2:
                raise OSError(errno.ETIMEDOUT, "storing the content took so long that it may be taken for an orphan")
            return operations.add(connection, message)

        try:
            added = await self._writer.run(add, undo=lambda connection: operations.remove(connection, id_))
        except OSError:
            if is_file:
                self._files.remove(id_)
            raise
        content = Content(mail.content.read()) if added.attempted else mail.content
        return tuple(
            Entry(
                message=added.number,
                connector=delivery.connector,
                mail=Mail(mail.envelope, content).for_recipients(delivery.recipients),
                recipients=delivery.recipients,
                attempts=1,
            )
            for delivery in message.deliveries
            if delivery.connector in added.attempted
        )

    async def claim(self, connector: str, *, now: float, limit: int, octets: int) -> Claim:
        """Record an attempt for deliveries of `connector` that are due, oldest first, and hand them out.

        At most `limit`, with at most `octets` of content in memory beyond the first. Raises OSError.
        """
        claimed = await self._writer.run(
            lambda connection: operations.claim(connection, connector, now=now, limit=limit, octets=octets)
        )
        entries: list[Entry] = []
        damaged = list(claimed.damaged)
        for due in claimed.due:
            try:
                mail = await self._mail(due)
            except FileNotFoundError:
                damaged.append(await self._quarantine(due, connector, "the file of the content is not there"))
            except ValueError as error:
                damaged.append(await self._quarantine(due, connector, str(error)))
            except OSError as error:
                await self._put_off(due, connector, now, error)
            else:
                entries.append(_entry(due, connector, mail))
        return Claim(entries=tuple(entries), damaged=tuple(damaged), next_due=claimed.next_due)

    async def settle(self, settlement: Settlement) -> None:
        """Record what became of an attempt. Raises OSError: then nothing was recorded, and it may be said again."""
        large = {
            mail.envelope.id: mail.content
            for mail in (each.message.mail for each in settlement.notifications)
            if mail.content.size > INLINE_OCTETS
        }
        for id_, content in large.items():
            await in_thread(partial(self._store, id_, content))

        def undo(connection: apsw.Connection) -> None:
            for each in settlement.notifications:
                operations.remove(connection, each.message.mail.envelope.id)

        try:
            settled = await self._writer.run(lambda connection: operations.settle(connection, settlement), undo=undo)
        except OSError:
            for id_ in large:
                self._files.remove(id_)
            raise
        for id_ in (*settled.files, *(large.keys() - settled.notified)):
            self._files.remove(id_)

    async def pause(self, connector: str, now: float, cause: str) -> None:
        """Note that `connector` is to have nothing until an operator says so. Raises OSError."""
        await self._writer.run(lambda connection: operations.pause(connection, connector, now, cause))

    async def paused(self) -> frozenset[str]:
        """The connectors that are paused. Raises OSError."""
        return await self._writer.run(operations.paused)

    async def connectors(self) -> frozenset[str]:
        """The connectors for which something waits. Raises OSError."""
        return await self._writer.run(operations.connectors)

    async def changes(self) -> int:
        """A number that another process changes when it writes to the spool. Raises OSError."""
        return await self._writer.run(lambda connection: int(connection.pragma("data_version")))

    async def close(self) -> None:
        """Commit what was handed over, and let another process have the spool."""
        await self._writer.close()
        os.close(self._lock)

    def _connect(self, damaged: bool) -> apsw.Connection:  # noqa: FBT001  # the writer says it so
        return open_database(self._directory / "spool.db")

    def _store(self, id_: str, content: Content, _abandoned: threading.Event) -> None:
        self._files.store(id_, content)

    async def _mail(self, due: Due) -> Mail:
        if not due.is_file:
            return due.mail
        return await in_thread(lambda _: self._open(due.mail))

    def _open(self, mail: Mail) -> Mail:
        content = self._files.open(mail.envelope.id)
        if not is_intact(content, mail.envelope.message.sha256):
            content.close()
            raise ValueError("the content is not the one that was stored: its SHA-256 differs")
        return Mail(mail.envelope, content)

    async def _quarantine(self, due: Due, connector: str, cause: str) -> Damage:
        await self.settle(
            Settlement(
                message=due.message,
                connector=connector,
                state=State.QUARANTINED,
                attempts=due.attempts - 1,
                possible_duplicate=due.possible_duplicate,
                cause=cause,
            )
        )
        return Damage(message=due.message, connector=connector, cause=cause)

    async def _put_off(self, due: Due, connector: str, now: float, error: OSError) -> None:
        _log.error("spooled content cannot be opened", id=due.mail.envelope.id, connector=connector, cause=str(error))
        await self.settle(
            Settlement(
                message=due.message,
                connector=connector,
                state=State.WAITING,
                due=now + _LATER_SECONDS,
                attempts=due.attempts - 1,
                possible_duplicate=due.possible_duplicate,
                cause=str(error),
            )
        )


def _entry(due: Due, connector: str, mail: Mail) -> Entry:
    return Entry(
        message=due.message,
        connector=connector,
        mail=mail,
        recipients=due.recipients,
        attempts=due.attempts,
        possible_duplicate=due.possible_duplicate,
    )
