import asyncio
import errno
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import structs

from connectors.directory import CONNECTOR, DirectorySettings
from gateway import archive
from gateway.codec import bmtd, json_v1
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import BLOCK, Content, Mail
from gateway.status import LOCAL_ERROR, STORAGE_FULL
from gateway.testing import check_connector, sample_mails
from gateway.testing.samples import plain_mail
from gateway.testing.watched import WatchedContent


def build(root):
    return CONNECTOR.build(DirectorySettings(name="archive", path=root), {})


@pytest.fixture
def root(tmp_path):
    return tmp_path / "mail"


@pytest.fixture
async def connector(root):
    connector = build(root)
    await connector.open()
    yield connector
    await connector.close()


@pytest.fixture
def samples():
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


def files(root):
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_conformance(root):
    async def read_back(receipt):
        return archive.read((root / receipt.location["path"]).with_suffix(".json"))

    await check_connector(lambda: build(root), read_back, max_in_flight=CONNECTOR.max_in_flight)
    assert {finding.verdict for finding in archive.verify(root)} == {archive.Verdict.INTACT}


async def test_the_three_files_of_a_mail(connector, root, samples):
    mail = samples["metadata of every type"]
    envelope = structs.replace(mail.envelope, received_at="2026-11-21T23:59:59.999999Z")
    receipt = await connector.emit(Mail(envelope, mail.content))
    day = root / "2026/11/21"
    assert {path.name for path in day.iterdir()} == {f"{envelope.id}.{suffix}" for suffix in ("eml", "bmtd", "json")}
    assert (day / f"{envelope.id}.eml").read_bytes() == mail.content.read()
    assert (day / f"{envelope.id}.bmtd").read_bytes() == bmtd.encode(envelope.metadata.containers)
    assert json_v1.decode((day / f"{envelope.id}.json").read_bytes()) == envelope
    assert receipt.location == {"path": f"2026/11/21/{envelope.id}.eml"}
    assert (receipt.id, receipt.connector, receipt.type) == (envelope.id, "archive", "directory")


async def test_without_containers_there_is_no_bmtd_file(connector, root, samples):
    mail = samples["metadata flattened"]
    await connector.emit(mail)
    assert set(files(root)) == {f"{mail.envelope.id}.eml", f"{mail.envelope.id}.json"}


async def test_files_and_directories_are_for_their_owner_only(connector, root):
    await connector.emit(plain_mail())
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in (root, *root.rglob("*"))}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_the_same_mail_again_is_the_same_files_and_the_same_receipt(connector, root):
    mail = plain_mail()
    first = await connector.emit(mail)
    inodes = {path: path.stat().st_ino for path in root.rglob("*")}
    assert await connector.emit(mail) == first
    assert {path: path.stat().st_ino for path in root.rglob("*")} == inodes


@pytest.mark.parametrize("difference", ["content", "envelope"])
async def test_a_different_mail_under_the_same_id_is_refused_and_overwrites_nothing(connector, root, difference):
    mail = plain_mail()
    await connector.emit(mail)
    before = files(root)
    if difference == "content":
        other = Mail(mail.envelope, Content(b"another"))
    else:
        other = Mail(structs.replace(mail.envelope, gateway="another.example.org"), mail.content)
    with pytest.raises(TransientFailure) as caught:
        await connector.emit(other)
    assert caught.value.status == LOCAL_ERROR
    assert "File exists" in caught.value.cause
    assert not caught.value.possibly_stored
    assert files(root) == before


async def test_two_connectors_may_share_a_directory(connector, root):
    other = build(root)
    await other.open()
    mails = [plain_mail() for _ in range(20)]
    await asyncio.gather(*(each.emit(mail) for mail in mails for each in (connector, other)))
    await other.close()
    assert len(list(archive.mails(root))) == 20


async def test_what_an_interrupted_delivery_left_is_completed(connector, root):
    mail = plain_mail()
    receipt = await connector.emit(mail)
    (root / receipt.location["path"]).with_suffix(".json").unlink()
    await connector.emit(mail)
    assert [finding.verdict for finding in archive.verify(root)] == [archive.Verdict.INTACT]


async def test_a_failure_does_not_remove_what_an_earlier_emit_stored(connector, root, monkeypatch):
    mail = plain_mail()
    await connector.emit(mail)
    before = files(root)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(TransientFailure) as caught:
            await connector.emit(mail)
    assert files(root) == before
    assert caught.value.possibly_stored


async def test_a_mail_that_the_file_system_does_not_let_go_may_be_stored(connector, root, monkeypatch):
    unlink = Path.unlink

    def keep_the_mail(path):
        # The temporary files have names with a dot in front.
        return unlink(path) if path.name.startswith(".") else failing(errno.EIO)()

    mail = plain_mail()
    with monkeypatch.context() as patched:
        # Only the sync after the names are made is to fail.
        patched.setattr(
            "connectors.directory.files.make_directory", lambda path, **_: path.mkdir(parents=True, exist_ok=True)
        )
        patched.setattr("connectors.directory.files.sync_directory", failing(errno.EIO))
        with pytest.raises(TransientFailure) as removed:
            await connector.emit(plain_mail())
        patched.setattr(Path, "unlink", keep_the_mail)
        with pytest.raises(TransientFailure) as kept:
            await connector.emit(mail)
    assert not removed.value.possibly_stored
    assert kept.value.possibly_stored
    await connector.emit(mail)
    assert [finding.verdict for finding in archive.verify(root)] == [archive.Verdict.INTACT]


