"""The spool: mail that was accepted and is not yet delivered, on stable storage.

What `Spool.add` has taken survives a crash and a power failure, and stays until every delivery of it is settled.

    spool/lock           locked by the process that the spool belongs to
    spool/spool.db       SQLite: the messages, and a row for each (message, connector) that is still to be delivered
    spool/content/<id>   content that is too large for a row, named before the row is committed, removed after it is
    spool/quarantine/    what was damaged, for an expert to look at
    spool/reserve        space that is used when the disk is full, to deliver what the spool holds
"""

from gateway.spool.content_files import INLINE_OCTETS
from gateway.spool.entry import (
    Claim,
    DeadLetter,
    Entry,
    NewDelivery,
    NewMessage,
    Notification,
    Settlement,
    State,
    octets_in_memory,
)
from gateway.spool.lock import SpoolError
from gateway.spool.spool import Spool

__all__ = [
    "INLINE_OCTETS",
    "Claim",
    "DeadLetter",
    "Entry",
    "NewDelivery",
    "NewMessage",
    "Notification",
    "Settlement",
    "Spool",
    "SpoolError",
    "State",
    "octets_in_memory",
]
