"""`mailsluice replay`: dead letters and archives, to a connector of the configuration."""

import asyncio
import json
import signal
import subprocess

import pytest
from msgspec import structs

from connectors.directory import DirectoryConnector, DirectorySettings
from gateway import archive
from gateway.app import StartError
from gateway.cli.reemission import opened
from gateway.codec import json_v1
from gateway.config import load
from gateway.envelope import Mail
from gateway.spool import State
from gateway.spool.inspection import Inspection, Selection
from gateway.testing import plain_mail, sample_mails
from tests.cli.spools import MAILSLUICE, Spooled, fill, run, sample
from tests.end_to_end import tables
from tests.end_to_end.consumers import consuming

CONFIGURATION = tables.LISTENERS + (
    tables.directory(path="old")
    + tables.directory(name="copy", path="copy")
    + tables.directory('metadata = "flatten"', name="flat", path="flat")
    + tables.route("archive")
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mailsluice.toml").write_text(CONFIGURATION)
    return tmp_path


@pytest.fixture
def consumer(folder):
    with consuming() as consumer:
        consumer.reset()
        (folder / "mailsluice.toml").write_text(CONFIGURATION + tables.http(consumer.url))
        yield consumer


def replay(folder, *arguments):
    return run("replay", "--config", "mailsluice.toml", *arguments, folder=folder)


def fill_archive(root, mails):
    """An archive of these mails, whose contents are closed then."""
    connector = DirectoryConnector(DirectorySettings(name="archive", type="directory", path=root))

    async def emit():
        await connector.open()
        for mail in mails:
            await connector.emit(mail)
            mail.content.close()
        await connector.close()

    asyncio.run(emit())


def files(root):
    assert {finding.verdict for finding in archive.verify(root)} == {archive.Verdict.INTACT}
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*")}


def left(folder):
    with Inspection(folder / "spool") as spool:
        return [(each.id, each.connector) for each in spool.deliveries(Selection())]


def test_an_archive_is_replayed_octet_for_octet(folder):
    mails = sample_mails()
    mails.pop("metadata flattened").content.close()
    fill_archive(folder / "old", mails.values())
    outcome = replay(folder, "--archive", "old", "--to", "copy")
    assert outcome.stderr == ""
    assert outcome.returncode == 0
    count = len(list(archive.mails(folder / "old")))
    assert outcome.stdout.startswith(f"mails: {count}, delivered: {count}, failed: 0, octets: ")
    assert files(folder / "old") == files(folder / "copy")


def test_the_connector_says_in_which_form(folder):
    mail = sample("metadata of every type")
    fill_archive(folder / "old", [mail])
    assert replay(folder, "--archive", "old", "--to", "flat").returncode == 0
    (marker,) = archive.mails(folder / "flat")
    envelope = json_v1.decode(marker.read_bytes())
    assert (envelope.id, envelope.message.sha256) == (mail.envelope.id, mail.envelope.message.sha256)
    assert envelope.metadata.containers == ()
    assert marker.with_suffix(".eml").read_bytes().startswith(b"Return-Path: <a@example.net>\r\nReceived: ")


def test_a_mail_that_was_flattened_is_named_and_goes_nowhere(folder):
    mail = sample("metadata flattened")
    fill_archive(folder / "old", [mail])
    outcome = replay(folder, "--archive", "old", "--to", "copy")
    assert (outcome.returncode, outcome.stdout) == (1, "mails: 1, delivered: 0, failed: 1, octets: 0\n")
    assert outcome.stderr.startswith(f"mailsluice: {mail.envelope.id}: it was flattened when it was stored: ")
    assert list(archive.mails(folder / "copy")) == []


def received_at(moment):
    mail = plain_mail()
    return Mail(structs.replace(mail.envelope, received_at=f"{moment}Z"), mail.content)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--until", "2001-02-02"], []),
        (["--since", "2001-02-04"], [2, 3]),
        (["--since", "2001-02-03", "--until", "2001-02-03"], [0, 1]),
        (["--since", "2001-02-03T10:31"], [1, 2, 3]),
        (["--until", "2001-02-03T10:30"], [0]),
        (["--since", "2001-02-03T10:31:05", "--until", "2001-02-04T00:00:00Z"], [2]),
    ],
)
def test_an_archive_is_replayed_from_one_time_to_another(folder, arguments, expected):
    times = (
        "2001-02-03T10:30:59.999999",
        "2001-02-03T10:31:04.999999",
        "2001-02-04T00:00:00.000000",
        "2001-02-05T00:00:00.000000",
    )
    mails = [received_at(time) for time in times]
    fill_archive(folder / "old", mails)
    assert replay(folder, "--archive", "old", "--to", "copy", *arguments).returncode == 0
    found = {marker.stem for marker in archive.mails(folder / "copy")}
    assert found == {mails[at].envelope.id for at in expected}


