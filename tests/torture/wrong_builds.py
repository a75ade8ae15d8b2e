"""Ten deliberately wrong builds of the gateway, and the checks that have to catch each of them.

A bench that has never seen a loss proves nothing. A wrong build is a copy of the repository's code with one mistake in
it, of the kind that mail systems have been shipped with: a small change of text, which has to match exactly once.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.servers.cache import CACHE, REPOSITORY

__all__ = ["WRONG_BUILDS", "OutOfDate", "WrongBuild", "check", "copy_repository"]

_CHECK_SECONDS = 120.0
_LOSSES, _CRASHES = "tests/torture/test_power_loss.py::", "tests/torture/test_crashpoints.py::"
_POWER = _LOSSES + "test_whatever_a_power_failure_leaves_has_all_mail_that_was_acknowledged"
_SYNC = _LOSSES + "test_after_a_sync_that_failed_nothing_is_acknowledged_on_the_word_of_a_second_one"
_CRASH = _CRASHES + "test_a_gateway_that_is_killed_at_every_call_of_a_mail_leaves_no_half_of_it"
_DISTURB = _CRASHES + (
    "test_a_gateway_whose_disk_fails_says_so_stays_up_and_goes_on_afterwards[an error-data, spooled]"
)
_AT_ONCE = _CRASHES + "test_mails_that_come_at_once_keep_apart[data, delivered]"


class OutOfDate(Exception):
    """The text that a wrong build changes is not there, or not only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongBuild:
    """`old` in the file `path` becomes `new`; `checks` are the tests of which one at least has to fail then."""

    name: str
    path: str
    old: str
    new: str
    checks: tuple[str, ...]

    def make(self, copy: Path) -> None:
        """Make the mistake in a copy of the repository. Raises OutOfDate."""
        source = (copy / self.path).read_text(encoding="utf-8")
        if (found := source.count(self.old)) != 1:
            raise OutOfDate(
                f"the wrong build {self.name!r} is out of date: what it changes is {found} times in {self.path}"
            )
        (copy / self.path).write_text(source.replace(self.old, self.new), encoding="utf-8")


WRONG_BUILDS = (
    WrongBuild(
        name="250 before the sync",
        path="gateway/spool/database.py",
        old='connection.execute("PRAGMA journal_mode = WAL")\n    connection.execute("PRAGMA synchronous = FULL")\n',
        new='connection.execute("PRAGMA journal_mode = WAL")\n    connection.execute("PRAGMA synchronous = NORMAL")\n',
        checks=(f"{_POWER}[spooled]",),
    ),
    WrongBuild(
        name="no sync of the directory",
        path="connectors/directory/connector.py",
        old="            files.sync_directory(day)\n",
        new="",
        checks=(f"{_POWER}[delivered]",),
    ),
    WrongBuild(
        name="a name before its content",
        path="connectors/directory/files.py",
        old='        with os.fdopen(descriptor, "wb") as file:\n            file.writelines(blocks)\n'
        "            file.flush()\n            os.fsync(descriptor)\n        yield Path(temporary)\n",
        new='        with os.fdopen(descriptor, "wb") as file:\n            yield Path(temporary)\n'
        "            file.writelines(blocks)\n            file.flush()\n            os.fsync(descriptor)\n",
        checks=(_CRASH,),
    ),
    WrongBuild(
        name="250 when it is queued",
        path="gateway/delivery/submit.py",
        old="        return await engine.accept(mail, recipients)\n",
        new="        storing = asyncio.ensure_future(engine.accept(mail, recipients))\n"
        "        storing.add_done_callback(lambda done: done.exception())\n"
        '        return Receipt(id=mail.envelope.id, connector="spool", type="spool", location={})\n',
        checks=(f"{_POWER}[spooled]",),
    ),
    WrongBuild(
        name="settled before the receipt",
        path="gateway/delivery/queue.py",
        old="            receipt = await self.destination.deliver(entry.mail)\n",
        new="            await self._settle(_settlement(entry, State.DELIVERED), is_ordered=False)\n"
        "            receipt = await self.destination.deliver(entry.mail)\n",
        checks=(_DISTURB,),
    ),
    WrongBuild(
        name="a cache of what was delivered, filled too early",
        path="gateway/delivery/queue.py",
        old="            receipt = await self.destination.deliver(entry.mail)\n",
        new='            seen = self.__dict__.setdefault("seen", set())\n'
        "            if entry.message in seen:\n"
        "                return _settlement(entry, State.DELIVERED)\n"
        "            seen.add(entry.message)\n"
        "            receipt = await self.destination.deliver(entry.mail)\n",
        checks=(_DISTURB,),
    ),
    WrongBuild(
        name="a second sync after one that failed",
        path="connectors/directory/files.py",
        old="            os.fsync(descriptor)\n        yield",
        new="            try:\n                os.fsync(descriptor)\n            except OSError:\n"
        "                os.fsync(descriptor)\n        yield",
        checks=(f"{_SYNC}[delivered]",),
    ),
    WrongBuild(
        name="one temporary name for all",
        path="connectors/directory/files.py",
        old='    descriptor, temporary = mkstemp(dir=path.parent, prefix=f".{path.name}.")\n',
        new='    temporary = str(path.parent / ".new")\n'
        "    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)\n",
        checks=(_AT_ONCE,),
    ),
    WrongBuild(
        name="LF . LF ends the content",
        path="gateway/smtp/content.py",
        old="        end = taken.find(_END) if has_dots else -1\n        if end >= 0:\n",
        new="        end = taken.find(_END)\n"
        '        bare = taken.find(b"\\n.\\n")\n'
        "        if bare >= 0 and (end < 0 or bare < end):\n"
        "            self.done = True\n"
        "            stop -= len(taken) - (bare + 3)\n"
        "            content = taken[: bare + 1]\n"
        "        elif end >= 0:\n",
        checks=("tests/smtp/test_smuggling.py",),
    ),
    WrongBuild(
        name="recipients outlive a chunk that failed",
        path="gateway/smtp/server.py",
        old="        self.transaction = Transaction()\n        self.step(Cause.TRANSACTION_ENDED)\n",
        new="        ended, self.transaction = self.transaction, Transaction()\n"
        "        if ended.failure is not None:\n"
        "            self.transaction.recipients = ended.recipients\n"
        "        self.step(Cause.TRANSACTION_ENDED)\n",
        checks=("tests/smtp/test_properties.py", "tests/smtp/test_transcripts.py"),
    ),
)


def copy_repository(target: Path) -> None:
    """Copy what the checks need into the empty directory `target`."""
    for name in ("gateway", "connectors", "tests", "schemas"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", target)
    # The shim, and the servers.
    (target / CACHE.name).symlink_to(CACHE)


def check(copy: Path, *checks: str) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy of the repository, on its own code. Status 0: all passed; 1: one failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *checks]
    return subprocess.run(
        command,
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_CHECK_SECONDS,
        check=False,
    )
