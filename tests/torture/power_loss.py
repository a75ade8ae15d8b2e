"""Power failures: the gateway works, and every disk that a failure could leave behind it is started from.

    python -m tests.torture.power_loss            # 1,000 images

A kill keeps what the system has not written yet, so that it proves nothing about syncing. Here a running gateway's
calls are recorded, images are built of what the disk may hold at some moment (`tests.torture.images`), and each must
have all mail that was acknowledged until then: in the archive, or in the spool, intact.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from tests.torture import spool_life
from tests.torture.clients import Client
from tests.torture.forked import ForkedGateway
from tests.torture.gateway import SpoolView, configuration
from tests.torture.images import Disk, states
from tests.torture.journal import Ending, Journal, Outcome, Record, read
from tests.torture.oracle import Route, Verdict, judge
from tests.torture.shim import Action, Faults
from tests.torture.sinks import DirectorySink
from tests.torture.spool_crashes import MEMORY
from tests.torture.workload import Traffic, mails

__all__ = ["Recording", "recording"]

_IMAGES_OF_ONE = 100
_UNKNOWN = Outcome(Ending.UNKNOWN)
_SIZES = {0: 1, 1: 1, 4096: 4, 65_537: 1, 300_000: 1}


@dataclass(frozen=True, slots=True)
class Recording:
    """What a gateway did to its files, and how long the record was when each mail had been acknowledged."""

    disk: Path
    log: Path
    records: Sequence[Record]
    acknowledged: Sequence[int]
    routes: dict[str, Route]

    def images(self, count: int, chance: random.Random) -> Iterator[Verdict]:
        """The verdicts on so many images: half at moments when a mail was acknowledged, half at any."""
        length = self.log.stat().st_size
        cuts = [chance.choice(self.acknowledged) if number % 2 else chance.randrange(length) for number in range(count)]
        for cut, disk in states(self.log, self.disk, cuts):
            yield self._judge(disk, cut, chance)

    def _judge(self, disk: Disk, cut: int, chance: random.Random) -> Verdict:
        with tempfile.TemporaryDirectory(prefix="mailsluice-image-", dir=MEMORY) as place:
            image = Path(place)
            disk.write_image(image, chance)
            archive = DirectorySink(image / "mail")
            spooled = [mail for mail, _ in spool_life.remaining(image / "spool", "archive")]
            # One in both places was delivered, and that had not been noted yet.
            held = {mail.mail_id: mail for mail in (*spooled, *archive.delivered())}
            # Of what came later nothing was promised. Where a directory's names survive in any order, the archive may
            # show a mail that is not all there; `mailsluice verify` tells it, and nobody was told of it before.
            known = [
                record
                if at <= cut and _is_acked(record)
                else Record(record.attempt, (_UNKNOWN,) * len(record.outcomes))
                for record, at in zip(self.records, self.acknowledged, strict=True)
            ]
            return judge(known, {"archive": tuple(held.values())}, self.routes)


def _is_acked(record: Record) -> bool:
    return all(outcome.ending is Ending.ACKED for outcome in record.outcomes)


@contextmanager
def recording(
    accept: Literal["delivered", "spooled"],
    *,
    seed: str,
    count: int = 30,
    lies: bool = False,
    failing_sync: int = 0,
) -> Iterator[Recording]:
    """Record a gateway that takes so many mails, one after another.

    With `lies`, no sync does anything. With `failing_sync` one fails, the first after so many calls.
    """
    with tempfile.TemporaryDirectory(prefix="mailsluice-power-") as place:
        disk, journal_path = Path(place) / "disk", Path(place) / "journal"
        disk.mkdir()
        archive = DirectorySink(disk / "mail")
        routes = {"example.org": Route(("archive",), accept)}
        with Faults(disk, records=True) as faults, Journal(journal_path) as journal:
            if lies:
                faults.arm(Action.LIE, at=1, sticky=True)
            with ForkedGateway(disk, configuration([archive], routes), faults=faults) as gateway:
                if failing_sync:
                    faults.arm(Action.FAIL_SYNC, at=failing_sync, sticky=True)
                acknowledged = []
                with Client(gateway.addresses, journal) as client:
                    for mail in islice(mails(seed, Traffic(sizes=_SIZES)), count):
                        client.send(mail)
                        acknowledged.append(faults.log.stat().st_size)
                SpoolView(disk / "spool").wait_until_drained(gateway)
                assert gateway.stop() == 0
            records = read(journal_path)
            endings = {outcome.ending for record in records for outcome in record.outcomes}
            assert endings == {Ending.ACKED} or (failing_sync and endings == {Ending.ACKED, Ending.REJECTED}), endings
            yield Recording(disk, faults.log, records, acknowledged, routes)


def main() -> None:
    """The long form. Raises AssertionError at the first image that lacks a mail."""
    arguments = argparse.ArgumentParser(description="Start from what power failures may leave.")
    arguments.add_argument("--images", type=int, default=1000, metavar="N")
    arguments.add_argument("--seed", default=str(random.randrange(10**6)))
    given = arguments.parse_args()
    print(f"seed {given.seed}", flush=True)
    for accept in ("delivered", "spooled"):
        judged = 0
        while judged < given.images // 2:
            seed = f"{given.seed}-{accept}-{judged}"
            with recording(accept, seed=seed) as recorded:
                for verdict in recorded.images(_IMAGES_OF_ONE, random.Random(seed)):
                    assert verdict.is_clean, f"{seed}, image {judged}: {verdict}"
                    judged += 1
            print(f"{accept}: {judged} images", flush=True)


if __name__ == "__main__":
    main()