def test_a_damaged_mail_of_an_archive_is_named_and_goes_nowhere(folder):
    damaged, broken, intact = plain_mail(), plain_mail(), plain_mail()
    fill_archive(folder / "old", [damaged, broken, intact])
    (next((folder / "old").rglob(f"{damaged.envelope.id}.eml"))).write_bytes(b"else")
    (next((folder / "old").rglob(f"{broken.envelope.id}.json"))).write_bytes(b"{")
    outcome = replay(folder, "--archive", "old", "--to", "copy")
    assert outcome.returncode == 1
    assert outcome.stdout.startswith("mails: 3, delivered: 1, failed: 2, ")
    assert f"mailsluice: {damaged.envelope.id}: the content was changed: " in outcome.stderr
    assert f"mailsluice: {broken.envelope.id}: the envelope cannot be read: " in outcome.stderr
    assert [marker.stem for marker in archive.mails(folder / "copy")] == [intact.envelope.id]


def test_only_the_mails_that_were_chosen_are_replayed(folder):
    mails = [plain_mail(), plain_mail(), sample("a thousand recipients")]
    fill_archive(folder / "old", mails)
    one, _, many = (mail.envelope.id for mail in mails)
    assert replay(folder, "--archive", "old", "--to", "copy", "--id", one.lower()).stdout.startswith("mails: 1, ")
    assert [marker.stem for marker in archive.mails(folder / "copy")] == [one]
    arguments = ("--archive", "old", "--to", "copy", "--recipient", "R7@example.org", "--dry-run")
    assert replay(folder, *arguments).stdout.startswith(f"{many} 50 octets from <a@example.net> to <r0@example.org>, ")
    assert len(list(archive.mails(folder / "copy"))) == 1


def test_a_journal_of_another_replay_is_refused(folder):
    fill_archive(folder / "old", [plain_mail()])
    arguments = ("--archive", "old", "--journal", "journal")
    assert replay(folder, *arguments, "--to", "copy").returncode == 0
    assert replay(folder, *arguments, "--to", "copy").stdout.startswith("mails: 0, ")
    outcome = replay(folder, *arguments, "--to", "flat")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("mailsluice: the journal journal is that of another replay, from the archive ")


def test_dead_letters_are_replayed_to_their_own_recipients_and_kept(folder):
    mail, waiting = sample("a thousand recipients"), plain_mail()
    content = mail.content.read()
    fill(
        folder / "spool",
        Spooled(mail=waiting, states={"a": State.WAITING}),
        Spooled(
            mail=mail,
            states={"a": State.DEAD, "b": State.DEAD, "c": State.WAITING},
            recipients={"a": (2, 5), "b": (5, 9), "c": (1,)},
        ),
    )
    before = left(folder)
    outcome = replay(folder, "--dead", "--to", "copy")
    assert (outcome.stderr, outcome.returncode) == ("", 0)
    assert outcome.stdout == "mails: 1, delivered: 1, failed: 0, octets: 50\n"
    assert left(folder) == before
    (marker,) = archive.mails(folder / "copy")
    envelope = json_v1.decode(marker.read_bytes())
    every = mail.envelope.envelope.recipients
    assert envelope.id == mail.envelope.id
    assert envelope.envelope.recipients == (every[2], every[5], every[9])
    assert marker.with_suffix(".eml").read_bytes() == content


def test_dead_letters_are_removed_once_they_are_delivered(folder, consumer):
    refused, taken, other = plain_mail(), sample("large content in a file"), plain_mail()
    octets = taken.content.read()
    fill(folder / "spool", Spooled(mail=refused, states={"a": State.DEAD}, cause="first"))
    consumer.status = 404
    outcome = replay(folder, "--dead", "--remove", "--to", "consumer")
    assert outcome.returncode == 1
    assert outcome.stdout == "mails: 1, delivered: 0, failed: 1, octets: 0\n"
    assert outcome.stderr.startswith(f"mailsluice: {refused.envelope.id}: 5.7.1 ")
    assert left(folder) == [(refused.envelope.id, "a")]
    consumer.reset()
    fill(
        folder / "spool",
        Spooled(mail=taken, states={"a": State.DEAD, "b": State.WAITING}, cause="second"),
        Spooled(mail=other, states={"b": State.DEAD}, cause="third"),
    )
    outcome = replay(folder, "--dead", "--connector", "a", "--error", "second", "--remove", "--to", "consumer")
    assert (outcome.stderr, outcome.returncode) == ("", 0)
    assert outcome.stdout.endswith(", dead letters removed: 1\n")
    assert [(each["webhook-id"], each.body) for each in consumer.received] == [(taken.envelope.id, octets)]
    assert left(folder) == [(refused.envelope.id, "a"), (taken.envelope.id, "b"), (other.envelope.id, "b")]


