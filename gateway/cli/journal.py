"""The journal of a replay: which stored mails its destination has acknowledged, so that nobody sends them again.

It is a SQLite file, for any number of mails takes no memory, and a kill in the middle of a write leaves it as it was.
What is recorded is on stable storage when `record` returns. A journal belongs to one replay: from where, to which
connector, under which recipients. Under another one its places would stand for other mails, or for other recipients.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from gateway.directories import sync_directory

__all__ = ["Journal", "JournalError"]

# "MSLJ"
_APPLICATION_ID = 0x4D534C4A
_TABLES = """
CREATE TABLE IF NOT EXISTS replay (description TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS acknowledged (place TEXT PRIMARY KEY, refused TEXT NOT NULL) WITHOUT ROWID;
"""


class JournalError(Exception):
    """The journal cannot be used. The text says why, and what to do."""


class Journal:
    """An open journal; any thread may use it. Close it by leaving it as a context."""

    def __init__(self, path: Path, replay: str) -> None:
        """Open the journal at `path`, or make it; `replay` describes the replay it belongs to. Raises JournalError."""
        self._path = path
        self._lock = threading.Lock()
        try:
            if not path.exists():
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            # Whoever made it may have been killed before it was safe.
            sync_directory(path.parent)
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                self._prepare(replay)
            except BaseException:
                self._connection.close()
                raise
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be written: {error.strerror}") from error
        except apsw.BusyError as error:
            raise JournalError(f"the journal {path} is in use by another replay; wait until it has ended") from error
        except apsw.NotADBError as error:
            raise JournalError(f"{path} is no journal of a replay; give the name of a new file") from error
        except apsw.Error as error:
            raise JournalError(f"the journal {path} cannot be used: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._connection.close()

    def refused(self, place: str) -> tuple[int, ...] | None:
        """The positions of the recipients for whom the mail at `place` was refused: none, where it was acknowledged.

        None where nothing is recorded of it. Raises JournalError.
        """
        with self._lock:
            try:
                row = self._connection.execute("SELECT refused FROM acknowledged WHERE place = ?", (place,)).fetchone()
            except apsw.Error as error:
                raise JournalError(f"the journal {self._path} cannot be read: {error}") from error
        return None if row is None else tuple(map(int, str(row[0]).split()))

    def record(self, acknowledged: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Record places, each with the positions of the recipients who were refused. Raises JournalError."""
        rows = [(place, " ".join(map(str, refused))) for place, refused in acknowledged]
        with self._lock:
            try:
                with _transaction(self._connection):
                    self._connection.executemany("INSERT OR REPLACE INTO acknowledged VALUES (?, ?)", rows)
            except apsw.Error as error:
                raise JournalError(
                    f"the journal {self._path} cannot be written: {error}; mend that and give the command again, which "
                    "delivers the rest, and may deliver those that were under way twice"
                ) from error

    def _prepare(self, replay: str) -> None:
        connection = self._connection
        # Nobody else may look in between: two replays would each send what the other one does.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        found = connection.pragma("application_id")
        if found != _APPLICATION_ID and connection.pragma("schema_version"):
            raise JournalError(f"{self._path} is a database, but no journal of a replay; give the name of a new file")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            connection.pragma("application_id", _APPLICATION_ID)
            connection.execute(_TABLES)
            row = connection.execute("SELECT description FROM replay").fetchone()
            if row is None:
                connection.execute("INSERT INTO replay VALUES (?)", (replay,))
            elif row[0] != replay:
                raise JournalError(
                    f"the journal {self._path} is that of another replay, {row[0]}, and this one is {replay}; "
                    "give the name of a new file"
                )


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Where the disk is full, SQLite has done so already, and would say that there is nothing to roll back.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
