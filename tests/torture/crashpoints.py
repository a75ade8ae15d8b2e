"""Crash points of the whole gateway: it is killed, or its disk fails, at the n-th call that changes a file.

    python -m tests.torture.crashpoints          # every call of every course to every destination
    python -m tests.torture.crashpoints --every 7 --only kafka

A course is a way that mail can come and be accepted. It begins with the gateway's start, so that its making of the
directories and the spool is disturbed as well.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, product, takewhile
from pathlib import Path
from typing import Literal

from tests.torture import spool_crashes
from tests.torture.clients import Client, Load
from tests.torture.destinations import DIRECTORY, KINDS, Destination
from tests.torture.forked import ForkedGateway
from tests.torture.gateway import SpoolView, configuration, open_leftovers
from tests.torture.journal import Ending, Journal, read
from tests.torture.oracle import Route, Verdict, judge
from tests.torture.shim import Action, Faults
from tests.torture.spool_crashes import MEMORY
from tests.torture.workload import Mail, Mode, Traffic, mails

__all__ = ["COURSES", "Course", "calls", "come_at_once", "crash", "disturb"]

# In a row of the spool's database, in a file of it, and in a file from its first block on.
_SIZES = (4096, 70_000, 300_000)
_MENDED_SECONDS = 20.0
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Course:
    """How mail comes, and when it is accepted."""

    mode: Mode
    accept: Literal["delivered", "spooled"]

    def __str__(self) -> str:
        return f"{self.mode}, {self.accept}"

    def mail(self, name: str, size: int) -> Mail:
        """The mail of this name; two of one name are the same."""
        return next(mails(name, Traffic(modes=(self.mode,), sizes={size: 1})))


COURSES = tuple(
    Course(mode, accept) for mode, accept in product((Mode.DATA, Mode.BDAT, Mode.LMTP_DATA), ("spooled", "delivered"))
)


class _Scene:
    """A gateway with a disk that fails, and beside it, where nothing fails, the journal. All mail goes to one sink."""

    def __init__(self, place: Path, course: Course, destination: Destination) -> None:
        self.disk = place / "disk"
        self.disk.mkdir()
        self.journal_path = place / "journal"
        self.course = course
        self.name = f"{course} to {destination.name}"
        self.sink = destination.part(place)
        self.routes = {"example.org": Route((self.sink.name,), course.accept)}
        self.spool = SpoolView(self.disk / "spool")
        self.configuration = configuration([self.sink], self.routes)

    def judge(
        self,
        happening: str,
        *,
        orphans: int,
        kills: Sequence[float] = (),
        left: Iterable[str] = (),
        can_undo: bool = True,
    ) -> Verdict:
        """The verdict. Raises AssertionError where a promise was broken; only `kills` explain a duplicate."""
        leftovers = (*self.sink.problems(), *self.spool.leftovers(orphans=orphans), *left)
        delivered = {self.sink.name: self.sink.delivered()}
        verdict = judge(
            read(self.journal_path), delivered, self.routes, faults=kills, leftovers=leftovers, can_undo=can_undo
        )
        assert verdict.is_clean, f"{self.name}: {happening}: {verdict}"
        return verdict

    def outlast(self, gateway: ForkedGateway, what_was_sent: Iterable[Mail], journal: Journal) -> None:
        """Start the gateway, send, let it deliver, and stop it. It may be killed at any point of this."""
        try:
            gateway.start()
            with Client(gateway.addresses, journal) as client:
                for mail in what_was_sent:
                    client.send(mail)
            self.spool.wait_until_drained(gateway)
            gateway.stop()
        except AssertionError:
            if gateway.running:
                raise
            gateway.kill()

    def end(self, gateway: ForkedGateway, happening: str) -> None:
        """Stop it in order. Raises AssertionError where it does not end well."""
        status = gateway.stop()
        assert status == 0, f"{self.name}: {happening}: the gateway ended with {status}\n{gateway.log}"

    def fail_at_every_call(
        self,
        gateway: ForkedGateway,
        client: Client,
        faults: Faults,
        action: Action,
        *,
        sticky: bool,
        size: int,
        every: int,
    ) -> int:
        """Send a mail for each call that one takes, and let that call fail: how many."""
        for at in count(1, every):
            faults.arm(action, at=at, sticky=sticky)
            outcomes = client.send(self.course.mail(f"{size}-{at}", size))
            for outcome in outcomes:
                answered = outcome.ending is Ending.ACKED or 400 <= outcome.code < 500
                assert answered, f"{self.name}: {action.name} at call {at}: {outcome}\n{gateway.log}"
            self._wait_for_fault_or_rest(gateway, faults)
            happened = faults.faults > 0
            faults.disarm()
            self._send_until_accepted(client, f"{size}-{at}-then")
            assert gateway.running, gateway.log
            if not happened:
                return at
        raise AssertionError

    def _wait_for_fault_or_rest(self, gateway: ForkedGateway, faults: Faults) -> None:
        deadline = time.monotonic() + _MENDED_SECONDS
        while not faults.faults and not self.spool.is_drained and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def _send_until_accepted(self, client: Client, name: str) -> None:
        deadline = time.monotonic() + _MENDED_SECONDS
        for number in count():
            outcomes = client.send(self.course.mail(f"{name}-{number}", 10))
            if all(outcome.ending is Ending.ACKED for outcome in outcomes):
                return
            assert time.monotonic() < deadline, f"{self.name}: mail is refused though the disk is well: {outcomes}"
            time.sleep(_POLL_SECONDS)


@contextmanager
def _scene(course: Course, destination: Destination) -> Iterator[_Scene]:
    with tempfile.TemporaryDirectory(prefix="mailsluice-crash-", dir=MEMORY) as place:
        yield _Scene(Path(place), course, destination)


def calls(course: Course, destination: Destination = DIRECTORY, *, sizes: Sequence[int] = _SIZES) -> int:
    """How many calls a gateway makes that nothing happens to, from its start to its end."""
    with _scene(course, destination) as scene, Faults(scene.disk) as faults, Journal(scene.journal_path) as journal:
        gateway = ForkedGateway(scene.disk, scene.configuration, faults=faults)
        scene.outlast(gateway, (course.mail(str(size), size) for size in sizes), journal)
        return faults.calls


def crash(
    course: Course, action: Action, at: int, *, destination: Destination = DIRECTORY, sizes: Sequence[int] = _SIZES
) -> Verdict | None:
    """End the gateway at its call `at`, start it again, and judge: the verdict; None if it makes fewer calls."""
    with _scene(course, destination) as scene, Faults(scene.disk) as faults, Journal(scene.journal_path) as journal:
        gateway = ForkedGateway(scene.disk, scene.configuration, faults=faults)
        happening = f"{action.name} at call {at}"
        faults.arm(action, at=at)
        try:
            scene.outlast(gateway, (course.mail(str(size), size) for size in sizes), journal)
            # It was killed a moment ago: what waits for it has just found out.
            kills = [time.time()] if faults.faults else []
            faults.disarm()
            gateway.start()
            scene.spool.wait_until_drained(gateway)
            scene.end(gateway, happening)
        finally:
            if gateway.running:
                gateway.kill()
        verdict = scene.judge(happening, orphans=len(sizes) * len(kills), kills=kills)
        return verdict if kills else None


def disturb(
    course: Course,
    action: Action,
    *,
    sticky: bool,
    destination: Destination = DIRECTORY,
    sizes: Iterable[int] = _SIZES,
    every: int = 1,
) -> int:
    """Let the disk fail one running gateway at each call, or every so many, and judge it all: how many calls.

    Each mail is accepted or answered 4xx, on the same connection. Once the disk is well again mail is accepted again.
    No mail comes twice: what could not be noted as delivered is noted later.
    """
    with _scene(course, destination) as scene, Faults(scene.disk) as faults, Journal(scene.journal_path) as journal:
        happening = _named(action, sticky=sticky)
        gateway = ForkedGateway(scene.disk, scene.configuration, faults=faults)
        gateway.start()
        try:
            with Client(gateway.addresses, journal) as client:
                calls = sum(
                    scene.fail_at_every_call(gateway, client, faults, action, sticky=sticky, size=size, every=every)
                    for size in sizes
                )
            scene.spool.wait_until_drained(gateway)
            left = open_leftovers(gateway)
            scene.end(gateway, happening)
        finally:
            if gateway.running:
                gateway.kill()
        # A mail that is whole, and whose last sync fails, can be taken back only where names can still be removed.
        is_stuck = sticky and action is Action.IO_ERROR and destination is DIRECTORY
        can_undo = not (is_stuck and course.accept == "delivered")
        scene.judge(happening, orphans=calls, left=left, can_undo=can_undo)
        return calls


def come_at_once(course: Course, *, streams: int, mails_each: int) -> None:
    """Send from many connections, without a fault, and judge."""
    with _scene(course, DIRECTORY) as scene, Faults(scene.disk) as faults, Journal(scene.journal_path) as journal:
        with ForkedGateway(scene.disk, scene.configuration, faults=faults) as gateway:
            traffic = Traffic(modes=(course.mode,), sizes={4096: 1, 70_000: 1})
            flows = [islice(mails(f"stream{number}", traffic), mails_each) for number in range(streams)]
            with Load(gateway.addresses, journal, flows) as load:
                load.wait()
            scene.spool.wait_until_drained(gateway)
            scene.end(gateway, "at once")
        scene.judge("at once", orphans=0)


def main() -> int:
    """The long form: the exit status, 1 where a promise was broken. The other faults are met all the same."""
    options = _options()
    chosen = options.only or ("spool", *KINDS)
    with ExitStack() as servers, ThreadPoolExecutor(options.lanes) as lanes:
        faults = list(_faults_of_the_spool(options.every)) if "spool" in chosen else []
        # What takes longest comes first, so that no lane is left alone with it at the end.
        for name, kind in reversed(KINDS.items()):
            if name in chosen:
                faults += _faults_on_the_way_to(kind.on(servers.enter_context(kind.start())), options.every)
        met = [each.result() for each in as_completed([lanes.submit(_meet, *fault) for fault in faults])]
    return 0 if all(met) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill and disturb the spool and the gateway at every call.")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth call")
    parser.add_argument("--only", choices=("spool", *KINDS), action="append", help="this, not all; may be given again")
    parser.add_argument("--lanes", type=int, default=8, help="how many gateways at one time (8): most of them wait")
    return parser.parse_args()


_Fault = tuple[str, Callable[[], str]]


def _meet(name: str, fault: Callable[[], str]) -> bool:
    begun = time.monotonic()
    try:
        said = fault()
    except Exception as error:  # noqa: BLE001  # whatever it is, the other faults are met all the same
        print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"{name}: {said}, {time.monotonic() - begun:.0f} s", flush=True)
    return True


def _faults_of_the_spool(every: int) -> Iterator[_Fault]:
    for action, sticky in spool_crashes.FAULTS:
        yield f"spool: {_named(action, sticky=sticky)}", partial(_live_with, action, sticky=sticky, every=every)
    yield "spool", lambda: f"{spool_crashes.end_every_recovery()} recoveries in a row"


def _live_with(action: Action, *, sticky: bool, every: int) -> str:
    return f"{spool_crashes.meet_every(action, sticky=sticky, every=every)} lives"


def _faults_on_the_way_to(destination: Destination, every: int) -> Iterator[_Fault]:
    for course, action in product(COURSES, (Action.KILL, Action.TORN)):
        yield f"{course} to {destination.name}: {_named(action)}", partial(_crash, course, action, destination, every)
    for course, action, sticky in product(COURSES, (Action.IO_ERROR, Action.NO_SPACE), (False, True)):
        name = f"{course} to {destination.name}: {_named(action, sticky=sticky)}"
        yield name, partial(_disturb, course, action, destination, every, sticky=sticky)


def _crash(course: Course, action: Action, destination: Destination, every: int) -> str:
    all_verdicts = (crash(course, action, at, destination=destination) for at in count(1, every))
    duplicates = [verdict.duplicates for verdict in takewhile(bool, all_verdicts)]
    return f"{len(duplicates)} crashes, {sum(duplicates)} duplicates"


def _disturb(course: Course, action: Action, destination: Destination, every: int, *, sticky: bool) -> str:
    return f"{disturb(course, action, sticky=sticky, destination=destination, every=every)} calls"


def _named(action: Action, *, sticky: bool = False) -> str:
    return f"{action.name}{' and on' if sticky else ''}"


if __name__ == "__main__":
    sys.exit(main())