def test_an_interrupted_replay_says_so_and_is_done_again(folder, consumer):
    mails = [plain_mail() for _ in range(3)]
    fill(folder / "spool", *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in mails))
    consumer.may_answer.clear()
    command = [MAILSLUICE, "replay", "--config", "mailsluice.toml", "--dead", "--remove", "--to", "consumer"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert consumer.has_request.wait(60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    consumer.may_answer.set()
    assert (process.returncode, output) == (1, "mails: 0, delivered: 0, failed: 0, octets: 0\n")
    assert errors.startswith("mailsluice: interrupted; the same command again delivers the rest")
    assert len(left(folder)) == 3
    consumer.reset()
    assert replay(folder, "--dead", "--remove", "--to", "consumer").returncode == 0
    assert {each["webhook-id"] for each in consumer.received} >= {mail.envelope.id for mail in mails}
    assert left(folder) == []


def test_a_closed_destination_ends_a_replay_which_says_so(folder, consumer):
    # The window of the connector is full before the first answer.
    mails = [plain_mail() for _ in range(100)]
    fill(folder / "spool", *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in mails))
    consumer.status = 410
    outcome = replay(folder, "--dead", "--remove", "--to", "consumer")
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith("mailsluice: the rest was not tried, ")
    assert len(consumer.received) < len(mails) == len(left(folder))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "copy"], "say what to replay: one of "),
        (["--to", "copy", "--dead", "--archive", "."], "say what to replay: one of "),
        (["--to", "copy", "--archive", ".", "--remove"], "--remove is for --dead"),
        (["--to", "copy", "--dead", "--since", "2026-11-21"], "--since and --until are not for --dead; "),
        (
            ["--to", "copy", "--archive", ".", "--since", "2026-11-22", "--until", "2026-11-21"],
            "--since is later than --until",
        ),
        (["--to", "copy", "--archive", ".", "--since", "yesterday"], "--since 'yesterday' is no time; write it in UTC"),
        (["--to", "copy", "--archive", ".", "--prefix", "a"], "--prefix is for --s3"),
        (["--to", "copy", "--archive", ".", "--offsets", "0"], "--offsets is for --kafka"),
        (["--to", "copy", "--archive", ".", "--rate", "0/s"], "--rate '0/s' is no rate; write how many mails"),
        (["--to", "copy", "--archive", ".", "--id", "!"], "'!' is no id; "),
        (["--to", "copy", "--archive", ".", "--recipient", "x"], "'x' is no recipient pattern; "),
        (["--to", "copy", "--archive", ".", "--rewrite-recipient", "x"], "--rewrite-recipient 'x': "),
        (["--to", "copy", "--archive", ".", "--rewrite-recipient", "a=b@c.example"], "--rewrite-recipient 'a=b@c"),
        (["--to", "copy", "--dead", "--remove", "--rewrite-recipient", "b@c.example"], "--remove would take mail out"),
        (["--to", "copy", "--s3", "flat"], 'the connector "flat" is of type directory, and --s3 takes one of type s3'),
        (["--to", "copy", "--kafka", "topic"], 'no connector is named "topic"; there are: '),
        (["--to", "copi", "--dead"], 'no connector is named "copi"; there are: archive, copy, flat'),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(folder, mailsluice, arguments, sentence):
    outcome = mailsluice("replay", "--config", folder / "mailsluice.toml", *arguments)
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith(f"mailsluice: {sentence}")


def test_a_connector_that_cannot_be_opened_is_said_to_be_so(folder):
    fill_archive(folder / "old", [plain_mail()])
    (folder / "copy").touch()
    outcome = replay(folder, "--archive", "old", "--to", "copy")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith('mailsluice: connector "copy" cannot be opened: ')


@pytest.mark.usefixtures("sample_connectors")
async def test_what_a_connector_refers_to_is_opened_before_it(tmp_path):
    path = tmp_path / "mailsluice.toml"
    text = "".join(
        f"[[connector]]\nname = {json.dumps(name)}\ntype = 'sample'\n{more}\n"
        for name, more in (
            ("events", "copy_to = 'store'"),
            ("store", "opening = 'fails'"),
            ("unrelated", "opening = 'fails'"),
            ("plain", ""),
        )
    )
    path.write_text(tables.LISTENERS + text + tables.route("plain"))
    connectors = load(path).connectors
    async with opened(connectors, "plain") as destination:
        assert destination.name == "plain"
    with pytest.raises(StartError, match='connector "store" cannot be opened: the password is wrong'):
        async with opened(connectors, "events"):
            pass
