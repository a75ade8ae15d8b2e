"""How a gateway starts whose spool is full: `python -m tests.bench.restart [messages]`, one million of them by default.

The spool is filled with small messages for a directory archive, as the gateway itself would write them, a few of which
were being delivered when the process before came to its end. Then `mailsluice serve` starts. Printed are the seconds
from its start to the first 250 for a new mail and to the first delivery from the spool; by how much its memory was at
its peak above that of a gateway with an empty spool, while it checked its whole database, accepted and delivered; and
how much it delivered meanwhile. The exit status is 1 where the first 250 took 5 seconds or longer, or memory grew by
more than 128 MiB.
"""

import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from gateway.envelope import Mail, new_id
from gateway.spool import NewDelivery, NewMessage, operations
from gateway.spool.database import open_database
from gateway.testing.samples import plain_mail
from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.wire import Wire

MESSAGES = 1_000_000
ACCEPTED_SECONDS = 5.0
ACCEPTED_GROWTH_BYTES = 128 * 1024 * 1024

_MEBIBYTE = 1024 * 1024
_AT_ONCE = 20_000
_INTERRUPTED = 100
_CHECK_SECONDS = 600.0
_CONFIGURATION = tables.LISTENERS + tables.directory() + tables.spooled("archive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a gateway."""

    messages: int
    spool_bytes: int
    ready_seconds: float
    accepting_seconds: float
    delivering_seconds: float
    checked_seconds: float
    delivered: int
    growth_bytes: int

    @property
    def is_good(self) -> bool:
        return self.accepting_seconds < ACCEPTED_SECONDS and self.growth_bytes < ACCEPTED_GROWTH_BYTES

    def __str__(self) -> str:
        return (
            f"{self.messages} messages, {self.spool_bytes / 1e6:.0f} MB:  ready after {self.ready_seconds:.2f} s, "
            f"first 250 after {self.accepting_seconds:.2f} s, first delivery after {self.delivering_seconds:.2f} s;  "
            f"checked after {self.checked_seconds:.1f} s with {self.delivered} delivered meanwhile;  "
            f"memory at most {self.growth_bytes / _MEBIBYTE:+.1f} MiB over a gateway without spooled mail"
        )


def measure(messages: int, folder: Path, *, until_checked: bool = True) -> Start:
    """Fill a spool in `folder` and start a gateway on it.

    The check of a small spool is so quick that the gateway says nothing of it: do not wait `until_checked`.
    """
    (folder / "idle").mkdir()
    with Gateway(folder / "idle", _CONFIGURATION) as idle:
        _send(idle)
        idle.wait_for('"event": "delivered"')
        before = _memory(idle.pid, "VmRSS")
    full = folder / "full"
    full.mkdir()
    fill(full / "spool", messages)
    spool_bytes = (full / "spool" / "spool.db").stat().st_size
    gateway = Gateway(full, _CONFIGURATION)
    begun = time.monotonic()
    with gateway:
        ready_seconds = time.monotonic() - begun
        _send(gateway)
        accepting_seconds = time.monotonic() - begun
        gateway.wait_for('"event": "delivered"', seconds=_CHECK_SECONDS)
        delivering_seconds = time.monotonic() - begun
        if until_checked:
            gateway.wait_for("database is intact", seconds=_CHECK_SECONDS)
        return Start(
            messages=messages,
            spool_bytes=spool_bytes,
            ready_seconds=ready_seconds,
            accepting_seconds=accepting_seconds,
            delivering_seconds=delivering_seconds,
            checked_seconds=time.monotonic() - begun,
            delivered=gateway.log.count('"event": "delivered"'),
            growth_bytes=_memory(gateway.pid, "VmHWM") - before,
        )


def fill(directory: Path, messages: int) -> None:
    """Put so many small messages into a spool, a few of them under way."""
    (directory / "content").mkdir(parents=True)
    mail = plain_mail()
    with closing(open_database(directory / "spool.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for start in range(0, messages, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, messages))
            with connection:
                operations.add(connection, [_message(mail, attempted=number < _INTERRUPTED) for number in numbers])
            connection.wal_checkpoint()


def _message(mail: Mail, *, attempted: bool) -> NewMessage:
    envelope = structs.replace(mail.envelope, id=new_id())
    delivery = NewDelivery(connector="archive", recipients=(0,), attempted=attempted)
    return NewMessage(mail=Mail(envelope, mail.content), deliveries=(delivery,), accepted_at=time.time())


def _send(gateway: Gateway) -> None:
    with Wire(gateway.addresses["smtp"]) as client:
        client.greet()
        client.begin("bench@example.org")
        reply = client.data(b"Subject: new\r\n\r\nnew\r\n")
        if not reply.startswith("250 "):
            raise RuntimeError(f"the message was refused: {reply}")


def _memory(pid: int, field: str) -> int:
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in fields if words[0] == f"{field}:")


def main() -> int:
    """Print the figures: the exit status."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else MESSAGES
    with tempfile.TemporaryDirectory(prefix="mailsluice-bench-") as folder:
        start = measure(messages, Path(folder))
    print(start)
    return 0 if start.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
