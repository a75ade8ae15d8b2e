"""The database of a spool: its tables, its format version, and the way it is opened.

Durability is SQLite's: a write-ahead log, synced at every commit (`synchronous=FULL`). Whatever the log holds when the
database is opened is first copied into the database and synced there: after a failed sync the system may show pages
that the disk does not have, and commits that came after such pages would be lost with them. For the same reason a
connection that has failed is closed as it is (`abandon`), and its log left to the next one.
"""

import os
import threading
from contextlib import closing, suppress
from pathlib import Path

import apsw

from gateway.directories import sync_directory
from gateway.spool.lock import SpoolError
from gateway.spool.log_damage import has_hidden_transactions

__all__ = ["FORMAT", "PAGE_OCTETS", "abandon", "connect", "find_damage", "first_page", "open_database"]

# "MSLP"
_APPLICATION_ID = 0x4D534C50

PAGE_OCTETS = 4096
_BUSY_MILLISECONDS = 10_000
_CACHE_KIBIBYTES = 16_384
_STEPS_OF_A_CHECK = 10_000
_LOG_OCTETS = 16 * 1024 * 1024

# Numbers are never given again (AUTOINCREMENT): what is said late about a message that is gone must not hit another.
_TABLES = """
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    accepted_at REAL NOT NULL,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    content BLOB
);
CREATE TABLE delivery (
    message INTEGER NOT NULL,
    connector TEXT NOT NULL,
    recipients TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    ordering_key BLOB,
    state TEXT NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT '',
    cause TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, connector)
) WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (connector, due, message) WHERE state = 'waiting';
CREATE INDEX delivery_order ON delivery (connector, ordering_key, message) WHERE ordering_key IS NOT NULL;
CREATE TABLE paused (
    connector TEXT PRIMARY KEY,
    since REAL NOT NULL,
    cause TEXT NOT NULL
) WITHOUT ROWID;
"""

# What was one delivery becomes several when the destination refuses some of its recipients for good and not others. The
# part is 0 for the delivery as it was accepted; others have a number that no message and no other part ever has.
_PARTS = """
ALTER TABLE delivery RENAME TO whole_delivery;
CREATE TABLE delivery (
    message INTEGER NOT NULL,
    connector TEXT NOT NULL,
    part INTEGER NOT NULL,
    recipients TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    ordering_key BLOB,
    state TEXT NOT NULL,
    due REAL NOT NULL,
    attempts INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT '',
    cause TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, connector, part)
) WITHOUT ROWID;
INSERT INTO delivery
    SELECT message, connector, 0, recipients, checksum, ordering_key, state, due, attempts, possible_duplicate, status,
        cause FROM whole_delivery;
DROP TABLE whole_delivery;
CREATE INDEX delivery_due ON delivery (connector, due, message) WHERE state = 'waiting';
CREATE INDEX delivery_order ON delivery (connector, ordering_key, message) WHERE ordering_key IS NOT NULL;
"""

# From each format to the next, the first from nothing. A database of an older format goes through those that it lacks,
# in one transaction: a crash in the middle leaves it as it was.
_STEPS = (_TABLES, _PARTS)
FORMAT = len(_STEPS)


def open_database(path: Path) -> apsw.Connection:
    """The database at `path`, for its owner; made where there is none.

    Raises SpoolError for a file that is no spool or of a newer format, OSError, and apsw.Error for what SQLite says.
    """
    if not path.exists():
        # SQLite would let others read it, where the directory does; its further files take after this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # Its name may be there from before, and whoever gave it may have come no further.
    sync_directory(path.parent)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        # First of all: nothing is done to a file that is none of ours.
        older = _format(connection, path) < FORMAT
        _configure(connection)
        if older:
            _migrate(connection, path)
        # On a full disk, or while another process copies it, the log is left as it is: it holds the mail as well.
        with suppress(apsw.FullError, apsw.BusyError):
            frames, _ = connection.wal_checkpoint()
            _check_log(path, frames)
    except BaseException:
        abandon(connection)
        raise
    return connection


def _check_log(path: Path, frames: int) -> None:
    log = path.with_name(path.name + "-wal")
    if log.exists() and has_hidden_transactions(log, frames, page_octets=PAGE_OCTETS):
        raise apsw.CorruptError("the log is damaged in the middle")


def connect(path: Path) -> apsw.Connection:
    """The database at `path` beside its owner, to look at and to ask things of it. Raises as `open_database`."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        older = _format(connection, path) < FORMAT
    except BaseException:
        connection.close(force=True)
        raise
    if older:
        connection.close()
        raise SpoolError(f"{path} was left by an older version; start the gateway once, which brings it up to date")
    return connection


def first_page(format_: int) -> bytes:
    """The first page of an empty database of that format: it says where the tables begin."""
    with closing(apsw.Connection(":memory:")) as connection:
        _configure(connection)
        _take_steps(connection, 0, format_)
        return connection.serialize("main")[:PAGE_OCTETS]


def abandon(connection: apsw.Connection) -> None:
    """Close a connection that has failed: nothing is copied out of the log, nor is the log removed."""
    with suppress(apsw.Error):
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close(force=True)


def find_damage(path: Path, abandoned: threading.Event) -> str:
    """What SQLite finds wrong in the whole database beside its owner, empty for nothing.

    It takes a while, and ends soon after `abandoned` is set. Raises SpoolError, and apsw.Error for what is no damage.
    """
    try:
        with closing(connect(path)) as connection:
            connection.set_progress_handler(abandoned.is_set, _STEPS_OF_A_CHECK)
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
            ((found,),) = connection.execute("PRAGMA integrity_check(1)")
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return str(error)
    return "" if found == "ok" else str(found)


def _configure(connection: apsw.Connection) -> None:
    # Only heeded before there are tables: deleted mail gives its space back to the file system piece by piece.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # The owner copies the log into the database when nobody waits, and gets to know when that fails.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_OCTETS}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
    connection.execute("PRAGMA cell_size_check = ON")


def _migrate(connection: apsw.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        _take_steps(connection, _format(connection, path), FORMAT)
    except apsw.ConstraintError as error:
        # The older tables had the same constraints: a row that does not keep them is not what was written.
        raise apsw.CorruptError(f"a row is damaged: {error}") from error
    connection.execute("COMMIT")


def _take_steps(connection: apsw.Connection, format_: int, to: int) -> None:
    for step in _STEPS[format_:to]:
        connection.execute(step)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {to}")


def _format(connection: apsw.Connection, path: Path) -> int:
    """The format of the tables that are there; 0 for an empty database."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == _APPLICATION_ID:
        if version > FORMAT:
            raise SpoolError(
                f"{path} has format {version}, of a newer mailsluice; this one knows formats up to {FORMAT}: "
                "run the newer one"
            )
        return int(version)
    if connection.pragma("schema_version"):
        raise SpoolError(f"{path} is no spool of mailsluice; move it away, or set another `spool`")
    return 0
