"""Every crash point of the spool: its life is ended, or disturbed, at the first call, at the second, and so on.

The way of SQLite's own tests: the number of the call goes up until a life passes without reaching it, so that no call
is left out and none has to be known.
"""

import random
import shutil
import tempfile
from itertools import count
from pathlib import Path

from tests.torture import spool_life
from tests.torture.forked import run
from tests.torture.images import states
from tests.torture.journal import Delivered, read
from tests.torture.oracle import Route, judge
from tests.torture.shim import Action, Faults

__all__ = ["FAULTS", "MEMORY", "end_every_recovery", "lose_power", "meet", "meet_every"]

# With what goes wrong once, and with what goes on going wrong until an operator has mended it.
FAULTS = (
    (Action.KILL, False),
    (Action.TORN, False),
    (Action.IO_ERROR, False),
    (Action.IO_ERROR, True),
    (Action.NO_SPACE, False),
    (Action.NO_SPACE, True),
)
# A killed process loses nothing that it wrote, whatever the file system is: none is as quick as this one.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_KILLED = -9
_ROUTES = {"example.org": Route(("spool",), "spooled")}


def meet_every(action: Action, *, sticky: bool, every: int = 1) -> int:
    """Let lives meet the fault at every call that there is, or every so many: how many lives that took."""
    for lives, at in enumerate(count(1, every), 1):
        if not meet(action, at=at, sticky=sticky):
            return lives
    raise AssertionError


def meet(action: Action, *, at: int, sticky: bool = False) -> bool:
    """Let one life meet the fault at its call `at`, and judge what is left: whether there were so many calls."""
    with tempfile.TemporaryDirectory(prefix="mailsluice-spool-", dir=MEMORY) as folder:
        place = Path(folder)
        (place / "disk").mkdir()
        with Faults(place / "disk") as faults:
            faults.arm(action, at=at, sticky=sticky)
            status = run(spool_life.live, *_paths(place), faults=faults)
            happened = faults.faults > 0
        dies = happened and action in {Action.KILL, Action.TORN}
        assert status == (_KILLED if dies else 0), f"{action.name} at call {at}: the process ended with {status}"
        _judge(place, f"{action.name} at call {at}{' and after' if sticky else ''}")
        return happened


def end_every_recovery() -> int:
    """Kill one recovery after another, each a call later, until one comes through: how many there were."""
    with tempfile.TemporaryDirectory(prefix="mailsluice-spool-", dir=MEMORY) as folder:
        place = Path(folder)
        (place / "disk").mkdir()
        with Faults(place / "disk") as faults:
            run(spool_life.live, *_paths(place), faults=faults)
            # Without an orderly end, so that there is a log to bring in.
            faults.arm(Action.KILL, at=faults.calls - 6)
            run(spool_life.live, *_paths(place), faults=faults)
            for at in count(1):
                faults.arm(Action.KILL, at=at)
                if run(spool_life.recover, str(place / "disk" / "spool"), faults=faults) != _KILLED:
                    break
        _judge(place, f"{at} recoveries")
        return at


def lose_power(*, killed_at: int, images: int, chance: random.Random) -> None:
    """Kill one life at its call `killed_at`, let another one go on, and judge what a power failure leaves after it."""
    with tempfile.TemporaryDirectory(prefix="mailsluice-spool-", dir=MEMORY) as folder:
        place = Path(folder)
        (place / "disk").mkdir()
        with Faults(place / "disk", records=True) as faults:
            faults.arm(Action.KILL, at=killed_at)
            assert run(spool_life.live, *_paths(place), faults=faults) == _KILLED
            assert run(spool_life.live, *_paths(place), faults=faults) == 0
            ((_, disk),) = states(faults.log, place / "disk", [faults.log.stat().st_size])
        for _ in range(images):
            shutil.rmtree(place / "disk")
            (place / "disk").mkdir()
            disk.write_image(place / "disk", chance)
            _judge(place, f"{Action.KILL.name} at call {killed_at}, and a power failure after the next life")


def _paths(place: Path) -> tuple[str, str, str]:
    return str(place / "disk" / "spool"), str(place / "journal"), str(place / "destination")


def _judge(place: Path, happened: str) -> None:
    left = spool_life.remaining(place / "disk" / "spool")
    said = spool_life.said(place / "destination")
    held = {mail.mail_id: mail for mail, _ in left} | {each.mail_id: _delivered(each) for each in said}
    verdict = judge(read(place / "journal"), {"spool": tuple(held.values())}, _ROUTES)
    assert verdict.is_clean, f"{happened}: {verdict}"
    settled = {each.mail_id for each in said if each.is_settled}
    for mail, possible_duplicate in left:
        assert mail.mail_id not in settled, f"{happened}: {mail.mail_id} was settled, and comes again"
        assert possible_duplicate or all(each.mail_id != mail.mail_id for each in said), (
            f"{happened}: {mail.mail_id} may be a duplicate, and is not marked as one"
        )


def _delivered(said: spool_life.Said) -> Delivered:
    return Delivered(marker=said.mail_id, mail_id=said.mail_id, sha256=said.sha256, recipients=(spool_life.RECIPIENT,))
