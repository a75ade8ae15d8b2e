"""Whether another connection and another mail can be taken: what all listeners use up together.

A mail that cannot be kept is refused at MAIL, before its octets are sent and while there is still room for what was
accepted before: free space and free inodes of the spool's file system have a floor, memory has a ceiling. That space
was there at MAIL promises nothing: a disk that fills up later is still found by whoever writes to it.
"""

import os
from math import inf
from pathlib import Path
from time import monotonic

from gateway.ingress import records
from gateway.ingress.content_builder import MEMORY_OCTETS
from gateway.smtp import Reply

__all__ = ["Admission", "Room"]

_NO_SPACE = Reply.of(452, "4.3.1", "not enough storage, try again later")
_NO_MEMORY = Reply.of(452, "4.3.1", "too much mail under way, try again later")
_UNKNOWN = Reply.of(451, "4.3.0", "local error, try again later")

_LOOK_SECONDS = 1.0
# Of content, memory holds 256 KiB each and a file the rest; metadata stays in memory. The thousand sessions that a
# listener has by default hold half of this when each is in the middle of a large content, and that half is left for
# metadata, of which a mail may have 4 MiB.
_MEMORY_OCTETS = 512 * 1024 * 1024


class Admission:
    """Shared by all listeners. `largest_message` is in octets, the largest that any of them takes.

    `min_free_percent` is the share of the spool's file system, and of its inodes, below which mail is refused; so it is
    in any case where one and a half of the largest messages do not fit. `max_connections` is for all listeners
    together, and so is `max_files`, in which large content is received. `sharers` is the number of processes, this one
    included, that take mail beside each other: each uses an equal share of memory and disk.
    """

    def __init__(
        self,
        spool: Path,
        *,
        largest_message: int,
        min_free_percent: float = 0.0,
        max_connections: float = inf,
        max_files: float = inf,
        sharers: int = 1,
    ) -> None:
        self._spool = spool
        self._sharers = sharers
        self._max_connections = max_connections
        self._connections = 0
        self._use = _Use(max_files)
        self._spare = 0
        self._shortage: tuple[Reply, str] | None = None
        self._told: set[Reply] = set()
        self._refused = False
        self.replace(largest_message=largest_message, min_free_percent=min_free_percent)

    def replace(self, *, largest_message: int, min_free_percent: float) -> None:
        """Other bounds from now on."""
        self._looked = -inf
        self._min_free_percent = min_free_percent
        self._largest_message = largest_message
        # Twice the largest: one that is allowed at all must not be too much by itself.
        self._use.max_in_memory = max(_MEMORY_OCTETS // self._sharers, 2 * largest_message)

    # Connections.

    def arrive(self) -> bool:
        """Count a connection that was accepted, and say whether it may stay. Either way it is to `leave`."""
        self._connections += 1
        return self._connections <= self._max_connections

    def leave(self) -> None:
        """A connection is gone, with all that it had open."""
        self._connections -= 1

    # Mails.

    def admit(self, size: int) -> "Room | Reply":
        """Room for a mail that declares so many octets (0 where it does not say), or why there is none (4yz).

        Looks at the file system once a second at most, and logs when refusing begins and ends.
        """
        is_new = monotonic() - self._looked >= _LOOK_SECONDS
        if is_new:
            self._look()
        refusal = self._refusal()
        if refusal is None:
            if is_new and self._told and not self._refused:
                self._told.clear()
                records.mail_admitted_again()
            self._refused = self._refused and not is_new
            return Room(self._use, size)
        reply, cause = refusal
        self._refused = True
        if reply not in self._told:
            self._told.add(reply)
            records.mail_not_admitted(cause)
        return reply

    def _look(self) -> None:
        self._looked = monotonic()
        try:
            found = os.statvfs(self._spool)
        except OSError as error:
            self._shortage = _UNKNOWN, f"the spool's file system cannot be asked for free space: {error.strerror}"
            return
        floor = max(found.f_blocks * found.f_frsize * self._min_free_percent / 100, 1.5 * self._largest_message)
        self._spare = int(found.f_bavail * found.f_frsize - floor) // self._sharers
        # A file system without a table of inodes says that it has none at all.
        inodes = max(1, int(found.f_files * self._min_free_percent / 100)) if found.f_files else 0
        self._shortage = None
        if found.f_flag & os.ST_RDONLY:
            self._shortage = _NO_SPACE, "the spool's file system is read-only"
        elif found.f_favail < inodes:
            self._shortage = _NO_SPACE, f"{found.f_favail} inodes are free, and {inodes} must be"

    def _refusal(self) -> tuple[Reply, str] | None:
        if self._shortage is not None:
            return self._shortage
        use = self._use
        if self._spare < use.reserved:
            missing = use.reserved - self._spare
            return _NO_SPACE, f"{missing} octets more must be free, with the {use.reserved} of the mail under way"
        if use.in_memory >= use.max_in_memory:
            return _NO_MEMORY, f"the mail under way has {use.in_memory} octets in memory"
        return None


class _Use:
    """What all mails under way have together: octets of the disk as far as is known, octets of memory, and files."""

    __slots__ = ("files", "in_memory", "lacks_files", "max_files", "max_in_memory", "reserved")

    def __init__(self, max_files: float) -> None:
        self.reserved = 0
        self.in_memory = 0
        self.max_in_memory = 0
        self.files = 0
        self.max_files = max_files
        # That they have run out is told once, until half of them are free.
        self.lacks_files = False


class Room:
    """What one mail takes from its MAIL until it is answered: what it declared, or what has come where that is more.

    What has come is counted though it may lie on the disk already: the last look at the disk may be older.
    """

    __slots__ = ("_has_file", "_in_memory", "_received", "_reserved", "_use")

    def __init__(self, use: _Use, declared: int) -> None:
        self._use = use
        self._reserved = declared
        self._received = 0
        self._in_memory = 0
        self._has_file = False
        use.reserved += declared

    def take_content(self, octets: int) -> Reply | None:
        """Count content that has come; a reply says that there is no more room."""
        return self._take(octets, in_memory=min(octets, max(0, MEMORY_OCTETS - self._received)))

    def take_metadata(self, octets: int) -> Reply | None:
        """Count a metadata container that has come; a reply says that there is no more room."""
        return self._take(octets, in_memory=octets)

    def take_file(self) -> Reply | None:
        """Count the file that content needs once it is large; a reply says that there are too many of them."""
        use = self._use
        if not self._has_file:
            if use.files >= use.max_files:
                if not use.lacks_files:
                    use.lacks_files = True
                    records.mail_not_admitted(f"{use.files} large mails come at once, and descriptors for no more")
                return _NO_MEMORY
            self._has_file = True
            use.files += 1
        return None

    def release(self) -> None:
        """The mail is answered or void. Doing so twice changes nothing."""
        use = self._use
        use.reserved -= self._reserved
        use.in_memory -= self._in_memory
        use.files -= self._has_file
        self._reserved = self._in_memory = 0
        self._has_file = False
        if use.lacks_files and 2 * use.files <= use.max_files:
            use.lacks_files = False
            records.mail_admitted_again()

    def _take(self, octets: int, *, in_memory: int) -> Reply | None:
        use = self._use
        self._received += octets
        if (more := self._received - self._reserved) > 0:
            self._reserved += more
            use.reserved += more
        self._in_memory += in_memory
        use.in_memory += in_memory
        return _NO_MEMORY if in_memory and use.in_memory > use.max_in_memory else None
