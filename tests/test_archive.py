import os
import re
import shutil
import tracemalloc
from pathlib import Path

import pytest
from msgspec import structs

from connectors.directory import CONNECTOR, DirectorySettings
from gateway.archive import Verdict, mails, read, verify
from gateway.codec import CodecError, json_v1
from gateway.testing import sample_mails
from gateway.testing.samples import plain_mail


@pytest.fixture(scope="module")
def samples():
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


@pytest.fixture
async def root(tmp_path, samples):
    return await filled(tmp_path / "mail", *samples.values())


async def filled(root, *mails):
    connector = CONNECTOR.build(DirectorySettings(name="archive", path=root), {})
    await connector.open()
    for mail in mails:
        await connector.emit(mail)
    await connector.close()
    return root


def marker_of(root, mail):
    return root / mail.envelope.received_at[:10].replace("-", "/") / f"{mail.envelope.id}.json"


def only_finding(root, verdict):
    found = [finding for finding in verify(root) if finding.verdict is verdict]
    assert len(found) == 1, found
    return found[0]


def test_an_intact_archive_has_one_finding_a_mail_and_none_is_a_problem(root, samples):
    findings = list(verify(root))
    assert {finding.verdict for finding in findings} == {Verdict.INTACT}
    assert {finding.problems for finding in findings} == {()}
    assert [finding.size for finding in findings] == [
        mail.content.size for mail in sorted(samples.values(), key=lambda mail: mail.envelope.id)
    ]


def test_findings_name_the_mail_relative_to_the_archive_in_the_order_of_ids(root, samples):
    expected = sorted(str(marker_of(root, mail).relative_to(root)) for mail in samples.values())
    assert [finding.path for finding in verify(root)] == expected


def test_every_mail_is_read_back_as_it_was(root, samples):
    by_id = {mail.envelope.id: mail for mail in samples.values()}
    found = list(mails(root))
    assert [path.stem for path in found] == sorted(by_id)
    for path in found:
        mail = read(path)
        assert mail.envelope == by_id[path.stem].envelope
        assert mail.content.read() == by_id[path.stem].content.read()
        mail.content.close()


def content_cut(marker):
    os.truncate(marker.with_suffix(".eml"), 10)
    return r"the content has 10 octets instead of 50"


def content_grown(marker):
    with marker.with_suffix(".eml").open("ab") as file:
        file.write(b"\0" * 3)
    return r"the content has 53 octets instead of 50"


def content_with_a_flipped_bit(marker):
    octets = bytearray(marker.with_suffix(".eml").read_bytes())
    octets[20] ^= 1
    marker.with_suffix(".eml").write_bytes(octets)
    return r"the content was changed: its SHA-256 is [0-9a-f]{64} instead of [0-9a-f]{64}"


def content_gone(marker):
    marker.with_suffix(".eml").unlink()
    return r"the content cannot be read: No such file or directory"


def content_that_is_a_directory(marker):
    marker.with_suffix(".eml").unlink()
    marker.with_suffix(".eml").mkdir()
    return r"the content cannot be read: Is a directory"


def containers_gone(marker):
    marker.with_suffix(".bmtd").unlink()
    return r"the metadata containers are missing: there is no \.bmtd file"


def containers_cut(marker):
    os.truncate(marker.with_suffix(".bmtd"), 10)
    return r"the metadata containers in the \.bmtd file are not those of the envelope"


def containers_grown(marker):
    with marker.with_suffix(".bmtd").open("ab") as file:
        file.write(b"BMTD 2\r\n\0\0")
    return r"the metadata containers in the \.bmtd file are not those of the envelope"


def containers_that_are_a_directory(marker):
    marker.with_suffix(".bmtd").unlink()
    marker.with_suffix(".bmtd").mkdir()
    return r"the metadata containers cannot be read: Is a directory"


def envelope_empty(marker):
    os.truncate(marker, 0)
    return r"the envelope cannot be read: this is no envelope in JSON: .*"


def envelope_torn(marker):
    os.truncate(marker, 300)
    return r"the envelope cannot be read: this is no envelope in JSON: .*"


def envelope_that_is_a_directory(marker):
    marker.unlink()
    marker.mkdir()
    return r"the envelope cannot be read: Is a directory"


def envelope_larger_than_any(marker):
    os.truncate(marker, 1 << 40)
    return r"the envelope cannot be read: it has more than 268435456 octets"


def envelope_of_another_mail(marker):
    other = plain_mail().envelope
    envelope = structs.replace(json_v1.decode(marker.read_bytes()), id=other.id)
    marker.write_bytes(json_v1.encode(envelope))
    return rf"by its envelope the mail belongs at \d{{4}}/\d\d/\d\d/{other.id}\.json"


