"""The database of a spool: its tables, its format version, and the way it is opened.

Durability is SQLite's: a write-ahead log, synced at every commit (`synchronous=FULL`). Whatever the log holds when the
database is opened is first copied into the database and synced there: after a failed sync the system may show pages
that the disk does not have, and commits that came after such pages would be lost with them.
"""

from pathlib import Path

import apsw

from gateway.spool.lock import SpoolError

__all__ = ["FORMAT", "connect", "open_database"]

# "MSLP"
_APPLICATION_ID = 0x4D534C50
FORMAT = 1

_BUSY_MILLISECONDS = 10_000
_CACHE_KIBIBYTES = 16_384

_TABLES = """
CREATE TABLE message (
    number INTEGER PRIMARY KEY,
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


def open_database(path: Path) -> apsw.Connection:
    """The database at `path`, for its owner; made where there is none.

    Raises SpoolError for a file that is no spool or of a newer format, and apsw.Error for what SQLite says.
    """
    connection = apsw.Connection(str(path))
    try:
        _configure(connection)
        with connection:
            _migrate(connection, path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def connect(path: Path) -> apsw.Connection:
    """The database at `path` beside its owner, to look at and to ask things of it. Raises as `open_database`."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        current = _is_current(connection, path)
    except BaseException:
        connection.close(force=True)
        raise
    if not current:
        connection.close()
        raise SpoolError(f"{path} was left by an older version; start the gateway once, which brings it up to date")
    return connection


def _configure(connection: apsw.Connection) -> None:
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    # Only heeded before there are tables: deleted mail gives its space back to the file system piece by piece.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")


def _migrate(connection: apsw.Connection, path: Path) -> None:
    if _is_current(connection, path):
        return
    connection.execute(_TABLES)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _is_current(connection: apsw.Connection, path: Path) -> bool:
    """Whether the tables of this format are there; False for an empty database."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application == _APPLICATION_ID and version == FORMAT:
        return True
    if application == _APPLICATION_ID:
        raise SpoolError(f"{path} has format {version}, of a newer mailsluice; this one knows formats up to {FORMAT}")
    if connection.pragma("schema_version"):
        raise SpoolError(f"{path} is no spool of mailsluice; move it away, or set another `spool`")
    return False
