"""A damaged database is set aside, and what can still be read of it is carried over into a new one, row by row.

    quarantine/<time>/spool.db      the damaged database while it is being read, with its log
    quarantine/<time>/new.db        the new one while it is being written
    quarantine/<time>/damaged.db    the damaged one afterwards, for an expert
    quarantine/<time>/first-page    its first page, where that was not readable and had to be put in order
    quarantine/<time>/content/      files of content for which there is no row any more

A crash in the middle leaves no `spool.db` in its place: then it is begun again with what is in that quarantine.
"""

import os
import time
from contextlib import closing, suppress
from pathlib import Path

import apsw
import structlog

from gateway.directories import make_directory, sync_directory
from gateway.spool.carry_over import carry_over, has_deliveries
from gateway.spool.database import FORMAT, PAGE_OCTETS, abandon, first_page, open_database
from gateway.spool.log_damage import mend

__all__ = ["content_aside", "is_needed", "salvage"]

_DATABASE = "spool.db"
_LOG = "-wal"
_INDEX_OF_LOG = "-shm"

_log = structlog.get_logger("mailsluice.spool")


def is_needed(directory: Path) -> bool:
    """Whether the database of the spool is gone, although there was one: SQLite would begin an empty one unasked."""
    if _is_there(directory):
        return False
    log = directory / (_DATABASE + _LOG)
    has_content = any(True for _ in (directory / "content").iterdir())
    return _unfinished(directory) is not None or has_content or (log.exists() and log.stat().st_size > 0)


def salvage(directory: Path) -> None:
    """Put a new database in the place of the damaged one, with all that can still be read.

    Raises OSError and apsw.Error where the new one cannot be written; then nothing is lost, and it may be called again.
    """
    place = _unfinished(directory) or _new_place(directory)
    _log.error("alarm: the spool's database is damaged; what can be read is carried over", quarantine=str(place))
    damaged = place / _DATABASE
    # The database first: as long as it is in its place, its log is too.
    for suffix in ("", _LOG):
        with suppress(FileNotFoundError):
            (directory / (_DATABASE + suffix)).rename(place / (_DATABASE + suffix))
    (directory / (_DATABASE + _INDEX_OF_LOG)).unlink(missing_ok=True)
    sync_directory(place)
    sync_directory(directory)

    new = place / "new.db"
    for suffix in ("", _LOG, _INDEX_OF_LOG):
        (place / (new.name + suffix)).unlink(missing_ok=True)
    with closing(open_database(new)):
        pass
    source = _open_damaged(damaged)
    # It is synced once, at its end, and thrown away where that is not reached.
    target = apsw.Connection(str(new))
    try:
        target.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        carried = carry_over(source, target)
    finally:
        target.close(force=True)
        if source is not None:
            abandon(source)
    _sync_file(new)
    new.rename(directory / _DATABASE)
    sync_directory(directory)
    for suffix in ("", _LOG):
        with suppress(FileNotFoundError):
            (place / (_DATABASE + suffix)).rename(place / ("damaged.db" + suffix))
    (place / (_DATABASE + _INDEX_OF_LOG)).unlink(missing_ok=True)
    sync_directory(place)
    _log.error(
        "alarm: a damaged database was replaced",
        messages=carried.messages,
        deliveries=carried.deliveries,
        complete=carried.complete,
        rest=str(place),
    )


def content_aside(directory: Path) -> Path | None:
    """Where content goes that may be all that is left of a mail; None where no database was ever damaged."""
    places = _places(directory)
    return places[-1] / "content" if places else None


def _places(directory: Path) -> list[Path]:
    try:
        return sorted(place for place in (directory / "quarantine").iterdir() if place.is_dir())
    except FileNotFoundError:
        return []


def _is_there(directory: Path) -> bool:
    database = directory / _DATABASE
    return database.exists() and database.stat().st_size > 0


def _unfinished(directory: Path) -> Path | None:
    """The quarantine that a crash has left half-done."""
    if _is_there(directory):
        return None
    # By what is in it: its name is a time, by a clock that may be wrong.
    return next((place for place in _places(directory) if (place / _DATABASE).exists()), None)


def _new_place(directory: Path) -> Path:
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    place = directory / "quarantine" / name
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{name}-{number:03}")
    make_directory(place)
    return place


def _open_damaged(path: Path) -> apsw.Connection | None:
    """The damaged database, to be read; None where there is nothing to read."""
    if not path.exists():
        return None
    log = path.with_name(path.name + _LOG)
    if log.exists():
        mend(log, page_octets=PAGE_OCTETS)
    # SQLite finds the tables by the first page, which is the same in every spool of a format but for some counters. Of
    # which format this one is, its rows tell.
    pages = [_for_any_size(first_page(format_)) for format_ in range(FORMAT, 0, -1)]
    if path.stat().st_size >= PAGE_OCTETS:
        # Of a shorter file SQLite would throw the log away.
        pages.insert(0, _read_first_page(path))
    for is_right in (has_deliveries, _has_tables):
        for page in pages:
            if page != _read_first_page(path):
                _write_first_page(path, page)
            connection = apsw.Connection(str(path))
            if is_right(connection):
                return connection
            abandon(connection)
    return None


def _has_tables(connection: apsw.Connection) -> bool:
    try:
        return list(connection.execute("SELECT name FROM sqlite_schema WHERE name = 'delivery'")) != []
    except apsw.Error:
        return False


def _read_first_page(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PAGE_OCTETS)


def _write_first_page(path: Path, page: bytes) -> None:
    kept = path.parent / "first-page"
    if not kept.exists():
        kept.write_bytes(_read_first_page(path))
    with path.open("r+b") as file:
        file.write(page)


def _for_any_size(first_page: bytes) -> bytes:
    # "Database file format" 1.3: without a valid size in the header (28), which is one whose counter (92) is that of
    # the last change (24), the size is the file's. The free pages (32, 36) are not needed. 2 stands for a log (18, 19).
    page = bytearray(first_page)
    page[18:20] = b"\x02\x02"
    page[24:28] = (0).to_bytes(4)
    page[32:40] = bytes(8)
    page[92:96] = (1).to_bytes(4)
    return bytes(page)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
