"""One thread that owns the database and commits in groups: what comes while one commit runs goes into the next.

What one turn of the event loop wants comes to the thread together, what is patient with whatever is committed next.

An operation is a function of the connection, or one that is done for many at once (`Joint`). Its result is told only
after the commit that holds it has returned. When a commit fails, everything in its group has failed. A failed read,
write or sync is final for that connection: it is closed, and a new one first brings the whole log into the database
(`gateway.spool.database`) and takes back what the group had added, before anybody hears of the failure.

Between the groups the thread copies the log into the database and gives free space back to the file system.
"""

import asyncio
import errno
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import apsw
import structlog

from gateway.spool.database import abandon
from gateway.spool.reserve import Reserve
from gateway.turns import AT_ONCE

__all__ = ["Joint", "Operation", "Writer"]

T = TypeVar("T")

Operation = Callable[[apsw.Connection], T]

# Where a group ends that more could be added to.
_GROUP = 512
# How long what nobody waits for lies, so that it goes with a commit that is made anyway.
_PATIENCE_SECONDS = 0.01
_REOPEN_SECONDS = 1.0
_LONGEST_REOPEN_SECONDS = 60.0
# How many pages the log may have before it is copied when nobody waits, and before it is all the same.
_LOG_PAGES = 1_000
_LONG_LOG_PAGES = 4_000
# The file shrinks while more than half of it is free, and more than this, by so many pages at once.
_FREE_PAGES = 4_096
_PAGES_AT_ONCE = 256

_log = structlog.get_logger("mailsluice.spool")


class Joint(NamedTuple, Generic[T]):
    """One of the things that `function` does for many at once: it gets them all, and gives a result for each, in order.

    Each statement gives up and asks for the interpreter's lock, which costs more than what most of them do.
    """

    function: Callable[[apsw.Connection, Sequence[Any]], Sequence[T]]
    argument: Any


class _Wanted:
    """An operation, and the future of whoever waits for it: another one, once that one has been cancelled."""

    __slots__ = ("fills", "future", "operation", "undo")

    operation: Any

    def __init__(
        self,
        operation: Operation[Any] | Joint[Any],
        undo: Operation[None] | None,
        future: asyncio.Future[Any],
        *,
        fills: bool,
    ) -> None:
        self.operation = operation
        self.undo = undo
        self.fills = fills
        self.future = future


class _Done(NamedTuple):
    wanted: _Wanted
    result: Any
    error: BaseException | None


