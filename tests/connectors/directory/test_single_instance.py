"""Mails of the same content share one file, and none of them can tell."""

import asyncio
import errno
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from connectors.directory import CONNECTOR, DirectorySettings, shared
from gateway import archive
from gateway.codec import json_v1
from gateway.collection import Collected, CollectingConnector
from gateway.connector import Receipt, TransientFailure
from gateway.envelope import Content, Mail, shared_content_key
from gateway.testing import check_connector
from gateway.testing.samples import plain_mail

OPERATIONS = ("fsync", "link", "mkdir")


def build(root, *, single_instance=True):
    return CONNECTOR.build(DirectorySettings(name="archive", path=root, single_instance=single_instance), {})


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mail"


@pytest.fixture
async def connector(root):
    connector = build(root)
    await connector.open()
    yield connector
    await connector.close()


def mail_of(octets):
    mail = plain_mail()
    sha256 = hashlib.sha256(octets).hexdigest()
    message = structs.replace(mail.envelope.message, size=len(octets), sha256=sha256)
    return Mail(structs.replace(mail.envelope, message=message), Content(octets))


def path_of(root, receipt):
    return root / receipt.location["path"]


def entry_of(root, mail):
    return root / shared_content_key(mail.envelope.message.sha256)


def verdicts(root):
    return [finding.verdict for finding in archive.verify(root)]


async def test_the_contract_is_kept(root):
    async def read_back(receipt):
        return archive.read(path_of(root, receipt).with_suffix(".json"))

    await check_connector(lambda: build(root), read_back, max_in_flight=CONNECTOR.max_in_flight)
    assert set(verdicts(root)) == {archive.Verdict.INTACT}


async def test_by_default_nothing_is_shared(root):
    connector = build(root, single_instance=False)
    await connector.open()
    receipts = [await connector.emit(mail_of(b"same")) for _ in range(2)]
    await connector.close()
    assert not (root / "content").exists()
    assert [path_of(root, receipt).stat().st_nlink for receipt in receipts] == [1, 1]


async def test_mails_of_one_content_are_links_to_one_file_and_others_are_not(connector, root):
    mails = [mail_of(b"same"), mail_of(b"same"), mail_of(b"other")]
    first, second, other = [path_of(root, await connector.emit(mail)) for mail in mails]
    assert first.samefile(second)
    assert first.samefile(entry_of(root, mails[0]))
    assert not first.samefile(other)
    assert [path.read_bytes() for path in (first, second, other)] == [b"same", b"same", b"other"]


async def test_a_content_that_is_there_is_neither_written_nor_synced_again(connector, root, monkeypatch):
    await connector.emit(mail_of(b"same"))
    synced = []
    fsync = os.fsync

    def recording(descriptor):
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    mail = mail_of(b"same")
    await connector.emit(mail)
    assert [path for path in synced if ".eml" in path] == []
    assert len(synced) == 3


async def test_removing_a_mail_breaks_no_other_and_the_last_frees_the_content(connector, root):
    mails = [mail_of(b"same") for _ in range(3)]
    receipts = [await connector.emit(mail) for mail in mails]
    for left in (2, 1, 0):
        receipt = receipts.pop()
        assert await connector.remove(receipt.location["path"])
        assert await connector.collect(unused_seconds=0) == (
            Collected() if left else Collected(contents=1, octets=len(b"same"))
        )
        assert verdicts(root) == [archive.Verdict.INTACT] * left
        assert [path_of(root, each).read_bytes() for each in receipts] == [b"same"] * left
    assert not entry_of(root, mails[0]).exists()


async def test_removing_is_by_any_name_of_the_mail_and_tells_when_there_is_none(connector, root):
    assert isinstance(connector, CollectingConnector)
    for suffix in ("", ".json", ".bmtd"):
        receipt = await connector.emit(plain_mail())
        key = receipt.location["path"].removesuffix(".eml") + suffix
        assert await connector.remove(key)
        assert list(path_of(root, receipt).parent.iterdir()) == []
        assert not await connector.remove(key)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../2026/11/21/01ARZ3NDEKTSV4RRFFQ69G5FAV", "content/ab/x.eml"])
async def test_removing_what_is_no_mail_is_refused(connector, key):
    with pytest.raises(ValueError, match="is no mail of an archive"):
        await connector.remove(key)


async def test_content_unused_for_too_short_a_time_is_kept(connector, root):
    receipt = await connector.emit(mail_of(b"same"))
    await connector.remove(receipt.location["path"])
    assert await connector.collect(unused_seconds=3600) == Collected()
    assert await connector.collect(unused_seconds=0) == Collected(contents=1, octets=4)


@pytest.mark.parametrize("damage", [b"sane", b"sam", b"same!", b""], ids=["bit", "short", "long", "empty"])
async def test_a_damaged_content_is_linked_to_no_further_mail(connector, root, damage):
    first = path_of(root, await connector.emit(mail_of(b"same")))
    first.write_bytes(damage)
    second = path_of(root, await connector.emit(mail_of(b"same")))
    third = path_of(root, await connector.emit(mail_of(b"same")))
    assert [first.read_bytes(), second.read_bytes(), third.read_bytes()] == [damage, b"same", b"same"]
    assert second.samefile(third)
    assert sorted(verdicts(root)) == [archive.Verdict.DAMAGED, archive.Verdict.INTACT, archive.Verdict.INTACT]


