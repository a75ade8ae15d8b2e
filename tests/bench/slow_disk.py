"""How long other sessions wait while each sync of the disk takes two seconds: `python -m tests.bench.slow_disk`.

Clients send mail that is spooled, small and large, and each waits for its 250, that is for the disk. Another session
says NOOP all the while. Printed: how long it waited for its answers, and how long the mails took. The exit status is 1
where 1 % of the NOOPs took 50 ms or more.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.wire import Wire, deliver
from tests.torture.gateway import SpoolView
from tests.torture.shim import Action, Faults

__all__ = ["ACCEPTED_SECONDS", "SlowDisk", "measure"]

ACCEPTED_SECONDS = 0.05

_BETWEEN_NOOPS_SECONDS = 0.005
_NOOPS_IN_A_SESSION = 90
# In a row of the database, in a file beside it, and in one from its first octets on.
_SIZES = (1_000, 100_000, 400_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDisk:
    """What was measured: seconds, of NOOPs and of mails, and the final replies."""

    noops: tuple[float, ...]
    mails: tuple[float, ...]
    replies: tuple[str, ...]

    @property
    def p99(self) -> float:
        """What 99 of 100 NOOPs did not exceed."""
        return statistics.quantiles(self.noops, n=100)[-1]

    def __str__(self) -> str:
        return (
            f"{len(self.noops)} NOOPs: median {1000 * statistics.median(self.noops):.1f} ms, "
            f"p99 {1000 * self.p99:.1f} ms, longest {1000 * max(self.noops):.1f} ms;  {len(self.mails)} mails, "
            f"{sum(reply.startswith('250') for reply in self.replies)} accepted: "
            f"{min(self.mails):.1f} to {max(self.mails):.1f} s each"
        )


def measure(folder: Path, *, rounds: int, clients: int = 20) -> SlowDisk:
    """Let so many crowds of so many clients send, one after another, to a gateway whose spool is on a slow disk."""
    configuration = tables.LISTENERS + tables.directory() + tables.spooled("archive")
    with Faults(folder / "spool") as disk, Gateway(folder, configuration, environment=disk.environment()) as gateway:
        over = threading.Event()
        with ThreadPoolExecutor(clients + 1) as threads:
            noops = threads.submit(lambda: tuple(_noops(gateway, over)))
            disk.arm(Action.SLOW, at=1)
            sent: list[tuple[float, str]] = []
            for _ in range(rounds):
                sizes = (_SIZES[number % len(_SIZES)] for number in range(clients))
                sent += threads.map(lambda size: _mail(gateway, size), sizes)
            over.set()
            measured = SlowDisk(
                noops=noops.result(), mails=tuple(seconds for seconds, _ in sent), replies=tuple(it for _, it in sent)
            )
        disk.disarm()
        SpoolView(folder / "spool").wait_until_drained(gateway)
        if gateway.stop() != 0:
            raise RuntimeError(gateway.log)
    return measured


def _noops(gateway: Gateway, over: threading.Event) -> Iterator[float]:
    while not over.is_set():
        with Wire(gateway.addresses["smtp"]) as client:
            client.greet()
            # A session that says too many of them is ended.
            for _ in range(_NOOPS_IN_A_SESSION):
                if over.wait(_BETWEEN_NOOPS_SECONDS):
                    return
                began = time.monotonic()
                if not client.ask("NOOP").startswith("250"):
                    raise RuntimeError("NOOP was refused")
                yield time.monotonic() - began


def _mail(gateway: Gateway, size: int) -> tuple[float, str]:
    began = time.monotonic()
    (reply,) = deliver(gateway.addresses["smtp"], bytes(size), "bench@example.org")
    return time.monotonic() - began, reply


def main() -> int:
    """Print the figures: the exit status."""
    options = argparse.ArgumentParser(prog="python -m tests.bench.slow_disk", description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    with tempfile.TemporaryDirectory(prefix="mailsluice-bench-") as folder:
        measured = measure(Path(folder), rounds=options.parse_args().rounds)
    print(measured)
    return 0 if measured.p99 < ACCEPTED_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
