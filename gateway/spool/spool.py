"""The spool as the delivery engine uses it: what is awaited here has happened on stable storage."""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import apsw
import structlog

from gateway.directories import make_directory
from gateway.envelope import Content, Mail
from gateway.spool import operations, salvage
from gateway.spool.content_files import INLINE_OCTETS, ContentFiles, id_of
from gateway.spool.database import find_damage, open_database
from gateway.spool.entry import Claim, Damage, Entry, NewMessage, Settlement
from gateway.spool.lock import SpoolError, lock
from gateway.spool.operations import Due
from gateway.spool.reserve import Reserve
from gateway.spool.rows import DamagedRowError, check_content
from gateway.spool.writer import Joint, Operation, Writer
from gateway.threads import in_thread

__all__ = ["Spool"]

# How soon something that the system could not do (no descriptors left) is tried again.
_LATER_SECONDS = 5.0
# Longer than any mail is on its way into the spool.
_ORPHAN_SECONDS = 3600.0

# A check of the whole database that was quick has nothing to tell.
_LONG_CHECK_SECONDS = 0.1

_log = structlog.get_logger("mailsluice.spool")


class Spool:
    """The spool in one directory, which belongs to this process until `close`. Make one with `Spool.open`."""

    def __init__(self, directory: Path, lock_: int) -> None:
        self._directory = directory
        self._path = directory / "spool.db"
        self._lock = lock_
        self._files = ContentFiles(directory / "content")
        # The files whose rows are not committed yet.
        self._storing: set[str] = set()
        # What is to be said about claimed deliveries, and could not be.
        self._corrections: list[Operation[None]] = []
        self._times_opened = 0
        self._reserve = Reserve(directory / "reserve")
        self._writer = Writer(self._connect, self._reserve)
        self._upkeep: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, directory: Path) -> "Spool":
        """Take the spool in `directory`, which is made where it does not exist. Raises SpoolError."""
        try:
            make_directory(directory.absolute())
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
        """Let interrupted attempts be made again, and say how many there were.

        Call it once, before anything is claimed. From then on, beside everything else, the whole database is checked,
        and every hour what crashes have left is removed. Raises OSError.
        """
        interrupted = await self._writer.run(lambda connection: operations.put_back_attempted(connection, now))
        self._upkeep = asyncio.get_running_loop().create_task(self._look_after())
        return interrupted

    async def remove_orphans(self, *, older_than_seconds: float = _ORPHAN_SECONDS) -> None:
        """Remove the content files that a crash left without a message. Raises OSError.

        Where a damaged database has been replaced, they may be all that is left of a mail, and go where it lies.
        """
        aside = salvage.content_aside(self._directory)
        groups = self._files.names_before(time.time() - older_than_seconds)
        # Files first, then messages: what comes in between is not listed.
        while names := await in_thread(lambda _: next(groups, ())):
            ids = {id_of(name) for name in names}
            # Looked at before the messages: one that is stored now may be among those when it is looked for later.
            # The age is by the clock, which may jump; whatever it says, neither is an orphan.
            storing = frozenset(self._storing)
            known = await self._writer.run(lambda connection, ids=ids: operations.known_ids(connection, ids))  # type: ignore[misc]  # ids is of this round
            for name in names:
                if name not in known and id_of(name) not in storing:
                    await in_thread(partial(self._discard, name, aside))
                    _log.info("content without a message was removed", file=name, to=str(aside or ""))

    async def add(self, message: NewMessage) -> tuple[Entry, ...]:
        """Store a message; what it holds is then safe. Returns the deliveries whose first attempt is recorded.

        Only content of at most INLINE_OCTETS can be attempted at once. Raises OSError: then nothing was stored.
        """
        mail = message.mail
        id_ = mail.envelope.id
        is_file = _is_large(mail)
        self._storing.add(id_)
        try:
            if is_file:
                if self._reserve.in_use:
                    await self._writer.run(lambda _: None, fills=True)
                await in_thread(partial(self._store, mail))
            added = await self._writer.run(
                Joint(operations.add, message),
                undo=lambda connection: operations.remove(connection, id_),
                fills=True,
            )
        except OSError:
            if is_file:
                await self._remove_files([id_])
            raise
        finally:
            self._storing.discard(id_)
        content = Content(mail.content.read()) if added.attempted else mail.content
        return tuple(
            Entry(
                message=added.number,
                connector=delivery.connector,
                mail=Mail(mail.envelope, content).for_recipients(delivery.recipients),
                recipients=delivery.recipients,
                attempts=1,
                is_ordered=delivery.ordering_key is not None,
            )
            for delivery in message.deliveries
            if delivery.connector in added.attempted
        )

    async def claim(self, connector: str, *, now: float, limit: int, octets: int, latest_first: bool = False) -> Claim:
        """Record an attempt for deliveries of `connector` that are due, and hand them out.

        Those that are due the longest come first, or those of the latest messages.

        At most `limit`, with at most `octets` in memory beyond the first. Raises OSError.
        """
        corrections = tuple(self._corrections)
        due: list[Due] = []

        def claim(connection: apsw.Connection) -> operations.Claimed:
            for correct in corrections:
                correct(connection)
            claimed = operations.claim(
                connection, connector, now=now, limit=limit, octets=octets, latest_first=latest_first
            )
            due[:] = claimed.due
            return claimed

        claimed = await self._writer.run(
            claim, undo=lambda connection: operations.take_back(connection, due, connector, now, "")
        )
        self._corrections = [each for each in self._corrections if each not in corrections]
        entries: list[Entry] = []
        damaged = list(claimed.damaged)
        next_due = claimed.next_due
        for each in claimed.due:
            try:
                mail = await self._mail(each)
            except DamagedRowError as error:
                damaged.append(await self._quarantine(each, connector, str(error)))
            except OSError as error:
                later = now + _LATER_SECONDS
                await self._put_off(each, connector, later, error)
                next_due = later if next_due is None else min(next_due, later)
            else:
                entries.append(_entry(each, connector, mail))
        return Claim(entries=tuple(entries), damaged=tuple(damaged), next_due=next_due)

    async def settle(self, settlement: Settlement, *, patient: bool = True) -> None:
        """Record what became of an attempt. Raises OSError: then it may have been recorded, and is to be said again.

        One that is `patient` waits a little for others to be recorded with.
        """
        large = [mail for mail in (each.message.mail for each in settlement.notifications) if _is_large(mail)]
        self._storing.update(mail.envelope.id for mail in large)
        try:
            for mail in large:
                await in_thread(partial(self._store, mail))
            gone = await self._writer.run(Joint(operations.settle, settlement), patient=patient)
        finally:
            self._storing.difference_update(mail.envelope.id for mail in large)
        # A file that is not wanted after all is an orphan: an earlier saying may have recorded that it is.
        await self._remove_files(gone)

    async def pause(self, connector: str, now: float, cause: str) -> None:
        """Note that `connector` is to have nothing until an operator says so. Raises OSError."""
        await self._writer.run(lambda connection: operations.pause(connection, connector, now, cause))

    async def paused(self) -> frozenset[str]:
        """The connectors that are paused. Raises OSError."""
        return await self._writer.run(operations.paused)

    async def connectors(self) -> frozenset[str]:
        """The connectors for which something waits. Raises OSError."""
        return await self._writer.run(operations.connectors)

    async def is_empty(self) -> bool:
        """Whether there is nothing in it, dead letters included. Raises OSError."""
        any_ = "SELECT EXISTS (SELECT 1 FROM message) OR EXISTS (SELECT 1 FROM delivery)"
        return await self._writer.run(lambda connection: list(connection.execute(any_)) == [(0,)])

    async def changes(self) -> int:
        """A number that changes when anything but the calls above has changed the spool. Raises OSError."""
        return await self._writer.run(
            lambda connection: (self._times_opened << 32) + int(connection.pragma("data_version"))
        )

    async def close(self) -> None:
        """Commit what was handed over, and let another process have the spool."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep])
        await self._writer.close()
        self._reserve.close()
        os.close(self._lock)

    def _connect(self, damaged: bool) -> apsw.Connection:  # noqa: FBT001  # the writer says it so
        connection = self._open_or_salvage(damaged)
        self._times_opened += 1
        return connection

    def _open_or_salvage(self, damaged: bool) -> apsw.Connection:  # noqa: FBT001  # as above
        if not damaged and not salvage.is_needed(self._directory):
            try:
                return open_database(self._path)
            except (apsw.CorruptError, apsw.NotADBError) as error:
                _log.error("the spool's database is damaged", cause=str(error))
        salvage.salvage(self._directory)
        return open_database(self._path)

    async def _look_after(self) -> None:
        await self._check()
        while True:
            try:
                await self.remove_orphans()
            except OSError as error:
                _log.error("what a crash may have left cannot be removed now", cause=str(error))
            await asyncio.sleep(_ORPHAN_SECONDS)

    async def _check(self) -> None:
        begun = time.monotonic()
        try:
            opened, damage = 0, ""
            # What is found in a database that was replaced meanwhile says nothing of the one in its place.
            while opened != self._times_opened:
                opened = self._times_opened
                damage = await in_thread(lambda abandoned: find_damage(self._path, abandoned))
            if damage:
                await self._writer.run(partial(self._report, apsw.CorruptError(damage), opened))
            elif (seconds := time.monotonic() - begun) > _LONG_CHECK_SECONDS:
                _log.info("the spool's database is intact", seconds=round(seconds, 3))
        except (OSError, SpoolError, apsw.Error) as error:
            _log.error("the spool was not checked to the end", cause=str(error))

    def _report(self, damage: apsw.CorruptError, opened: int, _connection: apsw.Connection) -> None:
        """Have the writer come upon the damage, unless it has by now."""
        if opened == self._times_opened:
            _log.error("alarm: the spool's database is damaged", cause=str(damage))
            raise damage

    async def _remove_files(self, ids: Sequence[str]) -> None:
        if ids:
            await in_thread(lambda _: self._files.remove(*ids))

    def _discard(self, name: str, aside: Path | None, _abandoned: threading.Event) -> None:
        self._files.discard(name, aside)

    def _store(self, mail: Mail, _abandoned: threading.Event) -> None:
        self._files.store(mail.envelope.id, mail.content)

    async def _mail(self, due: Due) -> Mail:
        if not due.is_file:
            return due.mail
        return await in_thread(lambda _: self._open(due.mail))

    def _open(self, mail: Mail) -> Mail:
        try:
            content = self._files.open(mail.envelope.id)
        except FileNotFoundError as error:
            raise DamagedRowError("the file of the content is not there") from error
        try:
            check_content(content, mail.envelope.message.sha256)
        except BaseException:
            content.close()
            raise
        return Mail(mail.envelope, content)

    async def _quarantine(self, due: Due, connector: str, cause: str) -> Damage:
        await self._correct(partial(operations.quarantine, due=due, connector=connector, cause=cause))
        return Damage(message=due.message, connector=connector, cause=cause)

    async def _put_off(self, due: Due, connector: str, later: float, error: OSError) -> None:
        _log.error("spooled content cannot be opened", id=due.mail.envelope.id, connector=connector, cause=str(error))
        await self._correct(
            partial(operations.take_back, claimed=[due], connector=connector, due=later, cause=str(error))
        )

    async def _correct(self, correction: Operation[None]) -> None:
        """Say of what was claimed and is not handed out why, now or with the next claim."""
        try:
            await self._writer.run(correction)
        except OSError as error:
            _log.error("the spool's database cannot be written", cause=str(error))
            self._corrections.append(correction)


def _is_large(mail: Mail) -> bool:
    return mail.content.size > INLINE_OCTETS


def _entry(due: Due, connector: str, mail: Mail) -> Entry:
    return Entry(
        message=due.message,
        connector=connector,
        part=due.part,
        mail=mail,
        recipients=due.recipients,
        attempts=due.attempts,
        possible_duplicate=due.possible_duplicate,
        is_ordered=due.is_ordered,
    )
