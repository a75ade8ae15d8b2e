"""Looking into a spool beside its owner: whether a gateway runs on it or none does.

Everything is read in pages, each in a transaction of its own, so that however long somebody takes to look, nothing is
held in memory or held up in the gateway. What changes meanwhile is seen as it then is, or not at all.
"""

import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw
import msgspec
from msgspec import Struct

from gateway.address import Address
from gateway.envelope import Content, Envelope, Mail, TransactionEnvelope
from gateway.envelope.ulid import PATTERN
from gateway.spool.database import connect
from gateway.spool.entry import State
from gateway.spool.lock import SpoolError
from gateway.spool.rows import DamagedRowError, check_content, read_envelope, read_recipients, text

__all__ = ["DamagedRowError", "Inspection", "Paused", "Selection", "SpooledDelivery", "SpooledMessage"]

_PAGE = 500
_DELIVERIES = (
    "SELECT d.message, CAST(d.connector AS BLOB), d.part, CAST(d.recipients AS BLOB), d.checksum,"
    " CAST(d.state AS BLOB), CAST(d.due AS REAL), CAST(d.attempts AS INTEGER), d.possible_duplicate,"
    " CAST(d.status AS BLOB), CAST(d.cause AS BLOB), CAST(m.id AS BLOB), CAST(coalesce(m.accepted_at, 0) AS REAL),"
    " CAST(coalesce(m.size, 0) AS INTEGER)"
    " FROM delivery d LEFT JOIN message m ON m.number = d.message"
)
_COUNT = "SELECT count(*) FROM delivery d LEFT JOIN message m ON m.number = d.message"
_ENVELOPE = "SELECT envelope, checksum FROM message WHERE number = ?"
_MESSAGE = (
    "SELECT number, CAST(accepted_at AS REAL), CAST(size AS INTEGER), envelope, checksum, content IS NULL FROM message"
    " WHERE id = ?"
)
_CONTENT = "SELECT content FROM message WHERE number = ? AND id = ?"
_PAUSED = (
    "SELECT CAST(connector AS BLOB), CAST(since AS REAL), CAST(cause AS BLOB) FROM paused ORDER BY paused.connector"
)
_ID = re.compile(PATTERN)
# Behind every character of an id.
_LAST = "~"


class Selection(Struct, frozen=True, kw_only=True):
    """Which deliveries are meant: those for which everything holds that is said here.

    `ids` are whole ids. `accepted_since` and `accepted_before` are Unix time in seconds. `error` stands somewhere in
    the status or the cause, in upper or lower case. `recipient` holds for one of the recipients.
    """

    ids: tuple[str, ...] = ()
    connector: str = ""
    states: tuple[State, ...] = ()
    accepted_since: float | None = None
    accepted_before: float | None = None
    error: str = ""
    recipient: Callable[[Address], bool] | None = None


class SpooledDelivery(Struct, frozen=True, kw_only=True):
    """One message for one connector, as it stands in the spool. Times are Unix time in seconds.

    A message may have several for a connector, each a `part` with its own recipients, once some of them were refused.
    `positions` are those of its recipients among all of the message's. `problem` says why the addresses cannot be read,
    where they cannot; then there are none. The id is empty where the message itself is not there. `message` is a number
    of its own in each `spool`, of those that are looked into together.
    """

    spool: int
    message: int
    id: str
    accepted_at: float
    size: int
    connector: str
    part: int
    state: str
    due: float
    attempts: int
    possible_duplicate: bool
    status: str
    cause: str
    sender: str = ""
    recipients: tuple[Address, ...] = ()
    positions: tuple[int, ...] = ()
    problem: str = ""


class SpooledMessage(Struct, frozen=True, kw_only=True):
    """One message as it stands in the spool, its content aside. `envelope` is None where `problem` says why."""

    number: int
    id: str
    accepted_at: float
    size: int
    in_file: bool
    envelope: Envelope | None
    problem: str = ""


class Paused(Struct, frozen=True, kw_only=True):
    """A connector that gets nothing until an operator says so, since when (Unix time), and why."""

    connector: str
    since: float
    cause: str


class _Addressed(Struct, frozen=True):
    # All of an envelope that a list shows; the rest is passed over, not decoded.
    envelope: TransactionEnvelope


