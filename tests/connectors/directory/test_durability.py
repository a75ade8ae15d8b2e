import asyncio
import errno
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.directory import CONNECTOR, DirectorySettings
from gateway.archive import Verdict, verify
from gateway.codec import json_v1
from gateway.connector import Receipt, TransientFailure
from gateway.testing.samples import plain_mail

OPERATIONS = ("fsync", "link", "mkdir")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mail"


@pytest.fixture
async def connector(root):
    connector = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
    await connector.open()
    yield connector
    await connector.close()


@pytest.fixture
def journal(monkeypatch):
    """What was done to the file system, in order, as (operation, path)."""
    done = []

    def recording(name, operation, path_of):
        def call(*arguments, **keywords):
            path = path_of(*arguments)
            operation(*arguments, **keywords)
            done.append((name, path))

        return call

    for name, path_of in {
        "fsync": lambda descriptor: str(Path(f"/proc/self/fd/{descriptor}").readlink()),
        "link": lambda source, target: (str(source), str(target)),
        "mkdir": lambda path, _mode: str(path),
    }.items():
        monkeypatch.setattr(os, name, recording(name, getattr(os, name), path_of))
    return done


async def test_a_receipt_comes_after_every_file_and_every_name_is_on_stable_storage(connector, root, journal):
    mail = plain_mail()
    receipt = await connector.emit(mail)
    eml = root / receipt.location["path"]
    day = eml.parent
    made = [(root / str(day.relative_to(root))[:length]) for length in (4, 7, 10)]
    synced_directories = [step for folder in made for step in (("mkdir", str(folder)), ("fsync", str(folder.parent)))]
    links = [path for operation, path in journal if operation == "link"]
    synced_files = [step for temporary, name in links for step in (("fsync", temporary), ("link", (temporary, name)))]
    assert journal == [*synced_directories, *synced_files, ("fsync", str(day))]
    assert [name for _, name in links] == [str(eml.with_suffix(suffix)) for suffix in (".eml", ".bmtd", ".json")]


async def test_a_mail_takes_one_fsync_for_each_file_and_one_for_the_directory(connector, journal):
    await connector.emit(plain_mail())
    journal.clear()
    await connector.emit(plain_mail())
    assert [operation for operation, _ in journal].count("fsync") == 4


async def test_names_that_another_process_made_are_synced_again(connector, root, journal):
    await connector.emit(plain_mail())
    journal.clear()
    other = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
    await other.emit(plain_mail())
    await other.close()
    assert ("fsync", str(root)) in journal


async def test_each_start_syncs_the_name_of_the_archive_and_those_above_it(connector, root, journal):
    await connector.open()
    assert journal == [("fsync", str(directory)) for directory in reversed(root.parents)]


async def test_names_that_a_full_disk_kept_a_start_from_syncing_are_synced_with_the_next_mail(
    root, journal, monkeypatch
):
    connector = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing_at(1, [], errno.ENOSPC, os.fsync))
        await connector.open()
    await connector.emit(plain_mail())
    await connector.close()
    assert journal[:2] == [("fsync", "/"), ("fsync", str(root.parents[-2]))]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
async def test_whichever_operation_fails_nothing_is_left_and_the_next_attempt_succeeds(tmp_path, monkeypatch, number):
    for fatal in itertools.count(1):
        root = tmp_path / str(fatal)
        connector = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
        await connector.open()
        mail = plain_mail()
        calls = []
        with monkeypatch.context() as patched:
            for name in OPERATIONS:
                patched.setattr(os, name, failing_at(fatal, calls, number, getattr(os, name)))
            outcome = await asyncio.gather(connector.emit(mail), return_exceptions=True)
        if isinstance(outcome[0], Receipt):
            break
        assert isinstance(outcome[0], TransientFailure)
        # Nothing is synced after a failure, least of all the same file again.
        assert len(calls) == fatal
        assert [path for path in root.rglob("*") if path.is_file()] == []
        await connector.emit(mail)
        await connector.close()
        assert [finding.verdict for finding in verify(root)] == [Verdict.INTACT]
    await connector.close()
    assert fatal == 14


def failing_at(fatal, calls, number, operation):
    def call(*arguments, **keywords):
        calls.append(operation)
        if len(calls) == fatal:
            raise OSError(number, os.strerror(number))
        return operation(*arguments, **keywords)

    return call


def test_a_process_killed_anywhere_leaves_a_whole_mail_or_none(tmp_path):
    mail = plain_mail()
    (tmp_path / "envelope").write_bytes(json_v1.encode(mail.envelope))
    (tmp_path / "content").write_bytes(mail.content.read())
    crash = [sys.executable, Path(__file__).with_name("crash.py"), "envelope", "content", tmp_path]
    search_path = os.pathsep.join(filter(None, sys.path))
    run = subprocess.run(
        crash, cwd=tmp_path, env=os.environ | {"PYTHONPATH": search_path}, check=True, capture_output=True, text=True
    )
    last = int(run.stdout)
    # With the syncs of names above the archive.
    assert last >= 15
    for fatal in range(1, last + 1):
        root = tmp_path / str(fatal)
        verdicts = [finding.verdict for finding in verify(root)] if root.exists() else []
        assert verdicts.count(Verdict.DAMAGED) == 0
        # The last operation is the sync of the day: the mail is whole then, and the client was told nothing.
        assert verdicts.count(Verdict.INTACT) == (fatal == last)
        asyncio.run(emit(mail, root))
        assert [finding.verdict for finding in verify(root)].count(Verdict.INTACT) == 1


async def emit(mail, root):
    connector = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
    await connector.open()
    await connector.emit(mail)
    await connector.close()