@pytest.mark.parametrize(
    "damage",
    [
        *(content_cut, content_grown, content_with_a_flipped_bit, content_gone, content_that_is_a_directory),
        *(containers_gone, containers_cut, containers_grown, containers_that_are_a_directory),
        *(envelope_empty, envelope_torn, envelope_that_is_a_directory, envelope_larger_than_any),
        envelope_of_another_mail,
    ],
    ids=lambda damage: damage.__name__,
)
async def test_damage_is_found_and_named(tmp_path, damage):
    damaged = plain_mail()
    root = await filled(tmp_path / "mail", damaged, plain_mail())
    sentence = damage(marker_of(root, damaged))
    finding = only_finding(root, Verdict.DAMAGED)
    assert finding.path == str(marker_of(root, damaged).relative_to(root))
    assert len(finding.problems) == 1
    assert re.fullmatch(sentence, finding.problems[0])
    only_finding(root, Verdict.INTACT)


async def test_all_problems_of_a_mail_are_told_at_once(tmp_path):
    mail = plain_mail()
    root = await filled(tmp_path / "mail", mail)
    content_cut(marker_of(root, mail))
    containers_gone(marker_of(root, mail))
    assert len(only_finding(root, Verdict.DAMAGED).problems) == 2


async def test_containers_without_a_place_in_the_envelope_are_found(tmp_path, samples):
    mail = samples["metadata flattened"]
    root = await filled(tmp_path / "mail", mail)
    marker_of(root, mail).with_suffix(".bmtd").write_bytes(b"BMTD 2\r\n\0\0")
    finding = only_finding(root, Verdict.DAMAGED)
    assert finding.problems == ("there is a .bmtd file, but the envelope has no metadata containers",)


async def test_a_mail_in_the_folder_of_another_day_is_found(tmp_path):
    mail = plain_mail()
    root = await filled(tmp_path / "mail", mail)
    (root / "1999/12").mkdir(parents=True)
    shutil.move(marker_of(root, mail).parent, root / "1999/12/31")
    assert "by its envelope the mail belongs at" in only_finding(root, Verdict.DAMAGED).problems[0]


async def test_files_without_an_envelope_are_strays_and_no_mails(tmp_path):
    mail, interrupted = plain_mail(), plain_mail()
    root = await filled(tmp_path / "mail", mail, interrupted)
    marker = marker_of(root, interrupted)
    marker.unlink()
    (marker.parent / f".{marker.name}.x7k2").write_bytes(b"{")
    strays = [finding for finding in verify(root) if finding.verdict is Verdict.STRAY]
    assert [Path(finding.path).name for finding in strays] == [
        f".{marker.name}.x7k2",
        f"{marker.stem}.bmtd",
        f"{marker.stem}.eml",
    ]
    assert {finding.problems for finding in strays} == {
        ("no envelope says that this was accepted: its delivery was interrupted, or is under way",)
    }
    assert list(mails(root)) == [marker_of(root, mail)]


@pytest.mark.parametrize(
    "name", ["notes.txt", "2026", "lost+found/x", "2026/11/21/notes.json", "2026/11/21/{id}.txt", "2026/1/21", "२०२६/x"]
)
async def test_what_is_no_part_of_an_archive_is_named_and_left_alone(tmp_path, name):
    path = tmp_path / name.format(id=plain_mail().envelope.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (finding,) = verify(tmp_path)
    assert finding.verdict is Verdict.STRAY
    assert finding.problems == ("this is no part of an archive",)
    assert list(mails(tmp_path)) == []


def test_an_empty_archive_has_no_findings(tmp_path):
    assert list(verify(tmp_path)) == []


@pytest.mark.parametrize("walk", [verify, mails])
def test_an_archive_that_does_not_exist_is_an_error(tmp_path, walk):
    with pytest.raises(FileNotFoundError):
        next(walk(tmp_path / "none"))


def test_reading_a_mail_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(b"[]")
    with pytest.raises(CodecError):
        read(tmp_path / "x.json")


async def test_a_large_content_is_digested_in_little_memory(tmp_path):
    mail = plain_mail()
    root = await filled(tmp_path / "mail", mail)
    os.truncate(marker_of(root, mail).with_suffix(".eml"), 64 * 1024 * 1024)
    tracemalloc.start()
    finding = only_finding(root, Verdict.DAMAGED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert finding.size == 64 * 1024 * 1024
    assert peak < 2 * 1024 * 1024
