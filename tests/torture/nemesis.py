"""Whatever comes to mind, for hours: `python -m tests.torture.nemesis --minutes 480`.

Every second or so one fault: the gateway killed, frozen, told to read its configuration again, or a broken one; its
spool's disk full; the consumer killed or frozen. Clients go on all the while, and come back when they are cut off. A
mail may come twice because of a kill, of the gateway or of the consumer, and because of nothing else. Each round of ten
minutes ends with a drain and a verdict; the files of a round that failed stay. The seed gives the faults and the mails,
not what the machine does in between. The clock is the system's and does not jump.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.gateway import MAILSLUICE, Gateway
from tests.servers.ports import LOOPBACK, free_port
from tests.torture.clients import Client
from tests.torture.gateway import SpoolView, configuration
from tests.torture.journal import Journal, read
from tests.torture.oracle import Route, Verdict, judge
from tests.torture.shim import Action, Faults
from tests.torture.sinks import DirectorySink, HttpSink
from tests.torture.workload import Traffic, mails

__all__ = ["torment"]

ROUTES = {
    "example.org": Route(("archive", "consumer"), "spooled"),
    "direct.example": Route(("direct",), "delivered"),
}

_CONNECTIONS = 4
_ROUND_SECONDS = 600.0
_BETWEEN_MAILS_SECONDS = 0.05
_BETWEEN_FAULTS_SECONDS = (0.1, 1.5)
_LONGEST_FAULT_SECONDS = 2.0
# As in tests.torture.kill: the mails that the HTTP connector has under way.
_UNDER_WAY = 64 + _CONNECTIONS


def torment(folder: Path, *, seed: str, seconds: float) -> Verdict:
    """One round in an empty folder. Raises AssertionError where the gateway ends by itself, or does not drain."""
    archive, direct = DirectorySink(folder / "mail"), DirectorySink(folder / "direct", name="direct")
    with (
        Journal(folder / "journal") as journal,
        HttpSink(folder) as consumer,
        Faults(folder / "spool") as disk,
        Gateway(
            folder,
            _with_ports(configuration([archive, direct, consumer], ROUTES)),
            environment=disk.environment(),
        ) as it,
    ):
        nemesis = _Nemesis(it, consumer, disk, random.Random(seed))
        with _clients(it.addresses, journal, seed):
            nemesis.rage(seconds)
        spool = SpoolView(folder / "spool")
        # A consumer that failed twice would be left alone for five minutes.
        subprocess.run([MAILSLUICE, "spool", "retry", "--all", "--spool", folder / "spool"], check=True, timeout=60)
        spool.wait_until_drained(it)
        leftovers = [] if (status := it.stop()) == 0 else [f"the gateway ended with status {status}"]
        leftovers += spool.leftovers(orphans=_CONNECTIONS * (len(nemesis.kills) + len(nemesis.held_up)))
        return judge(
            read(folder / "journal"),
            {sink.name: sink.delivered() for sink in (archive, direct, consumer)},
            ROUTES,
            faults=nemesis.kills,
            held_up=nemesis.held_up,
            at_each=_UNDER_WAY,
            dead=spool.dead(),
            leftovers=leftovers + nemesis.defects + archive.problems() + direct.problems(),
        )


class _Nemesis:
    """Does one bad thing after another, each ended before the next.

    It keeps when it killed what, and from when to when the gateway could not settle what was delivered.
    """

    def __init__(self, gateway: Gateway, consumer: HttpSink, disk: Faults, source: random.Random) -> None:
        self.kills: list[float] = []
        self.held_up: list[tuple[float, float]] = []
        self.defects: list[str] = []
        self._gateway = gateway
        self._consumer = consumer
        self._disk = disk
        self._source = source

    def rage(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        faults = (self._kill, self._freeze, self._reload, self._misconfigure, self._fill_disk, self._kill_consumer)
        while time.monotonic() < deadline:
            time.sleep(self._source.uniform(*_BETWEEN_FAULTS_SECONDS))
            assert self._gateway.running, f"the gateway ended by itself:\n{self._gateway.log}"
            self._source.choice((*faults, self._freeze_consumer))()
        self._note_defects()

    def _kill(self) -> None:
        self.kills.append(time.time())
        self._gateway.kill()
        self._note_defects()
        self._gateway.start()

    def _freeze(self) -> None:
        with self._holding_up():
            self._gateway.pause()
            self._last()
            self._gateway.resume()

    def _reload(self) -> None:
        os.kill(self._gateway.pid, signal.SIGHUP)

    def _misconfigure(self) -> None:
        path = self._gateway.folder / "mailsluice.toml"
        good = path.read_text()
        refused = self._gateway.log.count("was not reloaded")
        path.write_text(good + "\n[[connector]]\nname = ")
        try:
            self._reload()
            self._gateway.wait_for("was not reloaded", count=refused + 1)
        finally:
            path.write_text(good)

    def _fill_disk(self) -> None:
        with self._holding_up():
            self._disk.arm(Action.NO_SPACE, at=1, sticky=True)
            self._last()
            self._disk.disarm()

    def _kill_consumer(self) -> None:
        self.kills.append(time.time())
        self._consumer.process.kill()
        self._last()
        self._consumer.start()

    def _freeze_consumer(self) -> None:
        with self._holding_up():
            self._consumer.process.pause()
            self._last()
            self._consumer.process.resume()

    @contextmanager
    def _holding_up(self) -> Iterator[None]:
        begun = time.time()
        yield
        self.held_up.append((begun, time.time()))

    def _last(self) -> None:
        time.sleep(self._source.uniform(0, _LONGEST_FAULT_SECONDS))

    def _note_defects(self) -> None:
        said = self._gateway.log.splitlines()
        self.defects += [line for line in said if "Traceback" in line or "broke its contract" in line]


@contextmanager
def _clients(addresses: dict[str, str], journal: Journal, seed: str) -> Iterator[None]:
    over = threading.Event()
    traffic = Traffic(domains=tuple(ROUTES))

    def send(number: int) -> None:
        with Client(addresses, journal) as client:
            for mail in mails(f"{seed}.{number}", traffic):
                while not _is_connected(client, mail.listener):
                    if over.wait(_BETWEEN_MAILS_SECONDS):
                        return
                client.send(mail)
                if over.wait(_BETWEEN_MAILS_SECONDS):
                    return

    threads = [threading.Thread(target=send, args=(number,), name=f"client {number}") for number in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _is_connected(client: Client, listener: str) -> bool:
    try:
        client.connect(listener)
    except OSError:
        return False
    return True


def _with_ports(configuration: str) -> str:
    """The same addresses after each start: clients come back to them."""
    while f"{LOOPBACK}:0" in configuration:
        configuration = configuration.replace(f"{LOOPBACK}:0", f"{LOOPBACK}:{free_port()}", 1)
    return configuration


def main() -> int:
    """Run for as long as the command line says: the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.nemesis", description="One fault after another.")
    parser.add_argument("--minutes", type=float, default=480, help="how long in all (480)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what to repeat; one at random")
    options = parser.parse_args()
    begun = time.monotonic()
    failed = number = 0
    while (left := 60 * options.minutes - (time.monotonic() - begun)) > 0:
        folder = Path(tempfile.mkdtemp(prefix="mailsluice-nemesis-"))
        try:
            verdict = torment(folder, seed=f"{options.seed}-{number}", seconds=min(left, _ROUND_SECONDS))
            is_clean, said = verdict.is_clean, str(verdict)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next round goes on
            is_clean, said = False, f"{type(error).__name__}: {error}"
        if is_clean:
            shutil.rmtree(folder)
        else:
            said = f"FAILED (files: {folder})\n{said}"
        failed += not is_clean
        print(f"seed {options.seed}, round {number}, {time.monotonic() - begun:.0f} s: {said}", flush=True)
        number += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