async def test_a_mail_whose_temporary_files_do_not_go_is_stored(connector, root, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", failing(errno.EIO))
        await connector.emit(plain_mail())
    verdicts = [finding.verdict for finding in archive.verify(root)]
    assert sorted(set(verdicts)) == [archive.Verdict.INTACT, archive.Verdict.STRAY]


async def test_an_envelope_that_the_file_system_does_not_let_go_keeps_its_content(connector, root, monkeypatch):
    unlink = Path.unlink

    def keep_the_envelope(path):
        return failing(errno.EIO)() if path.suffix == ".json" else unlink(path)

    with monkeypatch.context() as patched:
        patched.setattr("connectors.directory.files.sync_directory", failing(errno.EIO))
        patched.setattr(Path, "unlink", keep_the_envelope)
        with pytest.raises(TransientFailure) as caught:
            await connector.emit(plain_mail())
    assert caught.value.possibly_stored
    assert [finding.verdict for finding in archive.verify(root)] == [archive.Verdict.INTACT]


def failing(number):
    def fail(*_arguments, **_keywords):
        raise OSError(number, os.strerror(number), "/secret/path")

    return fail


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.ENOSPC, STORAGE_FULL), (errno.EDQUOT, STORAGE_FULL), (errno.EIO, LOCAL_ERROR), (errno.EROFS, LOCAL_ERROR)],
)
async def test_an_error_of_the_file_system_is_transient_and_names_no_path(connector, monkeypatch, number, status):
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(TransientFailure) as caught:
        await connector.emit(plain_mail())
    assert caught.value.status == status
    assert not caught.value.possibly_stored
    assert "/" not in caught.value.text
    assert "/secret/path" in caught.value.cause


async def test_a_directory_that_disappears_is_made_again(connector, root):
    mail = plain_mail()
    receipt = await connector.emit(mail)
    shutil.rmtree(root / receipt.location["path"][:4])
    with pytest.raises(TransientFailure):
        await connector.emit(plain_mail())
    await connector.emit(plain_mail())


async def test_an_archive_that_disappears_is_not_made_again(connector, root):
    """It may be a mount point, and what lies below is another disk."""
    root.rmdir()
    for _ in range(2):
        with pytest.raises(TransientFailure):
            await connector.emit(plain_mail())


async def test_open_makes_the_directory_and_what_is_above_it(tmp_path):
    connector = build(tmp_path / "a/b/c")
    await connector.open()
    await connector.close()
    assert (tmp_path / "a/b/c").is_dir()
    assert list((tmp_path / "a/b/c").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [("file", "Not a directory"), ("file/below", "Not a directory"), ("dangling", "Not a directory")],
)
async def test_a_path_that_cannot_be_a_directory_is_told_in_one_sentence(tmp_path, path, reason):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    connector = build(tmp_path / path)
    with pytest.raises(PermanentFailure) as caught:
        await connector.open()
    await connector.close()
    assert caught.value.cause == (
        f"{tmp_path / path} cannot hold the archive: {reason}; name a directory that this user may write in"
    )


async def test_a_directory_that_cannot_be_written_is_told_when_opened():
    connector = build("/proc/self")
    with pytest.raises(PermanentFailure, match="/proc/self cannot hold the archive"):
        await connector.open()
    await connector.close()


async def test_a_disk_that_is_full_when_opened_is_told_mail_by_mail(tmp_path, monkeypatch):
    connector = build(tmp_path / "mail")
    monkeypatch.setattr(os, "mkdir", failing(errno.ENOSPC))
    await connector.open()
    with pytest.raises(TransientFailure) as caught:
        await connector.emit(plain_mail())
    await connector.close()
    assert caught.value.status == STORAGE_FULL


@pytest.fixture
def small_disk(tmp_path):
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False, capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mount.stderr}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


async def test_a_full_disk_loses_nothing_and_is_no_reason_not_to_open(small_disk):
    connector = build(small_disk)
    await connector.open()
    kept = plain_mail()
    await connector.emit(kept)
    await connector.close()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    connector = build(small_disk)
    await connector.open()
    refused = plain_mail()
    with pytest.raises(TransientFailure) as caught:
        await connector.emit(refused)
    assert caught.value.status == STORAGE_FULL
    filler.unlink()
    assert len(list(archive.verify(small_disk))) == 1
    await connector.emit(refused)
    await connector.close()
    assert [path.stem for path in archive.mails(small_disk)] == [kept.envelope.id, refused.envelope.id]


async def test_a_cancelled_emit_stops_at_the_next_block_and_leaves_nothing(connector, root):
    loop, reads = asyncio.get_running_loop(), []

    async def cancel(content):
        emit.cancel()
        for _ in range(5):
            await asyncio.sleep(0)

    def on_read(content):
        reads.append(content)
        if len(reads) == 3:
            asyncio.run_coroutine_threadsafe(cancel(content), loop).result()

    content = WatchedContent(Content(b"x" * BLOCK * 100), on_read)
    emit = asyncio.create_task(connector.emit(Mail(plain_mail().envelope, content)))
    with pytest.raises(asyncio.CancelledError):
        await emit
    content.emit_has_ended()
    assert len(reads) <= 4
    assert not content.was_read_late
    assert files(root) == {}
