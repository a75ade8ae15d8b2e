"""`mailsluice archive`: what an operator removes, and what the command says."""

import pytest

from connectors.directory import DirectoryConnector, DirectorySettings
from gateway import archive
from gateway.testing import plain_mail
from tests.cli.spools import run
from tests.end_to_end import tables

CONFIGURATION = tables.LISTENERS + (
    tables.directory("single_instance = true", name="archive", path="mail")
    + tables.http("http://127.0.0.1:9/")
    + '\n[[connector]]\nname = "events"\ntype = "kafka"\nbootstrap_servers = ["127.0.0.1:9"]\ntopic = "mail"\n'
    + 'claim_check = "archive"\n'
    + tables.route("archive")
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mailsluice.toml").write_text(CONFIGURATION)
    return tmp_path


@pytest.fixture
async def keys(folder):
    connector = DirectoryConnector(DirectorySettings(name="archive", path=folder / "mail", single_instance=True))
    await connector.open()
    receipts = [await connector.emit(plain_mail()) for _ in range(2)]
    await connector.close()
    return [receipt.location["path"] for receipt in receipts]


def manage(folder, command, *arguments):
    return run("archive", command, "--config", "mailsluice.toml", *arguments, folder=folder)


def test_a_mail_is_removed_and_the_other_with_its_content_stays(folder, keys):
    done = manage(folder, "remove", "archive", keys[0])
    assert (done.returncode, done.stdout) == (0, "removed: 1\n")
    assert [path.stem for path in archive.mails(folder / "mail")] == [keys[1][11:37]]
    assert [finding.verdict for finding in archive.verify(folder / "mail")] == [archive.Verdict.INTACT]


def test_a_mail_that_is_not_there_is_named_and_the_others_are_removed(folder, keys):
    done = manage(folder, "remove", "archive", "2020/01/01/01ARZ3NDEKTSV4RRFFQ69G5FAV", *keys)
    assert (done.returncode, done.stdout) == (1, "removed: 2\n")
    assert done.stderr == "mailsluice: there is no mail 2020/01/01/01ARZ3NDEKTSV4RRFFQ69G5FAV\n"


def test_what_was_used_a_moment_ago_is_not_collected(folder, keys):
    manage(folder, "remove", "archive", *keys)
    done = manage(folder, "collect", "archive")
    assert (done.returncode, done.stdout) == (0, "contents removed: 0, octets: 0\n")
    assert len(list((folder / "mail/content").rglob("*.eml"))) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["remove", "archive", "../etc"], "../etc is no mail of an archive: give it as YYYY/MM/DD/<id>"),
        (["collect", "none"], 'no connector is named "none"; there are:'),
        (["collect", "consumer"], 'the connector "consumer" is no archive'),
        (["collect", "events"], 'the connector "events" is no archive'),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(folder, arguments, sentence):
    done = manage(folder, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