class Writer:
    """Runs operations from one event loop, in order but for those that are patient.

    `connect` opens the database, again after each failure of it, and is told whether it was found to be damaged.
    """

    def __init__(self, connect: Callable[[bool], apsw.Connection], reserve: Reserve) -> None:
        self._reserve = reserve
        self._connect = connect
        self._connection: apsw.Connection | None = None
        self._damaged = False
        self._reopen_at = 0.0
        self._reopen_seconds = _REOPEN_SECONDS
        self._log_pages = 0
        self._copied_log_pages = 0
        self._may_have_free_pages = True
        self._loop = asyncio.get_running_loop()
        self._gathered: list[_Wanted] = []
        self._wanted: queue.SimpleQueue[list[_Wanted] | None] = queue.SimpleQueue()
        self._patient: deque[_Wanted] = deque()
        self._patience: asyncio.TimerHandle | None = None
        self._closed = False
        # Groups that failed and could not be taken back yet.
        self._undone: list[Operation[None]] = []
        self._use(connect(False))
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    async def run(
        self,
        operation: Operation[T] | Joint[T],
        *,
        undo: Operation[None] | None = None,
        fills: bool = False,
        patient: bool = False,
    ) -> T:
        """What `operation` returns, once it is committed. One that `fills` the spool is refused on a full disk.

        One that is `patient` goes with the next commit that is made anyway, or ten milliseconds later.

        Raises OSError when it cannot be: ENOSPC for a full disk, EBUSY where another process holds the database for
        long, ESHUTDOWN after `close`, EIO for everything else. `undo` then takes back what may be there all the same.
        What was handed over, happens: a cancellation comes through at the next `await`, and whoever wanted the
        operation gets to know its result before.
        """
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the spool is closed")
        wanted = _Wanted(operation, undo, self._loop.create_future(), fills=fills)
        if patient:
            self._patient.append(wanted)
            if self._patience is None:
                self._patience = self._loop.call_later(_PATIENCE_SECONDS, self._lose_patience)
        else:
            self._gather(wanted)
        try:
            return await wanted.future  # type: ignore[no-any-return]  # the operation's own result
        except asyncio.CancelledError:
            if wanted.future.cancelled():
                wanted.future = self._loop.create_future()
            await _outlast(wanted.future)
            return wanted.future.result()  # type: ignore[no-any-return]  # the operation's own result

    async def close(self) -> None:
        """Commit what was handed over, and close the database. Whatever comes later fails."""
        self._closed = True
        self._lose_patience()
        self._hand_over()
        self._wanted.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            self._tidy_up()
            wanted, open_ = self._next_group()
            with suppress(IndexError):
                # Until there are no more; asking for that first would be too early, for another thread takes them too.
                while True:
                    wanted.append(self._patient.popleft())
            if wanted:
                done = self._commit(wanted)
                self._loop.call_soon_threadsafe(_tell, self._loop, done)
        if self._connection is not None:
            with suppress(apsw.Error):
                # What could not be copied out of the log, the next start does.
                self._connection.close(force=True)

    def _next_group(self) -> tuple[list[_Wanted], bool]:
        """What came since the last group, or what comes next; False with the last of all."""
        group: list[_Wanted] = []
        while (some := self._wanted.get()) is not None:
            group += some
            if len(group) >= _GROUP or self._wanted.empty():
                return group, True
        return group, False

    # In the event loop

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        with suppress(IndexError):
            # The others go with the first of them. What the thread has taken in the meantime is on its way.
            self._gather(self._patient.popleft())

    def _gather(self, wanted: _Wanted) -> None:
        # Together with all that comes in this turn of the loop. A thread that is woken for each of them takes the
        # interpreter from those that are still to come.
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(wanted)

    def _hand_over(self) -> None:
        if self._gathered:
            self._wanted.put(self._gathered)
            self._gathered = []

    # Committing

    def _commit(self, group: Sequence[_Wanted], *, again: bool = True) -> list[_Done]:
        connection = self._usable_connection()
        if connection is None:
            return _failed(group, errno.EIO, "the spool's database cannot be opened")
        if any(each.fills for each in group) and not self._reserve.is_whole():
            refused = [each for each in group if each.fills]
            done = _failed(refused, errno.ENOSPC, "no space for the spool: what it holds is delivered first")
            rest = [each for each in group if not each.fills]
            return done + self._commit(rest) if rest else done
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = _results(connection, group)
            connection.execute("COMMIT")
        except apsw.FullError as error:
            self._roll_back()
            if self._reserve.use():
                # A log that has been copied is used from its beginning again.
                self._copy_log()
                return self._commit(group)
            return _failed(group, errno.ENOSPC, f"no space for the spool's database: {error}")
        except apsw.BusyError as error:
            self._roll_back()
            return _failed(group, errno.EBUSY, f"another process holds the spool's database: {error}")
        except apsw.Error as error:
            if not isinstance(error, apsw.ConstraintError):
                # Whatever else it is, the next group begins with a connection that knows nothing of it.
                self._undone += [each.undo for each in group if each.undo is not None]
                self._abandon(error)
                if again and self._connection is not None and _is_damage(error):
                    # There is another database now, which holds all but what was damaged.
                    return self._commit(group, again=False)
                return _failed(group, errno.EIO, f"the spool's database: {error}")
            return self._commit_apart(group, error)
        except Exception as error:  # noqa: BLE001  # a defect is its operation's, and told to whoever wanted it
            return self._commit_apart(group, error)
        return [_Done(each, result, None) for each, result in zip(group, results, strict=True)]

    def _commit_apart(self, group: Sequence[_Wanted], defect: Exception) -> list[_Done]:
        """A defect in one operation is no reason for the others to fail."""
        self._roll_back()
        if len(group) == 1:
            return [_Done(group[0], None, defect)]
        return [done for each in group for done in self._commit([each])]

    def _roll_back(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            self._abandon(error)

    # The connection

    def _usable_connection(self) -> apsw.Connection | None:
        if self._connection is None and time.monotonic() >= self._reopen_at:
            self._reopen()
        return self._connection

    def _abandon(self, error: apsw.Error) -> None:
        _log.error("the spool's database failed and is opened again", cause=str(error))
        self._damaged |= _is_damage(error)
        if self._connection is not None:
            abandon(self._connection)
            self._connection = None
        self._reopen()

    def _reopen(self) -> None:
        connection: apsw.Connection | None = None
        try:
            connection = self._connect(self._damaged)
            with connection:
                for undo in self._undone:
                    undo(connection)
        except Exception as error:  # noqa: BLE001  # a spool that cannot be opened is told to every client until it can
            _log.error("the spool's database cannot be opened", cause=str(error))
            self._damaged |= _is_damage(error)
            if connection is not None:
                abandon(connection)
            self._reopen_at = time.monotonic() + self._reopen_seconds
            self._reopen_seconds = min(2 * self._reopen_seconds, _LONGEST_REOPEN_SECONDS)
            return
        self._undone.clear()
        self._damaged = False
        self._reopen_seconds = _REOPEN_SECONDS
        self._use(connection)

    def _use(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._log_pages = self._copied_log_pages = 0
        connection.set_wal_hook(self._note_log)

    def _note_log(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._copied_log_pages:
            self._copied_log_pages = 0
        self._log_pages = pages
        return apsw.SQLITE_OK

    # Between the groups

    def _tidy_up(self) -> None:
        if self._log_pages - self._copied_log_pages > (_LOG_PAGES if self._wanted.empty() else _LONG_LOG_PAGES):
            self._copy_log()
        while self._may_have_free_pages and self._wanted.empty():
            self._may_have_free_pages = self._give_space_back()

    def _copy_log(self) -> None:
        """Copy the log into the database and sync it there. What a reader still needs is copied the next time."""
        if self._connection is None:
            return
        try:
            # Where that fails for want of space or because another process does it just now, the log holds it still.
            with suppress(apsw.FullError, apsw.BusyError):
                self._connection.wal_checkpoint()
        except apsw.Error as error:
            self._abandon(error)
        self._copied_log_pages = self._log_pages
        # Looked at now and then, not for each group: there is no hurry with it.
        self._may_have_free_pages = True

    def _give_space_back(self) -> bool:
        """One step of it, and whether there is another."""
        if self._connection is None:
            return False
        try:
            free, pages = self._connection.pragma("freelist_count"), self._connection.pragma("page_count")
            if free < _FREE_PAGES or 2 * free < pages:
                return False
            list(self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})"))
        except (apsw.FullError, apsw.BusyError):
            return False
        except apsw.Error as error:
            self._abandon(error)
            return False
        if self._log_pages - self._copied_log_pages > _LOG_PAGES:
            self._copy_log()
        return True


def _results(connection: apsw.Connection, group: Sequence[_Wanted]) -> list[Any]:
    results: list[Any] = []
    # Those that can be done together stand together as a rule: what is accepted comes first, what is patient last.
    for function, some in groupby(group, _joint_function):
        if function is None:
            results += [each.operation(connection) for each in some]
        else:
            results += function(connection, [each.operation.argument for each in some])
    return results


def _joint_function(wanted: _Wanted) -> Callable[..., Sequence[Any]] | None:
    return wanted.operation.function if isinstance(wanted.operation, Joint) else None


def _is_damage(error: Exception) -> bool:
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def _failed(group: Sequence[_Wanted], number: int, text: str) -> list[_Done]:
    return [_Done(each, None, OSError(number, text)) for each in group]


async def _outlast(future: asyncio.Future[Any]) -> None:
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    task = asyncio.current_task()
    if task is not None:
        # Not counted twice, or a time limit further up would not know that it was its own.
        task.uncancel()
        task.cancel()


def _tell(loop: asyncio.AbstractEventLoop, done: list[_Done]) -> None:
    # Whoever is told goes on in the next turn of the loop; others want to be heard before all have.
    if later := done[AT_ONCE:]:
        loop.call_soon(_tell, loop, later)
    for wanted, result, error in done[:AT_ONCE]:
        if wanted.future.cancelled():
            # Whoever was cancelled has not been told so yet, and asks for what became of it.
            wanted.future = loop.create_future()
        if error is None:
            wanted.future.set_result(result)
        else:
            wanted.future.set_exception(error)