class Inspection:
    """The spool in `directory`, to look at and to ask things of it, from one thread at a time.

    Its deliveries say that they are in `spool`. Everything raises SpoolError where the spool cannot be used, in one
    sentence for the operator.
    """

    def __init__(self, directory: Path, *, spool: int = 0) -> None:
        self._spool = spool
        self._path = directory / "spool.db"
        self._content = directory / "content"
        try:
            if not self._path.exists():
                raise SpoolError(f"there is no spool in {directory}: nothing was ever spooled there")
            with self.translating():
                self.connection = connect(self._path)
            self._opened = self._identity()
        except PermissionError as error:
            raise self._no_permission() from error
        except OSError as error:
            raise SpoolError(f"the spool's database {self._path} cannot be opened: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.connection.close(force=True)

    def deliveries(self, selection: Selection) -> Iterator[SpooledDelivery]:
        """The deliveries that are meant, oldest first; of several ids, in the order of the ids."""
        for id_ in selection.ids or ("",):
            yield from self._deliveries(selection, id_)

    def count(self, selection: Selection) -> int:
        """How many deliveries are meant, whoever their recipients are."""
        found = 0
        for id_ in selection.ids or ("",):
            where, values = _conditions(selection, id_)
            found += self._rows(f"{_COUNT} WHERE {where}", values)[0][0]
        return found

    def message(self, id_: str) -> SpooledMessage | None:
        """What the spool holds under this id; None for nothing."""
        for number, accepted_at, size, octets, checksum, in_file in self._rows(_MESSAGE, (id_,)):
            envelope, problem = None, ""
            try:
                envelope = read_envelope(id_, octets, checksum)
            except DamagedRowError as error:
                problem = str(error)
            return SpooledMessage(
                number=number,
                id=id_,
                accepted_at=accepted_at,
                size=size,
                in_file=bool(in_file),
                envelope=envelope,
                problem=problem,
            )
        return None

    def mail(self, id_: str) -> Mail | None:
        """The whole mail, with all its recipients; its content is for the caller to close. None where it is gone.

        Raises DamagedRowError where it is not what was stored.
        """
        message = self.message(id_)
        if message is None:
            return None
        if message.envelope is None:
            raise DamagedRowError(message.problem)
        content = self._open_content(message)
        if content is None:
            return None
        try:
            check_content(content, message.envelope.message.sha256)
        except OSError as error:
            content.close()
            raise DamagedRowError(f"the content cannot be read: {error.strerror or error}") from error
        except DamagedRowError:
            content.close()
            raise
        return Mail(message.envelope, content)

    def ids(self, beginning: str) -> tuple[str, ...]:
        """The first two ids, at most, that begin so."""
        statement = "SELECT CAST(id AS BLOB) FROM message WHERE id >= ? AND id < ? ORDER BY message.id LIMIT 2"
        return tuple(text(id_) for (id_,) in self._rows(statement, (beginning, beginning + _LAST)))

    def connectors(self) -> tuple[str, ...]:
        """The names of all connectors that have deliveries here or are paused, sorted."""
        statement = (
            "SELECT CAST(connector AS BLOB) FROM (SELECT connector FROM delivery UNION SELECT connector FROM paused)"
            " ORDER BY connector"
        )
        return tuple(text(name) for (name,) in self._rows(statement, ()))

    def paused(self) -> tuple[Paused, ...]:
        """The connectors that are paused, by name."""
        rows = self._rows(_PAUSED, ())
        return tuple(Paused(connector=text(name), since=since, cause=text(cause)) for name, since, cause in rows)

    def remove_content(self, id_: str) -> None:
        """Remove the content file of a message that is gone, where it had one. Raises SpoolError."""
        path = self._file(id_)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SpoolError(f"{path} cannot be removed: {error.strerror}") from error

    def check_place(self) -> None:
        """Raise SpoolError where this is no longer the spool's database: its owner sets a damaged one aside."""
        if self._identity() != self._opened:
            raise SpoolError(f"the gateway has just replaced its database {self._path}, which was damaged; try again")

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Say what SQLite says in a sentence for the operator. The one place where that is done."""
        try:
            yield
        except apsw.BusyError as error:
            raise SpoolError(f"the spool's database {self._path} is busy; try again") from error
        except apsw.FullError as error:
            raise SpoolError(f"there is no space left to write to {self._path}; nothing more was changed") from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError) as error:
            raise self._no_permission() from error
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise SpoolError(
                f"the spool's database {self._path} is damaged; start the gateway on it, which saves what can be read"
            ) from error
        except apsw.Error as error:
            raise SpoolError(f"the spool's database {self._path} cannot be used: {error}") from error

    def _deliveries(self, selection: Selection, id_: str) -> Iterator[SpooledDelivery]:
        where, values = _conditions(selection, id_)
        # What comes in from now on is not followed: a busy gateway could go on for ever.
        ((last,),) = self._rows("SELECT max(message) FROM delivery", ())
        statement = (
            f"{_DELIVERIES} WHERE {where} AND d.message <= ?"
            " AND (d.message, d.connector, d.part) > (?, CAST(? AS TEXT), ?)"
            " ORDER BY d.message, d.connector, d.part LIMIT ?"
        )
        place: tuple[int, bytes, int] = (-1, b"", 0)
        while rows := self._rows(statement, (*values, last, *place, _PAGE)):
            for row in rows:
                delivery = self._with_addresses(row)
                if delivery is not None and (
                    selection.recipient is None or any(map(selection.recipient, delivery.recipients))
                ):
                    yield delivery
            place = rows[-1][:3]

    def _with_addresses(self, row: tuple[Any, ...]) -> SpooledDelivery | None:
        number, connector, part, recipients, checksum, state, due, attempts, duplicate, status, cause, *of_message = row
        id_, at, size = of_message
        delivery = SpooledDelivery(
            spool=self._spool,
            message=number,
            id=text(id_),
            accepted_at=at,
            size=size,
            connector=text(connector),
            part=part,
            state=text(state),
            due=due,
            attempts=attempts,
            possible_duplicate=bool(duplicate),
            status=text(status),
            cause=text(cause),
        )
        if not id_:
            return msgspec.structs.replace(delivery, problem="the message of this delivery is not there")
        found = self._rows(_ENVELOPE, (number,))
        if not found:
            return None
        try:
            positions = read_recipients(number, delivery.connector, recipients, checksum)
            envelope = _read_addresses(*found[0])
            return msgspec.structs.replace(
                delivery,
                sender=envelope.mail_from.address.raw,
                recipients=tuple(envelope.recipients[position].address for position in positions),
                positions=positions,
            )
        except DamagedRowError as error:
            return msgspec.structs.replace(delivery, problem=str(error))

    def _open_content(self, message: SpooledMessage) -> Content | None:
        if not message.in_file:
            rows = self._rows(_CONTENT, (message.number, message.id))
            return Content(rows[0][0]) if rows else None
        path = self._file(message.id)
        try:
            return Content(file=io.FileIO(path))
        except FileNotFoundError as error:
            if not self.ids(message.id):
                return None
            raise DamagedRowError("the file of the content is not there") from error
        except OSError as error:
            raise SpoolError(f"{path} cannot be read: {error.strerror}") from error

    def _file(self, id_: str) -> Path:
        # An id comes back from the disk too; whatever it says there, it is no path.
        if not _ID.fullmatch(id_):
            raise SpoolError(f"{id_!r}, which the spool's database has as an id, is none")
        return self._content / id_

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self.translating():
            return list(self.connection.execute(statement, values))

    def _identity(self) -> int:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def _no_permission(self) -> SpoolError:
        return SpoolError(
            f"this user may not read and write the spool {self._path.parent}; run the command as the gateway's user"
        )


def _conditions(selection: Selection, id_: str) -> tuple[str, tuple[Any, ...]]:
    """The conditions of a selection, for one id where there is one, and the values for their marks."""
    conditions: list[tuple[str, tuple[Any, ...]]] = [("true", ())]
    if id_:
        conditions.append(("m.id = ?", (id_,)))
    if selection.connector:
        conditions.append(("d.connector = ?", (selection.connector,)))
    if selection.states:
        conditions.append((f"d.state IN ({','.join('?' * len(selection.states))})", selection.states))
    if selection.accepted_since is not None:
        conditions.append(("m.accepted_at >= ?", (selection.accepted_since,)))
    if selection.accepted_before is not None:
        conditions.append(("m.accepted_at < ?", (selection.accepted_before,)))
    if selection.error:
        conditions.append(("instr(lower(d.status || ' ' || d.cause), lower(?))", (selection.error,)))
    return " AND ".join(text for text, _ in conditions), tuple(value for _, values in conditions for value in values)


def _read_addresses(octets: bytes, checksum: int) -> TransactionEnvelope:
    if zlib.crc32(octets) != checksum:
        raise DamagedRowError("the envelope is not the one that was stored: its checksum differs")
    try:
        return msgspec.json.decode(octets, type=_Addressed).envelope
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRowError(f"the envelope cannot be read: {error}") from error
