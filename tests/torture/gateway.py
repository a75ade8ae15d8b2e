"""The gateway under torture: its configuration, and what an outsider can see of its spool and its descriptors."""

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.torture.oracle import Route
from tests.torture.sinks import Sink

__all__ = ["SpoolView", "children", "configuration", "open_leftovers"]

_DRAIN_SECONDS = 120.0
_CLOSED_WITHIN_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOG_LINES_SHOWN = 20
_UNDER_WAY = "state NOT IN ('dead', 'quarantined')"


def configuration(sinks: Iterable[Sink], routes: Mapping[str, Route], *, workers: int = 1) -> str:
    """A gateway with an SMTP and an LMTP listener, these sinks, and a route for each domain; its spool is `spool`."""
    # The bench's own disk may be fuller than an operator would have it, and its largest mails are large.
    table = f"[gateway]\nspool_min_free_percent = 1\nworkers = {workers}\n"
    gateway = tables.LISTENERS.replace("[gateway]\n", table)
    gateway = gateway.replace('bind = "', 'max_message_bytes = 67108864\nbind = "')
    connectors = "".join(sink.table() for sink in sinks)
    return gateway + connectors + "".join(_route(domain, route) for domain, route in routes.items())


def _route(domain: str, route: Route) -> str:
    return tables.route(*route.sinks, recipients=f"*@{domain}") + f'accept = "{route.accept}"\n'


class SpoolView:
    """The spool of a gateway, with those of further workers, looked into from beside it, without its code."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def wait_until_drained(self, gateway: Gateway) -> None:
        """Return once nothing waits to be delivered; raises AssertionError after two minutes, or if it ends."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while waiting := self._rows(f"SELECT connector, count(*) FROM delivery WHERE {_UNDER_WAY} GROUP BY connector"):
            if not gateway.running:
                raise AssertionError(f"the gateway ended while it was drained:\n{_end(gateway)}")
            if time.monotonic() > deadline:
                rows = self._rows(f"SELECT * FROM delivery WHERE {_UNDER_WAY} LIMIT 5")
                raise AssertionError(
                    f"the spool still has {waiting} after {_DRAIN_SECONDS:g} s: {rows}\n{_end(gateway)}"
                )
            time.sleep(_POLL_SECONDS)

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits to be delivered."""
        return not self._rows(f"SELECT 1 FROM delivery WHERE {_UNDER_WAY} LIMIT 1")

    def dead(self) -> set[tuple[str, str]]:
        """The dead letters, as mail id and connector."""
        return set(self._rows("SELECT id, connector FROM delivery JOIN message ON number = message WHERE state='dead'"))

    def leftovers(self, *, orphans: int = 0) -> list[str]:
        """What should not be there once it is drained, in sentences. Kills may leave so many `orphans` of content.

        Those are collected when they are an hour old.
        """
        found = [f"the message {id_} has no delivery left" for (id_,) in self._rows(_WITHOUT_DELIVERY)]
        found += [f"{id_} for {name} is in quarantine: {cause}" for id_, name, cause in self._rows(_QUARANTINED)]
        known = {id_ for (id_,) in self._rows("SELECT id FROM message")}
        nobodys = [
            path.name for spool in self._spools() for path in (spool / "content").iterdir() if path.name not in known
        ]
        if len(nobodys) > orphans:
            found.append(f"{len(nobodys)} files of content belong to no message, of which kills explain {orphans}")
        names = {"lock", "reserve", "spool.db", "spool.db-wal", "spool.db-shm", "content", "quarantine"}
        names |= {spool.name for spool in self._spools()}
        found += [
            f"{path.name} lies in the spool"
            for spool in self._spools()
            for path in spool.iterdir()
            if path.name not in names
        ]
        return found

    def _spools(self) -> list[Path]:
        every = [self._directory, *self._directory.glob("worker-*")]
        return [spool for spool in every if (spool / "spool.db").exists()]

    def _rows(self, statement: str) -> list[tuple]:
        rows = []
        for spool in self._spools():
            with closing(sqlite3.connect(f"file:{spool / 'spool.db'}?mode=ro", uri=True, timeout=30)) as connection:
                rows += connection.execute(statement).fetchall()
        return rows


_WITHOUT_DELIVERY = "SELECT id FROM message WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE message = number)"
_QUARANTINED = "SELECT id, connector, cause FROM delivery JOIN message ON number = message WHERE state = 'quarantined'"


def children(pid: int) -> list[int]:
    """The processes that a process has forked, and that are still there."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def open_leftovers(gateway: Gateway) -> list[str]:
    """Files of content that an idle gateway still has open, in sentences."""
    # A file is closed after its mail is settled, or answered.
    deadline = time.monotonic() + _CLOSED_WITHIN_SECONDS
    while (found := _open_leftovers(gateway)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return found


def _open_leftovers(gateway: Gateway) -> list[str]:
    found = []
    pids = (gateway.pid, *children(gateway.pid))
    for descriptor in chain.from_iterable(Path(f"/proc/{pid}/fd").iterdir() for pid in pids):
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        # What several workers take turns by in their log is a file that never had a name.
        is_of_mail = target.endswith("(deleted)") and not target.startswith("/memfd:turns")
        if is_of_mail or "/content/" in target:
            found.append(f"{target} is still open")
    return found


def _end(gateway: Gateway) -> str:
    """The end of what it said."""
    return "\n".join(gateway.log.splitlines()[-_LOG_LINES_SHOWN:])
