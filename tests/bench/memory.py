"""How much the gateway's resident memory grows while large mails pass, by BDAT and by DATA, into a directory.

python -m tests.bench.memory [--megabytes 1000]

The generator makes the content as it goes, so that its own memory says nothing. What the gateway stored is digested
afterwards and compared.
"""

import argparse
import hashlib
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end.gateway import Gateway

_MIB = 1024 * 1024
_LINE = b"0123456789" * 7 + b"abcdefgh\r\n"
_BLOCK = _LINE * (_MIB // len(_LINE))
_HEADER = b"Subject: a large mail\r\n\r\n"

_CONFIGURATION = """
[gateway]
hostname = "bench.example.org"

[[listener]]
name = "smtp"
protocol = "smtp"
bind = "127.0.0.1:0"
max_message_bytes = 6000000000

[[connector]]
name = "archive"
type = "directory"
path = "mail"
deadline_seconds = 540

[[route]]
recipients = ["*"]
connectors = ["archive"]
"""


@dataclass(frozen=True)
class Passage:
    """One mail's way through. Memory is the peak of the process (VmHWM) above what it was when idle."""

    method: str
    octets: int
    seconds: float
    growth_octets: int
    intact: bool

    def __str__(self) -> str:
        rate = self.octets / self.seconds / _MIB
        verdict = "digest equal" if self.intact else "DIGEST DIFFERS"
        return (
            f"{self.method}: {self.octets / _MIB:.0f} MiB in {self.seconds:.1f} s ({rate:.0f} MiB/s), "
            f"resident memory +{self.growth_octets / _MIB:.1f} MiB at its peak, {verdict}"
        )


def measure(megabytes: int) -> list[Passage]:
    """Send one mail of so many MiB by each method to a fresh gateway, and look at its memory."""
    passages = []
    for method in ("BDAT", "DATA"):
        with tempfile.TemporaryDirectory() as folder, Gateway(Path(folder), _CONFIGURATION) as gateway:
            host, _, port = gateway.addresses["smtp"].rpartition(":")
            idle = _peak_memory(gateway.pid)
            started = time.monotonic()
            sent = _send(host, int(port), method, megabytes)
            seconds = time.monotonic() - started
            growth = _peak_memory(gateway.pid) - idle
            (stored,) = Path(folder).glob("mail/*/*/*/*.eml")
            with stored.open("rb") as content:
                intact = hashlib.file_digest(content, "sha256").hexdigest() == sent
            passages.append(Passage(method, stored.stat().st_size, seconds, growth, intact))
            gateway.stop()
    return passages


def _content(megabytes: int) -> Iterator[bytes]:
    yield _HEADER
    for _ in range(megabytes):
        yield _BLOCK


def _send(host: str, port: int, method: str, megabytes: int) -> str:
    digest = hashlib.sha256()
    with socket.create_connection((host, port)) as connection, connection.makefile("rb") as replies:

        def ask(octets: bytes, code: bytes) -> None:
            connection.sendall(octets)
            while (line := replies.readline())[3:4] == b"-":
                pass
            if not line.startswith(code):
                raise RuntimeError(f"{octets[:60]!r} was answered {line!r}")

        ask(b"", b"220")
        ask(b"EHLO bench\r\n", b"250")
        ask(b"MAIL FROM:<bench@example.net>\r\n", b"250")
        ask(b"RCPT TO:<bench@example.org>\r\n", b"250")
        if method == "DATA":
            ask(b"DATA\r\n", b"354")
        for block in _content(megabytes):
            digest.update(block)
            if method == "DATA":
                connection.sendall(block)
            else:
                ask(b"BDAT %d\r\n%b" % (len(block), block), b"250")
        ask(b".\r\n" if method == "DATA" else b"BDAT 0 LAST\r\n", b"250")
        ask(b"QUIT\r\n", b"221")
    return digest.hexdigest()


def _peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    for passage in measure(parser.parse_args().megabytes):
        print(passage, flush=True)
