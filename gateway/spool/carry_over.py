"""What can be read of a damaged database, copied into a new one.

SQLite stops at the first page that makes no sense, and takes a number there that is too high for the end of what it was
asked for. The rows are therefore asked for by ranges of their numbers; a range that is not read to its end, or behind
which there are others when it is looked at from its other end, is divided until what is left is single rows.
"""

import re
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from gateway.codec import CodecError, json_v1
from gateway.envelope.ulid import PATTERN
from gateway.spool.entry import NewDelivery, State
from gateway.spool.rows import DamagedRowError, delivery_row, read_recipients, text

__all__ = ["CarriedOver", "carry_over", "has_deliveries"]

# How often reading may fail before the rest is given up, which takes some seconds.
_FAILURES = 200_000
_AT_ONCE = 1_000
_LONGEST_DELAY_SECONDS = 100_000
# More than any spool has given numbers.
_HIGHEST = 2**40

_MESSAGES = (
    "SELECT number, CAST(id AS BLOB), accepted_at, size, checksum, envelope, content FROM message"
    " WHERE number BETWEEN ? AND ? ORDER BY number"
)
_DELIVERIES = (
    "SELECT message, CAST(connector AS BLOB), {}, CAST(recipients AS BLOB), checksum, ordering_key,"
    " CAST(state AS BLOB), due, attempts, possible_duplicate, CAST(status AS BLOB), CAST(cause AS BLOB) FROM delivery"
    " WHERE message BETWEEN ? AND ? ORDER BY message"
)
_LAST = "SELECT {0} FROM {1} WHERE {0} BETWEEN ? AND ? ORDER BY {0} DESC LIMIT 1"
_PAUSED = "SELECT CAST(connector AS BLOB), since, CAST(cause AS BLOB) FROM paused WHERE 1 BETWEEN ? AND ?"
_INSERT_MESSAGE = "INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_DELIVERY = "INSERT OR IGNORE INTO delivery VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STRANDED = (
    "SELECT number, envelope FROM message WHERE number > ? AND"
    " NOT EXISTS (SELECT 1 FROM delivery WHERE message = number) ORDER BY number LIMIT ?"
)
# Those whose predecessor was lost.
_PROMOTE = (
    "UPDATE delivery SET state = 'waiting' WHERE state = 'behind' AND NOT EXISTS (SELECT 1 FROM delivery AS other"
    " WHERE other.connector = delivery.connector AND other.ordering_key = delivery.ordering_key"
    " AND other.message < delivery.message)"
)
# No connector has a name like this.
_NO_CONNECTOR = "(lost)"
_STATES = frozenset(State) - {State.DELIVERED}


class CarriedOver(NamedTuple):
    """How many rows the new database has, and whether every part of the old one could be read."""

    messages: int
    deliveries: int
    complete: bool


def carry_over(source: apsw.Connection | None, target: apsw.Connection) -> CarriedOver:
    """Copy what can be read, with its numbers. Raises apsw.Error for what goes wrong with `target`.

    A delivery without its message comes along, and a message of which no delivery is left gets one in quarantine: what
    is missing is seen where everything else is. A row with a value that makes no sense is put in order where nothing
    can be lost by it, and counts as unreadable otherwise.
    """
    if source is None:
        return CarriedOver(0, 0, complete=False)
    highest = _highest(source)
    part = "part" if _has_parts(source) else "0"
    messages = _Rows(source, _MESSAGES, highest, last=_LAST.format("number", "message"))
    deliveries = _Rows(source, _DELIVERIES.format(part), highest, last=_LAST.format("message", "delivery"))
    named = ((row[0], text(row[1]), *row[2:]) for row in messages.read())
    complete = _copy(target, _INSERT_MESSAGE, (row if _is_message(row) else None for row in named))
    complete &= _copy(target, _INSERT_DELIVERY, (_in_order(row) for row in deliveries.read()))
    paused = _Rows(source, _PAUSED, 1)
    closed = ((text(connector), since, text(cause)) for connector, since, cause in paused.read())
    _copy(target, "INSERT OR IGNORE INTO paused VALUES (?, ?, ?)", closed)
    _copy(target, _INSERT_DELIVERY, _stranded(target))
    target.execute(_PROMOTE)
    # No number is given again that a row had which could not be read.
    target.execute("DELETE FROM sqlite_sequence")
    target.execute("INSERT INTO sqlite_sequence VALUES ('message', ?)", (highest,))
    complete &= messages.complete and deliveries.complete and paused.complete
    return CarriedOver(_count(target, "message"), _count(target, "delivery"), complete)


def has_deliveries(source: apsw.Connection) -> bool:
    """Whether any delivery can be read with the tables as they stand in `source`."""
    try:
        part = "part" if _has_parts(source) else "0"
        rows = source.execute(_DELIVERIES.format(part) + " LIMIT ?", (0, _HIGHEST, _AT_ONCE))
        return any(_in_order(row) is not None for row in rows)
    except (apsw.Error, UnicodeDecodeError):
        return False


