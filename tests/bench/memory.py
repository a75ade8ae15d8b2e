"""How much memory a large message takes: `python -m tests.bench.memory`, or `make bench`.

One message of 1 GB by BDAT in chunks of 1 MiB, and one by DATA, each pass into the directory archive of a gateway that
has just started. Printed for each: at what rate it passed, from the hello to the 250; by how much the gateway's
resident memory grew meanwhile; and whether what is archived has the digest of what was sent. The exit status is 1 where
memory grew by 64 MiB or more, or a digest differs.

The peak is the kernel's own (`VmHWM`, proc(5)), so that none is missed between two looks.
"""

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.wire import Wire

MESSAGE_BYTES = 1_000_000_000
ACCEPTED_GROWTH_BYTES = 64 * 1024 * 1024

_MEBIBYTE = 1024 * 1024
_RECIPIENT = "bench@example.org"
# The last reply comes when all is synced, which takes the disk its time.
_REPLY_SECONDS = 540.0
_HEADER = b"Subject: large\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One message that has passed."""

    command: str
    size: int
    seconds: float
    resident_bytes: int
    growth_bytes: int
    is_intact: bool

    def __str__(self) -> str:
        megabytes = self.size / 1e6
        return (
            f"{self.command}  {megabytes:.1f} MB in {self.seconds:.1f} s, {megabytes / self.seconds:.0f} MB/s;  "
            f"resident memory {self.resident_bytes / _MEBIBYTE:.1f} MiB, "
            f"at most {self.growth_bytes / _MEBIBYTE:+.1f} MiB while it passed;  "
            f"digest {'equal' if self.is_intact else 'DIFFERENT'}"
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What the client knows of its message."""

    reply: str
    size: int
    sha256: str


def measure(size: int) -> Iterator[Passage]:
    """Send a message of about `size` octets by each command, to a gateway of its own."""
    listeners = tables.LISTENERS.replace('"smtp"\nbind', f'"smtp"\nmax_message_bytes = {2 * size}\nbind')
    configuration = listeners + tables.directory("deadline_seconds = 540.0") + tables.route("archive")
    for command, send in (("BDAT", _by_bdat), ("DATA", _by_data)):
        with (
            tempfile.TemporaryDirectory(prefix="mailsluice-bench-") as folder,
            Gateway(Path(folder), configuration) as gateway,
        ):
            yield _watched(gateway, command, send, size)


def _watched(gateway: Gateway, command: str, send: Callable[[str, int], Sent], size: int) -> Passage:
    before = _memory(gateway.pid)["VmRSS"]
    # From here on: what it took to start is no peak of the message's.
    Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")
    started = time.monotonic()
    sent = send(gateway.addresses["smtp"], size)
    seconds = time.monotonic() - started
    peak = _memory(gateway.pid)["VmHWM"]
    if not sent.reply.startswith("250 "):
        raise RuntimeError(f"the message was refused: {sent.reply}")
    stored = gateway.folder / "mail" / gateway.record(sent.reply)["receipts"]["archive"]["path"]
    return Passage(
        command=command,
        size=sent.size,
        seconds=seconds,
        resident_bytes=before,
        growth_bytes=peak - before,
        is_intact=stored.stat().st_size == sent.size and _digest(stored) == sent.sha256,
    )


def _by_bdat(address: str, size: int) -> Sent:
    """Octets of every value, in chunks of 1 MiB."""
    block = os.urandom(_MEBIBYTE - 16)
    digest = hashlib.sha256()
    sent = 0
    with Wire(address, seconds=_REPLY_SECONDS) as client:
        client.greet()
        client.begin(_RECIPIENT, parameters=" BODY=BINARYMIME")
        while sent < size:
            # With its number in it, no chunk can be lost, doubled or misplaced unseen.
            chunk = b"%016d" % sent + block if sent else _HEADER + block[2:]
            client.send(b"BDAT %d\r\n" % len(chunk))
            client.send(chunk)
            digest.update(chunk)
            sent += len(chunk)
            if not (reply := client.read()).startswith("250 "):
                raise RuntimeError(f"a chunk was refused: {reply}")
        return Sent(client.ask("BDAT 0 LAST"), sent, digest.hexdigest())


def _by_data(address: str, size: int) -> Sent:
    """Lines, one of four with a dot in front, which is doubled on the way."""
    lines = b"".join(b"%b%075d\r\n" % (b"x" if number % 4 else b".", number) for number in range(13_000))
    doubled = b"." + lines.replace(b"\r\n.", b"\r\n..")
    digest = hashlib.sha256(_HEADER)
    sent = len(_HEADER)
    with Wire(address, seconds=_REPLY_SECONDS) as client:
        client.greet()
        client.begin(_RECIPIENT)
        if not (reply := client.ask("DATA")).startswith("354 "):
            raise RuntimeError(f"DATA was refused: {reply}")
        client.send(_HEADER)
        while sent < size:
            number = b"%016d\r\n" % sent
            client.send(number + doubled)
            digest.update(number)
            digest.update(lines)
            sent += len(number) + len(lines)
        return Sent(client.ask("."), sent, digest.hexdigest())


def _memory(pid: int) -> dict[str, int]:
    """The process's memory in octets, by the names of proc(5)."""
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if words[-1] == "kB"}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Print the figures: the exit status."""
    good = True
    for passage in measure(MESSAGE_BYTES):
        print(passage, flush=True)
        good = good and passage.is_intact and passage.growth_bytes < ACCEPTED_GROWTH_BYTES
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