async def test_content_that_is_not_what_its_envelope_says_is_refused_and_takes_no_name_from_the_intact_one(
    connector, root
):
    good = mail_of(b"same")
    await connector.emit(good)
    for envelope in (mail_of(b"same").envelope, mail_of(b"new").envelope):
        with pytest.raises(TransientFailure) as caught:
            await connector.emit(Mail(envelope, Content(b"sand")))
        assert "digest" in caught.value.cause
    assert entry_of(root, good).read_bytes() == b"same"
    assert verdicts(root) == [archive.Verdict.INTACT]


async def test_a_file_system_that_counts_no_further_links_gets_another_file(connector, root, monkeypatch):
    first = path_of(root, await connector.emit(mail_of(b"same")))
    link = os.link

    def full(source, target):
        if first.samefile(source):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, target)

    monkeypatch.setattr(os, "link", full)
    second = path_of(root, await connector.emit(mail_of(b"same")))
    assert not first.samefile(second)
    assert second.samefile(entry_of(root, mail_of(b"same")))


async def test_writers_that_meet_each_have_their_mail(connector, root):
    other = build(root)
    await other.open()
    contents = [bytes([65 + number % 3]) * 1000 for number in range(30)]
    receipts = await asyncio.gather(
        *((connector, other)[number % 2].emit(mail_of(octets)) for number, octets in enumerate(contents))
    )
    await other.close()
    assert [path_of(root, receipt).read_bytes() for receipt in receipts] == contents
    assert set(verdicts(root)) == {archive.Verdict.INTACT}
    assert len({path_of(root, receipt).stat().st_ino for receipt in receipts}) == 3


@pytest.mark.parametrize("moment", ["before the link", "during the comparison"])
async def test_a_writer_and_a_collection_that_meet_lose_nothing(connector, root, monkeypatch, moment):
    await connector.remove((await connector.emit(mail_of(b"same"))).location["path"])
    linked = shared._linked

    def meeting(entry, path, blocks, sha256):
        def late():
            entry.unlink(missing_ok=True)
            yield from blocks

        if moment == "before the link":
            assert shared.collect(root, unused_seconds=0).contents
            late = blocks.__iter__
        return linked(entry, path, late(), sha256)

    with monkeypatch.context() as patched:
        patched.setattr(shared, "_linked", meeting)
        receipt = await connector.emit(mail_of(b"same"))
    assert path_of(root, receipt).read_bytes() == b"same"
    assert verdicts(root) == [archive.Verdict.INTACT]


def test_a_process_killed_anywhere_leaves_a_whole_mail_or_none(tmp_path):
    mail = mail_of(b"same")
    (tmp_path / "envelope").write_bytes(json_v1.encode(mail.envelope))
    (tmp_path / "content").write_bytes(b"same")
    crash = [sys.executable, Path(__file__).with_name("crash.py"), "envelope", "content", tmp_path, "shared"]
    search_path = os.pathsep.join(filter(None, sys.path))
    run = subprocess.run(
        crash, cwd=tmp_path, env=os.environ | {"PYTHONPATH": search_path}, check=True, capture_output=True, text=True
    )
    last = int(run.stdout)
    assert last > 15
    for fatal in range(1, last + 1):
        root = tmp_path / str(fatal)
        found = verdicts(root) if root.exists() else []
        assert found.count(archive.Verdict.DAMAGED) == 0
        assert found.count(archive.Verdict.INTACT) == (fatal == last)
        asyncio.run(again(mail, root))
        assert verdicts(root).count(archive.Verdict.INTACT) == 1


async def again(mail, root):
    connector = build(root)
    await connector.open()
    await connector.emit(mail)
    await connector.close()


@pytest.mark.parametrize("is_known", [False, True], ids=["new content", "known content"])
async def test_whichever_operation_fails_no_mail_is_left_and_the_next_attempt_succeeds(tmp_path, monkeypatch, is_known):
    for fatal in itertools.count(1):
        root = tmp_path / str(fatal)
        connector = build(root)
        await connector.open()
        if is_known:
            await connector.emit(mail_of(b"same"))
        before = set(root.rglob("20*/**/*.*"))
        mail = mail_of(b"same")
        calls = []
        with monkeypatch.context() as patched:
            for name in OPERATIONS:
                patched.setattr(os, name, failing_at(fatal, calls, getattr(os, name)))
            outcome = await asyncio.gather(connector.emit(mail), return_exceptions=True)
        if isinstance(outcome[0], Receipt):
            break
        assert isinstance(outcome[0], TransientFailure)
        assert set(root.rglob("20*/**/*.*")) == before
        await connector.emit(mail)
        await connector.close()
        assert set(verdicts(root)) == {archive.Verdict.INTACT}
    await connector.close()
    assert fatal > 5


def failing_at(fatal, calls, operation):
    def call(*arguments, **keywords):
        calls.append(operation)
        if len(calls) == fatal:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return operation(*arguments, **keywords)

    return call


async def test_verify_names_a_shared_content_that_is_damaged_though_no_mail_has_it(connector, root):
    mail = mail_of(b"same")
    receipt = await connector.emit(mail)
    await connector.remove(receipt.location["path"])
    assert verdicts(root) == []
    entry_of(root, mail).write_bytes(b"sane")
    (finding,) = archive.verify(root)
    assert finding.path == shared_content_key(mail.envelope.message.sha256)
    assert "the shared content was changed" in finding.problems[0]
