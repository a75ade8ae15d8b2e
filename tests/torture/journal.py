"""What both ends of the gateway saw: the clients' journal of what they sent, and what a sink says that it holds.

    journal = Journal(path)                 # the clients' side; lines of JSON, one write each
    journal.attempted(attempt)              # before the first octet goes out
    journal.concluded(marker, outcomes)     # one outcome for each recipient, in order
    records = read(path)                    # what tests.torture.oracle judges, beside each sink's `delivered()`

A mail is known by its marker, which is the local-part of its reverse-path. So a mail of no octets has one too, and a
mail whose content was damaged is still recognised. A marker is attempted once: nothing here is ever sent again.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

__all__ = ["Attempt", "Delivered", "Ending", "Journal", "Outcome", "Record", "metadata_digest", "read", "sender"]

_DOMAIN = "clients.example"


class Ending(StrEnum):
    """How an attempt ended for one recipient, as the client knows it.

    UNFINISHED: the last octet was never sent, so that no server may deliver the mail. UNKNOWN: it was sent, but no
    final reply came, or the reply was 421, which speaks of the session: delivered or not, both are right.
    """

    ACKED = "acked"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    UNFINISHED = "unfinished"


class Outcome(Struct, frozen=True, omit_defaults=True):
    """The ending, the reply's code where there was a reply, and the id in it where it was positive."""

    ending: Ending
    code: int = 0
    mail_id: str = ""


class Attempt(Struct, frozen=True, kw_only=True, tag="attempt"):
    """A mail that a client is about to send. `metadata_sha256` is `metadata_digest` of its containers."""

    marker: str
    mode: str
    recipients: tuple[str, ...]
    size: int
    sha256: str
    metadata_sha256: str


class _Conclusion(Struct, frozen=True, kw_only=True, tag="conclusion"):
    marker: str
    outcomes: tuple[Outcome, ...]


class Record(Struct, frozen=True):
    """An attempt and what became of it, for each of its recipients."""

    attempt: Attempt
    outcomes: tuple[Outcome, ...]


class Delivered(Struct, frozen=True, kw_only=True):
    """A mail as a sink holds it, or got it: once for each time that it did.

    `at` is when, in seconds of the system's clock; 0 where the sink keeps a mail once however often it comes.
    """

    marker: str
    mail_id: str
    sha256: str
    recipients: tuple[str, ...]
    metadata_sha256: str = ""
    at: float = 0.0


class Journal:
    """A file that clients in any thread append to. It outlives their process, though not the machine."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attempted(self, attempt: Attempt) -> None:
        """A client is about to send this."""
        self._write(attempt)

    def concluded(self, marker: str, outcomes: Sequence[Outcome]) -> None:
        """The attempt has ended, for its recipients in their order."""
        self._write(_Conclusion(marker=marker, outcomes=tuple(outcomes)))

    def close(self) -> None:
        """No more is written."""
        os.close(self._descriptor)

    def _write(self, entry: Attempt | _Conclusion) -> None:
        # One write of the whole line: no other thread's can come between.
        os.write(self._descriptor, msgspec.json.encode(entry) + b"\n")


def read(path: Path) -> list[Record]:
    """Every attempt in a journal, in order. One that was never concluded has an unknown outcome."""
    entries: list[Attempt | _Conclusion] = msgspec.json.decode(
        b"[" + b",".join(path.read_bytes().splitlines()) + b"]", type=list[Attempt | _Conclusion]
    )
    concluded = {entry.marker: entry.outcomes for entry in entries if isinstance(entry, _Conclusion)}
    return [
        Record(entry, concluded.get(entry.marker, tuple(Outcome(Ending.UNKNOWN) for _ in entry.recipients)))
        for entry in entries
        if isinstance(entry, Attempt)
    ]


def sender(marker: str) -> str:
    """The reverse-path of the mail with this marker."""
    return f"{marker}@{_DOMAIN}"


def metadata_digest(containers: Iterable[bytes]) -> str:
    """The SHA-256 of metadata containers (two octets of type and the data, each) and their order; empty for none."""
    blocks = [b"%d:%b" % (len(container), container) for container in containers]
    return hashlib.sha256(b"".join(blocks)).hexdigest() if blocks else ""
