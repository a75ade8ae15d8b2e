"""`mailsluice spool export`: what comes out of a spool is an archive like any other."""

import json

import pytest

from gateway import archive
from gateway.codec import bmtd, json_v1
from gateway.spool import State
from gateway.testing import plain_mail, sample_mails
from tests.cli.spools import Spooled, fill, run, sample


def stored(root):
    """Octets of every file by its name; the whole archive has to be intact."""
    assert {finding.verdict for finding in archive.verify(root)} <= {archive.Verdict.INTACT}
    return {path.name: path.read_bytes() for path in root.rglob("*.*")}


def expected_files(mail, octets):
    id_ = mail.envelope.id
    files = {f"{id_}.eml": octets, f"{id_}.json": json_v1.encode(mail.envelope)}
    if mail.envelope.metadata.containers:
        files[f"{id_}.bmtd"] = bmtd.encode(mail.envelope.metadata.containers)
    return files


def test_every_mail_is_exported_whole_once_and_exactly(tmp_path):
    mails = sample_mails()
    # A spool holds mails as they were received.
    mails.pop("metadata flattened")
    expected = {}
    for mail in mails.values():
        expected |= expected_files(mail, mail.content.read())
    fill(
        tmp_path / "spool",
        *(
            Spooled(mail=mail, states={"a": State.DEAD, "b": State.WAITING}, recipients={"a": (0,)})
            for mail in mails.values()
        ),
    )
    octets = sum(len(content) for name, content in expected.items() if name.endswith(".eml"))
    for _ in range(2):
        outcome = run("spool", "export", "--to", "copy", folder=tmp_path)
        assert outcome.stderr == ""
        assert outcome.stdout == f"messages: {len(mails)}, exported: {len(mails)}, failed: 0, octets: {octets}\n"
        assert outcome.returncode == 0
    assert expected == stored(tmp_path / "copy")
    assert run("verify", "copy", folder=tmp_path).returncode == 0


def test_what_is_damaged_is_named_and_the_others_are_exported(tmp_path):
    damaged, intact, unwanted = sample("large content in a file"), plain_mail(), plain_mail()
    fill(
        tmp_path / "spool",
        *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in (damaged, intact)),
        Spooled(mail=unwanted, states={"a": State.WAITING}),
    )
    (tmp_path / "spool" / "content" / damaged.envelope.id).unlink()
    outcome = run("spool", "export", "--state", "dead", "--to", "copy", folder=tmp_path)
    assert outcome.stderr == f"mailsluice: {damaged.envelope.id}: the file of the content is not there\n"
    assert outcome.stdout.startswith("messages: 2, exported: 1, failed: 1, ")
    outcome = run("spool", "export", "--state", "dead", "--to", "copy", "--json", folder=tmp_path)
    octets = intact.envelope.message.size
    assert json.loads(outcome.stdout) == {
        "kind": "exported",
        "messages": 2,
        "exported": 1,
        "failed": 1,
        "octets": octets,
    }
    assert outcome.returncode == 1
    assert [marker.stem for marker in archive.mails(tmp_path / "copy")] == [intact.envelope.id]


@pytest.mark.parametrize("place", ["/dev/null/copy", "/proc/copy"])
def test_a_place_that_cannot_hold_an_archive_is_refused_in_a_sentence(tmp_path, place):
    fill(tmp_path / "spool", Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    outcome = run("spool", "export", "--to", place, folder=tmp_path)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(
        f'mailsluice: connector "export" cannot be opened: {place} cannot hold the archive'
    )
    assert outcome.stderr.count("\n") == 1
