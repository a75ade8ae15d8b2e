"""How many mails a second are accepted into the spool, beside Postfix, which accepts them into its queue.

    python -m tests.bench.throughput [--mails 10000] [--sessions 20] [--rounds 5]

Both answer 250 for what is on stable storage, and discard it afterwards. One client (Postfix's `smtp-source`, 1 KB
mails, many in each connection), one machine, in turns; the disk syncs for both. The ratio of the medians counts.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.app.gateway_process import GatewayProcess
from tests.servers.postfix import Postfix
from tests.servers.processes import find_program

_CONFIGURATION = """
[gateway]
hostname = "mx.example.org"
spool = "{spool}"
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[[connector]]
name = "nowhere"
type = "sample"
[[route]]
recipients = ["*"]
connectors = ["nowhere"]
accept = "{accept}"
"""


def main() -> None:
    """Measure in turns, and print each round and the ratio of the medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mails", type=int, default=10_000)
    options.add_argument("--sessions", type=int, default=20)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    measure(mails=chosen.mails, sessions=chosen.sessions, rounds=chosen.rounds)


def measure(*, mails: int, sessions: int, rounds: int) -> float:
    """The ratio of the medians, spool to Postfix."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Postfix("smtp", "127.0.0.1:9", {"default_transport": "discard:"}) as postfix,
    ):
        path = Path(folder, "mailsluice.toml")
        path.write_text(_CONFIGURATION.format(spool=Path(folder, "spool"), accept="spooled"))
        with GatewayProcess("--config", path, folder=Path(folder), seconds=3600, quiet=True) as gateway:
            places: dict[str, Callable[[], float]] = {
                "spool": lambda: _rate(gateway.address("mx")[1], mails, sessions),
                "Postfix": lambda: _rate(postfix.port, mails, sessions),
            }
            found: dict[str, list[float]] = {name: [] for name in places}
            for number in range(rounds):
                for name, run in places.items():
                    found[name].append(run())
                print(f"round {number + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in found.items()))
            while postfix.queue():
                time.sleep(0.1)
    medians = {name: statistics.median(each) for name, each in found.items()}
    ratio = medians["spool"] / medians["Postfix"]
    print(", ".join(f"{name} {median:,.0f}/s" for name, median in medians.items()) + f", ratio {ratio:.1f}")
    return ratio


def _rate(port: int, mails: int, sessions: int) -> float:
    began = time.monotonic()
    subprocess.run(
        [
            find_program("smtp-source"),
            *("-s", str(sessions), "-m", str(mails), "-l", "1024", "-d"),
            *("-f", "a@example.net", "-t", "b@example.org", f"127.0.0.1:{port}"),
        ],
        check=True,
        capture_output=True,
    )
    return mails / (time.monotonic() - began)


if __name__ == "__main__":
    main()
