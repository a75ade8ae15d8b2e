"""What an operator does to spools beside their owners: lets deliveries be tried again, resumes connectors, removes.

A few hundred deliveries are changed in one transaction, so that the database is never held for long. Whatever was
changed by somebody else since it was looked at is left alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter

from msgspec import Struct

from gateway.spool import operations
from gateway.spool.entry import Settlement, State
from gateway.spool.inspection import DamagedRowError, Inspection, SpooledDelivery
from gateway.spool.inspections import Inspections

__all__ = ["Retried", "remove", "resume", "retry"]

_AT_ONCE = 200
_RETRIABLE = (State.DEAD, State.WAITING, State.QUARANTINED)
# Due since ever: whatever the clock of the gateway's process says.
_RETRY = (
    "UPDATE delivery SET state = 'waiting', due = 0, attempts = 0"
    " WHERE message = ?1 AND connector = ?2 AND part = ?3 AND state = ?4"
    " AND EXISTS (SELECT 1 FROM message WHERE number = ?1 AND id = ?5)"
)
_IS_THERE = (
    "SELECT 1 FROM delivery d JOIN message m ON m.number = d.message"
    " WHERE m.id = ? AND d.connector = ? AND d.part = ? AND d.state = ?"
)


class Retried(Struct, frozen=True, kw_only=True):
    """What became of some deliveries that were to be tried again.

    `refused` are those that are damaged, each with the reason; `left` counts those that were not to be changed: under
    way just now, behind another of their ordering key, or changed meanwhile.
    """

    retried: int
    left: int
    refused: tuple[tuple[SpooledDelivery, str], ...] = ()


def retry(inspections: Inspections, deliveries: Iterable[SpooledDelivery]) -> Iterator[Retried]:
    """Let deliveries be tried again at once, from the beginning of their schedules; says so after each few hundred.

    Dead letters and waiting deliveries are. One in quarantine is when all of its mail is as it was stored. Raises
    SpoolError; what was said until then is done.
    """
    rest = iter(deliveries)
    while some := list(islice(rest, _AT_ONCE)):
        refused: list[tuple[SpooledDelivery, str]] = []
        wanted: list[SpooledDelivery] = []
        for delivery in some:
            if problem := _problem(inspections, delivery):
                refused.append((delivery, problem))
            elif delivery.state in _RETRIABLE:
                wanted.append(delivery)
        retried = 0
        for inspection, some_of_it in _by_spool(inspections, wanted):
            with _transaction(inspection):
                for each in some_of_it:
                    values = each.message, each.connector, each.part, each.state, each.id
                    inspection.connection.execute(_RETRY, values)
                    retried += inspection.connection.changes()
        yield Retried(retried=retried, left=len(some) - retried - len(refused), refused=tuple(refused))


def resume(inspections: Inspections, connectors: Sequence[str]) -> tuple[str, ...]:
    """Let connectors have mail again that were paused; returns which of these were. Raises SpoolError."""
    resumed: set[str] = set()
    for inspection in inspections:
        with _transaction(inspection):
            for name in connectors:
                inspection.connection.execute("DELETE FROM paused WHERE connector = ?", (name,))
                if inspection.connection.changes():
                    resumed.add(name)
    return tuple(name for name in connectors if name in resumed)


def remove(inspections: Inspections, deliveries: Iterable[SpooledDelivery]) -> int:
    """Take deliveries out of their spools that stand as they stood, and say how many. Raises SpoolError.

    A message goes with its last delivery.
    """
    return sum(_remove(inspection, some) for inspection, some in _by_spool(inspections, deliveries))


def _remove(inspection: Inspection, deliveries: Iterable[SpooledDelivery]) -> int:
    removed = 0
    files: list[str] = []
    with _transaction(inspection):
        for each in deliveries:
            if not list(inspection.connection.execute(_IS_THERE, (each.id, each.connector, each.part, each.state))):
                continue
            gone = Settlement(message=each.message, connector=each.connector, part=each.part, state=State.DELIVERED)
            files += operations.settle(inspection.connection, [gone])[0]
            removed += 1
    for id_ in files:
        inspection.remove_content(id_)
    return removed


def _by_spool(
    inspections: Inspections, deliveries: Iterable[SpooledDelivery]
) -> Iterator[tuple[Inspection, Iterable[SpooledDelivery]]]:
    spool = attrgetter("spool")
    for number, some in groupby(sorted(deliveries, key=spool), key=spool):
        yield inspections[number], some


def _problem(inspections: Inspections, delivery: SpooledDelivery) -> str:
    """What is wrong with a delivery; empty for nothing. Content is looked at where there was reason to doubt it."""
    if delivery.state != State.QUARANTINED or delivery.problem:
        return delivery.problem
    try:
        mail = inspections[delivery.spool].mail(delivery.id)
    except DamagedRowError as error:
        return str(error)
    if mail is not None:
        mail.content.close()
    return ""


@contextmanager
def _transaction(inspection: Inspection) -> Iterator[None]:
    with inspection.translating():
        inspection.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            # What is committed to a database that was set aside is lost.
            inspection.check_place()
            inspection.connection.execute("COMMIT")
        finally:
            if inspection.connection.in_transaction:
                inspection.connection.execute("ROLLBACK")