class _Rows:
    """The rows of `statement`, which takes a lowest and a highest number and gives the number first.

    `last` gives the highest number that there is from a lowest to a highest one.
    """

    def __init__(self, connection: apsw.Connection, statement: str, highest: int, *, last: str = "") -> None:
        self._connection = connection
        self._statement = statement
        self._highest = highest
        self._last = last
        self.complete = True

    def read(self) -> Iterator[tuple[Any, ...]]:
        """Some rows may come twice."""
        # The widest first: what is given up in the end are the smallest pieces.
        ranges = deque([(0, self._highest)])
        failures = 0
        while ranges and failures < _FAILURES:
            low, high = ranges.popleft()
            reached = low
            try:
                for row in self._connection.execute(self._statement, (low, high)):
                    yield row
                    if isinstance(row[0], int):
                        reached = max(reached, min(row[0], high))
                high = self._last_between(reached + 1, high)
            except (apsw.CorruptError, apsw.NotADBError, apsw.IOError, UnicodeDecodeError):
                # The last of them: what is no text any more, in a column that says it is.
                self.complete = False
            if reached < high:
                self.complete = False
                failures += 1
                middle = (reached + high) // 2
                ranges += [(reached, middle), (middle + 1, high)]

    def _last_between(self, low: int, high: int) -> int:
        """The highest number from `low` to `high`; 0 where there is none."""
        if not self._last or low > high:
            return 0
        found = [number for (number,) in self._connection.execute(self._last, (low, high))]
        return found[0] if found and isinstance(found[0], int) else 0


def _highest(source: apsw.Connection) -> int:
    """No message has a higher number."""
    try:
        ((number,),) = source.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'")
    except (apsw.Error, ValueError):
        return _HIGHEST
    return number if isinstance(number, int) and 0 < number < _HIGHEST else _HIGHEST


def _has_parts(source: apsw.Connection) -> bool:
    """Whether it is of a format that knows parts of a delivery."""
    try:
        source.execute("SELECT part FROM delivery WHERE false")
    except apsw.SQLError:
        return False
    except apsw.Error:
        # Whatever else is wrong with it, reading its rows finds out.
        return True
    return True


def _copy(target: apsw.Connection, statement: str, rows: Iterator[tuple[Any, ...] | None]) -> bool:
    """Whether each row was one."""
    complete = True
    target.execute("BEGIN")
    for number, row in enumerate(rows):
        if number % _AT_ONCE == _AT_ONCE - 1:
            target.execute("COMMIT")
            target.execute("BEGIN")
        if row is None:
            complete = False
        else:
            target.execute(statement, row)
    target.execute("COMMIT")
    return complete


def _is_message(row: tuple[Any, ...]) -> bool:
    number, id_, accepted_at, size, checksum, envelope, content = row
    kinds = isinstance(accepted_at, float) and isinstance(size, int) and isinstance(checksum, int)
    octets = isinstance(envelope, bytes) and (content is None or isinstance(content, bytes))
    return kinds and octets and number > 0 and isinstance(id_, str) and re.fullmatch(PATTERN, id_) is not None


def _in_order(row: tuple[Any, ...]) -> tuple[Any, ...] | None:
    message, connector, part, recipients, checksum, key, state, due, attempts, possible_duplicate, status, cause = row
    if not (isinstance(connector, bytes) and isinstance(recipients, bytes)):
        return None
    if not (isinstance(part, int) and isinstance(checksum, int)):
        return None
    connector, state, cause = text(connector), text(state), text(cause)
    try:
        read_recipients(message, connector, recipients, checksum)
    except DamagedRowError as error:
        state, cause = State.QUARANTINED, str(error)
    if state not in _STATES:
        state, possible_duplicate = State.WAITING, 1
    return (
        message,
        connector,
        part,
        text(recipients),
        checksum,
        key if isinstance(key, bytes) else None,
        state,
        due if isinstance(due, float) and due < time.time() + _LONGEST_DELAY_SECONDS else 0.0,
        attempts if isinstance(attempts, int) else 0,
        int(possible_duplicate != 0),
        text(status),
        cause,
    )


def _stranded(target: apsw.Connection) -> Iterator[tuple[Any, ...]]:
    last = 0
    while some := list(target.execute(_STRANDED, (last, _AT_ONCE))):
        for number, envelope in some:
            delivery = NewDelivery(connector=_NO_CONNECTOR, recipients=_every_recipient(envelope))
            cause = "where the message was to go could not be read"
            _, connector, *recipients = delivery_row(number, delivery)
            yield number, connector, 0, *recipients, None, State.QUARANTINED, 0.0, 0, 1, "", cause
            last = number


def _every_recipient(envelope: bytes) -> tuple[int, ...]:
    try:
        return tuple(range(len(json_v1.decode(envelope).envelope.recipients)))
    except CodecError:
        return ()


def _count(connection: apsw.Connection, table: str) -> int:
    ((number,),) = connection.execute(f"SELECT count(*) FROM {table}")  # noqa: S608  # one of two
    return int(number)
