"""How many mails a second are accepted into the spool, beside Postfix, which accepts them into its queue.

    python -m tests.bench.throughput [--mails 10000] [--sessions 20] [--rounds 5] [--workers "1 2"]

Both answer 250 for what is on stable storage, and discard it afterwards. One client (Postfix's `smtp-source`, 1 KB
mails, many in each connection), one machine, in turns; the disk syncs for both. The ratio of the medians counts.
There is a gateway for each number of workers, which idles while it is not its turn.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.app.gateway_process import GatewayProcess
from tests.servers.postfix import Postfix
from tests.servers.processes import find_program

_CONFIGURATION = """
[gateway]
hostname = "mx.example.org"
spool = "spool"
workers = {workers}
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
accept = "spooled"
"""


def main() -> None:
    """Measure in turns, and print each round and the ratio of the medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mails", type=int, default=10_000)
    options.add_argument("--sessions", type=int, default=20)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--workers", type=lambda text: [int(each) for each in text.split()], default=[1, 2])
    chosen = options.parse_args()
    measure(mails=chosen.mails, sessions=chosen.sessions, rounds=chosen.rounds, workers=chosen.workers)


def measure(*, mails: int, sessions: int, rounds: int, workers: Sequence[int]) -> Mapping[int, float]:
    """The ratio of the medians, spool to Postfix, for each number of workers."""
    with ExitStack() as running:
        postfix = running.enter_context(Postfix("smtp", "127.0.0.1:9", {"default_transport": "discard:"}))
        ports = {_name(number): running.enter_context(_gateway(number)).address("mx")[1] for number in workers}
        ports["Postfix"] = postfix.port
        found: dict[str, list[float]] = {name: [] for name in ports}
        for number in range(rounds):
            for name, port in ports.items():
                found[name].append(_rate(port, mails, sessions))
                while postfix.queue():
                    # What it has accepted it discards afterwards, which is not to be in the others' turns.
                    time.sleep(0.1)
            print(f"round {number + 1}: " + ", ".join(f"{name} {each[-1]:,.0f}/s" for name, each in found.items()))
    medians = {name: statistics.median(each) for name, each in found.items()}
    ratios = {number: medians[_name(number)] / medians["Postfix"] for number in workers}
    print(", ".join(f"{name} {median:,.0f}/s" for name, median in medians.items()))
    print("to Postfix: " + ", ".join(f"{_name(number)} {ratio:.1f}" for number, ratio in ratios.items()))
    return ratios


def _name(workers: int) -> str:
    return f"spool with {workers} worker{'' if workers == 1 else 's'}"


@contextmanager
def _gateway(workers: int) -> Iterator[GatewayProcess]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mailsluice.toml")
        path.write_text(_CONFIGURATION.format(workers=workers))
        with GatewayProcess("--config", path, folder=Path(folder), seconds=3600, quiet=True) as gateway:
            yield gateway


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
