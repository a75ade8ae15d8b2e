"""What is done to the database: functions of a connection, each within a transaction that its caller commits."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

import apsw
import msgspec

from gateway.envelope import Content, Mail
from gateway.spool.content_files import INLINE_OCTETS
from gateway.spool.entry import Damage, DeadLetter, NewMessage, Settlement, State, octets_in_memory
from gateway.spool.rows import (
    DamagedRowError,
    check_content,
    delivery_row,
    message_row,
    read_envelope,
    read_recipients,
    recipients_columns,
    text,
)

__all__ = [
    "Added",
    "Claimed",
    "Due",
    "add",
    "claim",
    "connectors",
    "known_ids",
    "pause",
    "paused",
    "put_back_attempted",
    "quarantine",
    "remove",
    "settle",
    "take_back",
]

T = TypeVar("T")

_INSERT_MESSAGES = "INSERT INTO message (id, accepted_at, size, checksum, envelope, content) VALUES ", 6
_INSERT_DELIVERIES = (
    "INSERT INTO delivery (message, connector, recipients, checksum, part, ordering_key, state, due, attempts) VALUES ",
    9,
)
# Each number of rows is a statement of its own, and the connection keeps so many.
_ROWS_AT_ONCE = 32
_HAS_PREDECESSOR = "SELECT 1 FROM delivery WHERE connector = ? AND ordering_key = ? LIMIT 1"
_DUE = (
    "SELECT message, part, CAST(recipients AS BLOB), checksum, CAST(attempts AS INTEGER), possible_duplicate,"
    " ordering_key IS NOT NULL FROM delivery WHERE {} = ? AND state = 'waiting' AND due <= ? ORDER BY {} LIMIT ?"
)
_OLDEST = _DUE.format("connector", "due, message")
# With the sign the table is read from its end, where they are; the index would have all that is due sorted.
_LATEST = _DUE.format("+connector", "message DESC")
# What is no time comes after all numbers, and is put in order by the next start.
_NEXT_DUE = "SELECT min(due) FROM delivery WHERE connector = ? AND state = 'waiting' AND due < 1e300"
_NEXT_CONNECTOR = (
    "SELECT CAST(min(connector) AS BLOB) FROM delivery WHERE state = 'waiting' AND connector > CAST(? AS TEXT)"
)
_MESSAGE = "SELECT CAST(id AS BLOB), checksum, envelope, content FROM message WHERE number = ?"
_ATTEMPT = (
    "UPDATE delivery SET state = 'attempted', attempts = attempts + 1 WHERE message = ? AND connector = ? AND part = ?"
)
# What is said again, late, about an attempt must not meet the one after it.
_UPDATE = (
    "UPDATE delivery SET state = ?1, due = ?2, possible_duplicate = ?3, status = ?4, cause = ?5,"
    " attempts = max(attempts, ?8), recipients = coalesce(?10, recipients), checksum = coalesce(?11, checksum)"
    " WHERE message = ?6 AND connector = ?7 AND part = ?9 AND state = 'attempted' AND (attempts <= ?8 OR ?8 = 0)"
)
_TAKE_BACK = (
    "UPDATE delivery SET state = 'waiting', due = max(due, ?), attempts = attempts - 1, cause = ?"
    " WHERE message = ? AND connector = ? AND part = ? AND state = 'attempted' AND attempts = ?"
)
_SET_ASIDE = (
    "UPDATE delivery SET state = ?, cause = ?, ordering_key = NULL WHERE message = ? AND connector = ? AND part = ?"
)
_KEY = "SELECT ordering_key FROM delivery WHERE message = ? AND connector = ? AND part = ?"
# By the counter of the messages, whose numbers are never given again: so is no part's.
_NEXT_PART = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'message' RETURNING seq"
_INSERT_DEAD_LETTER = "INSERT INTO delivery VALUES (?, ?, ?, ?, ?, NULL, 'dead', ?, ?, ?, ?, ?)"
_RECIPIENTS = "SELECT CAST(recipients AS BLOB) FROM delivery WHERE message = ?"
# What most deliveries are: those behind which nobody waits, of messages that have no file.
_DELETE_PLAIN_DELIVERIES = (
    "DELETE FROM delivery WHERE message IN (SELECT value FROM json_each(?2)) AND connector = ?1 AND part = 0"
    " AND ordering_key IS NULL"
    " AND EXISTS (SELECT 1 FROM message WHERE number = delivery.message AND content IS NOT NULL)"
)
_DELETE_MESSAGES = (
    "DELETE FROM message WHERE number IN (SELECT value FROM json_each(?1)) AND content IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = number)"
)
_DELETE_DELIVERY = "DELETE FROM delivery WHERE message = ? AND connector = ? AND part = ? RETURNING ordering_key"
_DELETE_MESSAGE = (
    "DELETE FROM message WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)"
    " RETURNING CASE WHEN content IS NULL THEN id ELSE '' END"
)
# The first that waits behind takes the place of the one that is gone.
_PROMOTE = (
    "UPDATE delivery SET state = 'waiting' WHERE connector = ?1 AND message ="
    " (SELECT min(message) FROM delivery WHERE connector = ?1 AND ordering_key = ?2) AND state = 'behind'"
)

_DELETE_BY_ID = (
    "DELETE FROM delivery WHERE message = (SELECT number FROM message WHERE id = ?)",
    "DELETE FROM message WHERE id = ?",
)
_PUT_BACK = (
    "UPDATE delivery SET state = 'waiting', possible_duplicate = 1, due = min(due, ?1) WHERE state = 'attempted'"
)
# A clock that was ahead when mail was accepted must not hold it at all, nor for longer than any schedule does where it
# was ahead when the delivery was put off.
_PUT_RIGHT = (
    "UPDATE delivery SET due = ?1 WHERE state IN ('waiting', 'behind') AND due > ?1 AND (due > ?1 + 100000"
    " OR EXISTS (SELECT 1 FROM message WHERE number = delivery.message AND accepted_at > ?1))"
)
_AT_ONCE = 500


class Added(NamedTuple):
    """The number of a new message, and the connectors whose first attempt is recorded."""

    number: int
    attempted: frozenset[str]


class Due(NamedTuple):
    """A delivery as it was claimed. `mail.content` is empty where `is_file`: then it lies in the file of its id."""

    message: int
    part: int
    mail: Mail
    recipients: tuple[int, ...]
    is_file: bool
    attempts: int
    possible_duplicate: bool
    is_ordered: bool


class Claimed(NamedTuple):
    """What was due, what of it was damaged, and when the next delivery will be due."""

    due: list[Due]
    damaged: list[Damage]
    next_due: float | None


def add(connection: apsw.Connection, messages: Sequence[NewMessage]) -> list[Added]:
    """Store messages and their deliveries. Content above INLINE_OCTETS is in its file already."""
    # Together with its deliveries, some at a time: what belongs together lies together, should the file be damaged.
    return [added for some in _slices(messages) for added in _add(connection, some)]


def _add(connection: apsw.Connection, messages: Sequence[NewMessage]) -> list[Added]:
    rows = [_message_row(message) for message in messages]
    connection.execute(_insertion(_INSERT_MESSAGES, len(rows)), list(chain.from_iterable(rows)))
    # AUTOINCREMENT gives one after another, and nobody else writes meanwhile.
    first = connection.last_insert_rowid() - len(rows) + 1
    deliveries: list[tuple[Any, ...]] = []
    added: list[Added] = []
    seen: set[tuple[str, bytes]] = set()
    for number, message in enumerate(messages, first):
        attempted = []
        for delivery in message.deliveries:
            state = State.ATTEMPTED if delivery.attempted else State.WAITING
            if delivery.ordering_key is not None:
                place = delivery.connector, delivery.ordering_key
                if place in seen or list(connection.execute(_HAS_PREDECESSOR, place)):
                    state = State.BEHIND
                seen.add(place)
            if state is State.ATTEMPTED:
                attempted.append(delivery.connector)
            row = delivery_row(number, delivery)
            attempts = int(state is State.ATTEMPTED)
            deliveries.append((*row, 0, delivery.ordering_key, state, message.accepted_at, attempts))
        added.append(Added(number, frozenset(attempted)))
    for those in _slices(deliveries):
        connection.execute(_insertion(_INSERT_DELIVERIES, len(those)), list(chain.from_iterable(those)))
    return added


def _message_row(message: NewMessage) -> tuple[Any, ...]:
    content = message.mail.content
    return message_row(message, content.read() if content.size <= INLINE_OCTETS else None)


def remove(connection: apsw.Connection, id_: str) -> None:
    """Take back what `add` did, if it did."""
    for statement in _DELETE_BY_ID:
        connection.execute(statement, (id_,))


def claim(
    connection: apsw.Connection, connector: str, *, now: float, limit: int, octets: int, latest_first: bool
) -> Claimed:
    """Record an attempt for the deliveries of `connector` that are due, oldest first or latest message first.

    At most `limit`, and no more than `octets` in memory, though always one. What is damaged is put into quarantine on
    the way.
    """
    due: list[Due] = []
    damaged: list[Damage] = []
    for number, part, recipients, checksum, attempts, possible_duplicate, is_ordered in list(
        connection.execute(_LATEST if latest_first else _OLDEST, (connector, now, limit))
    ):
        try:
            positions = read_recipients(number, connector, recipients, checksum)
            mail, is_file = _read_message(connection, number, positions)
        except DamagedRowError as error:
            damaged.append(Damage(message=number, connector=connector, cause=str(error)))
            _set_aside(connection, (number, connector, part), State.QUARANTINED, str(error))
            continue
        octets -= octets_in_memory(mail, len(positions)) + is_file * INLINE_OCTETS
        if octets < 0 and due:
            break
        marks = bool(possible_duplicate), bool(is_ordered)
        due.append(Due(number, part, mail, positions, is_file, attempts + 1, *marks))
    connection.executemany(_ATTEMPT, [(each.message, connector, each.part) for each in due])
    ((next_due,),) = connection.execute(_NEXT_DUE, (connector,))
    return Claimed(due, damaged, next_due)


def settle(connection: apsw.Connection, settlements: Sequence[Settlement]) -> list[list[str]]:
    """Record what became of attempts; for each the id of its message, where it is gone and had a content file.

    A second time it changes nothing, and adds no notification again.
    """
    plain: dict[str, list[int]] = {}
    for settlement in settlements:
        if settlement.state is State.DELIVERED and not settlement.part and not settlement.notifications:
            plain.setdefault(settlement.connector, []).append(settlement.message)
    settled = 0
    for connector, messages in plain.items():
        numbers = str(messages)
        connection.execute(_DELETE_PLAIN_DELIVERIES, (connector, numbers))
        settled += connection.changes()
        connection.execute(_DELETE_MESSAGES, (numbers,))
    if settled == len(settlements):
        return [[]] * settled
    return [_settle(connection, settlement) for settlement in settlements]


def _settle(connection: apsw.Connection, settlement: Settlement) -> list[str]:
    message, connector, state = settlement.message, settlement.connector, settlement.state
    delivery = message, connector, settlement.part
    if state is State.DELIVERED:
        keys = [key for (key,) in connection.execute(_DELETE_DELIVERY, delivery)]
        if not keys:
            return []
        gone = [id_ for (id_,) in connection.execute(_DELETE_MESSAGE, (message,)) if id_]
        _promote(connection, connector, keys[0])
        _notify(connection, settlement)
        return gone
    due, status, cause = settlement.due, settlement.status, settlement.cause
    positions = settlement.recipients
    columns = recipients_columns(message, connector, positions) if positions else (None, None)
    values = (state, due, settlement.possible_duplicate, status, cause, message, connector, settlement.attempts)
    connection.execute(_UPDATE, (*values, settlement.part, *columns))
    if connection.changes():
        if state is not State.WAITING:
            _set_aside(connection, delivery, state, cause)
        if settlement.dead_letter is not None:
            _add_dead_letter(connection, settlement, settlement.dead_letter)
        _notify(connection, settlement)
    return []


def take_back(connection: apsw.Connection, claimed: Iterable[Due], connector: str, due: float, cause: str) -> None:
    """Let attempts that were claimed and not made be claimed again, at `due` or when they were due before."""
    values = [(due, cause, each.message, connector, each.part, each.attempts) for each in claimed]
    connection.executemany(_TAKE_BACK, values)


def quarantine(connection: apsw.Connection, due: Due, connector: str, cause: str) -> None:
    """Keep for an operator what was claimed and is found to be damaged."""
    _set_aside(connection, (due.message, connector, due.part), State.QUARANTINED, cause)


def put_back_attempted(connection: apsw.Connection, now: float) -> int:
    """Let the attempts that a crash interrupted be made again, and say how many there were."""
    connection.execute(_PUT_BACK, (now,))
    interrupted = connection.changes()
    connection.execute(_PUT_RIGHT, (now,))
    return interrupted


def pause(connection: apsw.Connection, connector: str, now: float, cause: str) -> None:
    """Note that a connector is to have nothing until an operator says so."""
    connection.execute(
        "INSERT OR REPLACE INTO paused (connector, since, cause) VALUES (?, ?, ?)", (connector, now, cause)
    )


def paused(connection: apsw.Connection) -> frozenset[str]:
    """The connectors that are paused."""
    rows = connection.execute("SELECT CAST(connector AS BLOB) FROM paused")
    return frozenset(text(connector) for (connector,) in rows)


def connectors(connection: apsw.Connection) -> frozenset[str]:
    """The connectors for which a delivery waits; found from one to the next, however many deliveries there are."""
    found: list[bytes] = []
    while True:
        ((name,),) = connection.execute(_NEXT_CONNECTOR, (found[-1] if found else b"",))
        if name is None:
            return frozenset(map(text, found))
        found.append(name)


def known_ids(connection: apsw.Connection, ids: Iterable[str]) -> set[str]:
    """Those of the ids that are of messages in the spool."""
    found: set[str] = set()
    rest = iter(ids)
    while some := list(islice(rest, _AT_ONCE)):
        marks = ",".join("?" * len(some))
        found |= {id_ for (id_,) in connection.execute(f"SELECT id FROM message WHERE id IN ({marks})", some)}  # noqa: S608  # marks only
    return found


def _read_message(connection: apsw.Connection, number: int, positions: tuple[int, ...]) -> tuple[Mail, bool]:
    row = list(connection.execute(_MESSAGE, (number,)))
    if not row:
        raise DamagedRowError("the message of this delivery is not there")
    id_, checksum, envelope, octets = row[0]
    if not isinstance(octets, bytes | None):
        raise DamagedRowError("the content is not the one that was stored: it is no octets")
    content = Content(octets if octets is not None else b"")
    mail = Mail(read_envelope(text(id_), envelope, checksum), content).for_recipients(positions)
    if octets is not None:
        check_content(content, mail.envelope.message.sha256)
    return mail, octets is None


def _notify(connection: apsw.Connection, settlement: Settlement) -> None:
    if not settlement.notifications:
        return
    left: set[int] = set()
    for (recipients,) in connection.execute(_RECIPIENTS, (settlement.message,)):
        try:
            left |= set(msgspec.json.decode(text(recipients), type=list[int]))
        except msgspec.DecodeError:
            # A damaged row may be for any of them; whoever looks after it tells them.
            left |= {each.recipient for each in settlement.notifications if each.recipient is not None}
    for notification in settlement.notifications:
        if notification.recipient is None or notification.recipient not in left:
            add(connection, [notification.message])


def _add_dead_letter(connection: apsw.Connection, settlement: Settlement, letter: DeadLetter) -> None:
    ((part,),) = connection.execute(_NEXT_PART)
    message, connector = settlement.message, settlement.connector
    columns = recipients_columns(message, connector, letter.recipients)
    said = settlement.due, settlement.attempts, letter.possible_duplicate, letter.status, letter.cause
    connection.execute(_INSERT_DEAD_LETTER, (message, connector, part, *columns, *said))


def _set_aside(connection: apsw.Connection, delivery: tuple[int, str, int], state: State, cause: str) -> None:
    """What is kept for an operator holds back nothing of its ordering key."""
    keys = [key for (key,) in connection.execute(_KEY, delivery)]
    connection.execute(_SET_ASIDE, (state, cause, *delivery))
    for key in keys:
        _promote(connection, delivery[1], key)


def _slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


@cache
def _insertion(statement: tuple[str, int], rows: int) -> str:
    text, columns = statement
    return text + ",".join([f"({','.join('?' * columns)})"] * rows)


def _promote(connection: apsw.Connection, connector: str, key: bytes | None) -> None:
    if key is not None:
        connection.execute(_PROMOTE, (connector, key))
