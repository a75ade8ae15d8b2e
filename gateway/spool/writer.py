"""One thread that owns the database and commits in groups: what comes while one commit runs goes into the next.

An operation is a function of the connection. Its result is told only after the commit that holds it has returned. When
a commit fails, everything in its group has failed. A failed read, write or sync is final for that connection: it is
closed, and a new one first brings the whole log into the database (`gateway.spool.database`) and takes back what the
group had added, before anybody hears of the failure.
"""

import asyncio
import errno
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import apsw
import structlog

__all__ = ["Operation", "Writer"]

T = TypeVar("T")

Operation = Callable[[apsw.Connection], T]

_GROUP = 512
_REOPEN_SECONDS = 1.0

_log = structlog.get_logger("mailsluice.spool")


class _Wanted(NamedTuple):
    operation: Operation[Any]
    undo: Operation[None] | None
    future: asyncio.Future[Any]


class _Done(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class Writer:
    """Runs operations in order, from one event loop.

    `connect` opens the database, again after each failure of it, and is told whether it was found to be damaged.
    """

    def __init__(self, connect: Callable[[bool], apsw.Connection]) -> None:
        self._connect = connect
        self._connection: apsw.Connection | None = connect(False)
        self._damaged = False
        self._reopen_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._wanted: queue.SimpleQueue[_Wanted | None] = queue.SimpleQueue()
        # Groups that failed and could not be taken back yet.
        self._undone: list[Operation[None]] = []
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[T], *, undo: Operation[None] | None = None) -> T:
        """What `operation` returns, once it is committed.

        Raises OSError when it cannot be: ENOSPC for a full disk, EIO for everything else. `undo` then takes back what
        may be there all the same. What was handed over, happens: a cancellation comes through at the next `await`, and
        whoever wanted the operation gets to know its result before.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self._wanted.put(_Wanted(operation, undo, future))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _outlast(future)
            return future.result()  # type: ignore[no-any-return]  # the operation's own result

    async def close(self) -> None:
        """Commit what was handed over, and close the database."""
        self._wanted.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        open_ = True
        while open_:
            group = [self._wanted.get()]
            while len(group) < _GROUP and not self._wanted.empty():
                group.append(self._wanted.get())
            open_ = None not in group
            wanted = [each for each in group if each is not None]
            if wanted:
                done = self._commit(wanted)
                self._loop.call_soon_threadsafe(_tell, done)
        if self._connection is not None:
            self._close(self._connection)

    def _commit(self, group: Sequence[_Wanted]) -> list[_Done]:
        connection = self._usable_connection()
        if connection is None:
            failure = OSError(errno.EIO, "the spool's database cannot be opened")
            return [_Done(each.future, None, failure) for each in group]
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [each.operation(connection) for each in group]
            connection.execute("COMMIT")
        except apsw.FullError as error:
            self._roll_back(connection)
            failure = OSError(errno.ENOSPC, f"no space for the spool's database: {error}")
        except apsw.Error as error:
            # Whatever else it is, the next group begins with a connection that knows nothing of it.
            self._abandon(group, error)
            failure = OSError(errno.EIO, f"the spool's database: {error}")
        except Exception as error:  # noqa: BLE001  # a defect is its operation's, and told to whoever wanted it
            self._roll_back(connection)
            if len(group) > 1:
                # A defect in one of them is no reason for the others to fail.
                return [done for each in group for done in self._commit([each])]
            return [_Done(group[0].future, None, error)]
        else:
            return [_Done(each.future, result, None) for each, result in zip(group, results, strict=True)]
        return [_Done(each.future, None, failure) for each in group]

    def _usable_connection(self) -> apsw.Connection | None:
        if self._connection is None and time.monotonic() >= self._reopen_at:
            self._reopen()
        return self._connection

    def _roll_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _abandon(self, group: Sequence[_Wanted], error: BaseException) -> None:
        _log.error("the spool's database failed and is opened again", cause=str(error))
        self._damaged |= isinstance(error, apsw.CorruptError | apsw.NotADBError)
        self._undone += [each.undo for each in group if each.undo is not None]
        if self._connection is not None:
            self._close(self._connection)
            self._connection = None
        self._reopen()

    def _reopen(self) -> None:
        try:
            connection = self._connect(self._damaged)
        except Exception as error:  # noqa: BLE001  # a spool that cannot be opened is told to every client until it can
            self._reopen_at = time.monotonic() + _REOPEN_SECONDS
            _log.error("the spool's database cannot be opened", cause=str(error))
            return
        try:
            with connection:
                for undo in self._undone:
                    undo(connection)
        except apsw.Error as error:
            self._reopen_at = time.monotonic() + _REOPEN_SECONDS
            _log.error("the spool's database cannot be written", cause=str(error))
            self._close(connection)
            return
        self._undone.clear()
        self._damaged = False
        self._connection = connection

    def _close(self, connection: apsw.Connection) -> None:
        try:
            connection.close(force=True)
        except apsw.Error as error:
            _log.error("the spool's database could not be closed in order", cause=str(error))


async def _outlast(future: asyncio.Future[Any]) -> None:
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    task = asyncio.current_task()
    if task is not None:
        # Not counted twice, or a time limit further up would not know that it was its own.
        task.uncancel()
        task.cancel()


def _tell(done: list[_Done]) -> None:
    for future, result, error in done:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
