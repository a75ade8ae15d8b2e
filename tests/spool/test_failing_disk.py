"""A disk that fails or is full: what was accepted stays, what was refused never comes, and it goes on afterwards."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from gateway.spool import Spool, SpoolError, State
from tests.spool.failing_disk import FailingDisk
from tests.spool.spools import claimed, drained, mail_of, new, opened, rows, settled

NUMBERS = {apsw.IOError: errno.EIO, apsw.FullError: errno.ENOSPC}


@pytest.fixture(autouse=True)
def reopened_at_once(monkeypatch):
    monkeypatch.setattr("gateway.spool.writer._REOPEN_SECONDS", 0.0)


async def life(spool):
    """Mails in and out; what was accepted, refused and delivered, by content."""
    accepted, refused, delivered = set(), set(), set()
    for number in range(3):
        content = b"%d " % number * 1000
        try:
            await spool.add(new(mail_of(content), ordering_key=b"k" if number % 2 else None))
            accepted.add(content)
        except OSError:
            refused.add(content)
    for _ in range(8):
        try:
            entries = await claimed(spool)
        except OSError:
            continue
        for entry in entries:
            assert entry.mail.content.read() not in delivered
            delivered.add(entry.mail.content.read())
            for _ in range(3):
                try:
                    await spool.settle(settled(entry))
                    break
                except OSError:
                    continue
    return accepted, refused, delivered


@pytest.mark.parametrize("error", NUMBERS)
@pytest.mark.parametrize("suffix", ["spool.db", "-wal"])
async def test_each_write_and_each_sync_may_fail(tmp_path, error, suffix):
    at = 0
    failed = True
    while failed:
        at += 1 + at // 8
        directory = tmp_path / str(at)
        with FailingDisk() as disk:
            async with opened(directory) as spool:
                disk.fail(error, suffix=suffix, at=at)
                accepted, refused, delivered = await life(spool)
                failed = disk.failed > 0
            disk.calm()
        assert accepted | refused == {b"%d " % number * 1000 for number in range(3)}
        assert delivered == accepted
        assert rows(directory, "SELECT * FROM message") == rows(directory, "SELECT * FROM delivery") == []
    assert at > (10 if suffix == "-wal" else 0)


@pytest.mark.parametrize("error", NUMBERS)
async def test_a_failed_commit_fails_all_that_it_held_and_nothing_of_it_is_delivered(tmp_path, error):
    with FailingDisk() as disk:
        async with opened(tmp_path) as spool:
            await spool.add(new(mail_of(b"before")))
            disk.fail(
                error,
                calls=("xSync",) if error is apsw.IOError else ("xWrite",),
                suffix="-wal",
                sticky=error is apsw.FullError,
            )
            results = await asyncio.gather(*[spool.add(new()) for _ in range(20)], return_exceptions=True)
            failed = [each for each in results if isinstance(each, OSError)]
            assert failed
            assert {each.errno for each in failed} == {NUMBERS[error]}
            disk.calm()
            assert len(await drained(spool)) == 21 - len(failed)


async def test_a_sync_is_not_repeated_and_the_log_is_written_anew(tmp_path):
    """After a failed sync the next one may succeed for pages that the disk does not have."""
    with FailingDisk() as disk:
        async with opened(tmp_path) as spool:
            opened_before = spool._times_opened
            disk.fail(apsw.IOError, calls=("xSync",), suffix="-wal")
            with pytest.raises(OSError, match="spool"):
                await spool.add(new())
            assert disk.failed == 1
            assert spool._times_opened == opened_before + 1


async def test_a_failure_to_copy_the_log_is_noticed_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.spool.writer._LOG_PAGES", 10)
    with FailingDisk() as disk:
        async with opened(tmp_path) as spool:
            opened_before = spool._times_opened
            disk.fail(apsw.IOError, calls=("xSync",), suffix="spool.db")
            for _ in range(30):
                await spool.add(new())
            assert disk.failed == 1
            assert spool._times_opened == opened_before + 1
            assert len(await drained(spool)) == 30


async def test_a_disk_that_fails_for_long_is_told_each_time_and_is_used_again_when_it_works(tmp_path):
    with FailingDisk() as disk:
        async with opened(tmp_path) as spool:
            await spool.add(new())
            (entry,) = await claimed(spool)
            disk.fail(apsw.IOError, sticky=True)
            for _ in range(5):
                with pytest.raises(OSError, match="spool"):
                    await spool.add(new())
                with pytest.raises(OSError, match="spool"):
                    await spool.settle(settled(entry, State.WAITING))
            disk.calm()
            await spool.settle(settled(entry, State.WAITING))
            await spool.add(new())
            assert len(await drained(spool)) == 2


async def test_a_claim_whose_commit_failed_is_made_again(tmp_path):
    with FailingDisk() as disk:
        async with opened(tmp_path) as spool:
            await spool.add(new())
            # The log is written and holds the attempt; only its sync fails.
            disk.fail(apsw.IOError, calls=("xSync",), suffix="-wal")
            with pytest.raises(OSError, match="spool"):
                await claimed(spool)
            (entry,) = await claimed(spool)
            assert (entry.attempts, entry.possible_duplicate) == (1, False)


async def test_a_spool_that_cannot_be_read_is_said_in_one_sentence(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new())
    with FailingDisk() as disk:
        disk.fail(apsw.IOError, sticky=True)
        with pytest.raises(SpoolError, match=r"spool\.db cannot be opened"):
            Spool.open(tmp_path)
    async with opened(tmp_path) as spool:
        assert len(await drained(spool)) == 1


SMALL_DISK = """
import asyncio, os, sys, time
from pathlib import Path
from tests.spool.spools import claimed, drained, mail_of, new, opened, settled
directory = Path(sys.argv[1])

async def main():
    accepted = {}
    async with opened(directory / "spool") as spool:
        errors = set()
        for number in range(900):
            mail = mail_of(os.urandom(60_000 if number % 2 else 100_000))
            try:
                await spool.add(new(mail))
                accepted[mail.envelope.id] = mail.content.read()
            except OSError as error:
                errors.add(error.errno)
        assert errors == {28}, errors
        # What was accepted is delivered while the disk is full, and that makes room again.
        assert await drained(spool) == accepted
        mail = mail_of(os.urandom(60_000))
        while mail is not None:
            try:
                await spool.add(new(mail))
                break
            except OSError:
                await asyncio.sleep(0.1)
        assert await drained(spool) == {mail.envelope.id: mail.content.read()}
    print(len(accepted))

asyncio.run(main())
"""


def test_on_a_full_disk_what_was_accepted_is_delivered_and_makes_room(tmp_path):
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=96m none "$0" && exec "$@"', tmp_path]
    if os.geteuid() or subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of 96 MB takes root and mount namespaces")
    command = [*mount, sys.executable, "-c", SMALL_DISK, tmp_path]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.splitlines()[-1]) > 100


async def test_nothing_is_claimed_twice_at_a_time(tmp_path):
    async with opened(tmp_path) as spool:
        await asyncio.gather(*[spool.add(new()) for _ in range(50)])
        groups = await asyncio.gather(*[claimed(spool, limit=7, now=time.time() + 1) for _ in range(9)])
        ids = [entry.message for group in groups for entry in group]
        assert len(ids) == len(set(ids)) == 50
