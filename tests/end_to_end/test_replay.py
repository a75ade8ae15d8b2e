"""`mailsluice replay` as an operator runs it, between real servers: what came in once comes out again."""

import hashlib
import signal
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from connectors.http import CONNECTOR as HTTP
from gateway.cli.journal import Journal
from gateway.testing import plain_mail
from tests.cli.spools import MAILSLUICE, run
from tests.cli.test_replay import fill_archive
from tests.connectors.http.consumers import served
from tests.connectors.reading import whole
from tests.end_to_end import tables
from tests.end_to_end.archives import only, stored
from tests.end_to_end.consumers import Consumer
from tests.end_to_end.mails import CONTAINERS, LARGE_MAIL, MAIL, RECEIVED, TRACE
from tests.end_to_end.wire import deliver

CLAIM = ("inline_max_bytes = 1000", 'claim_check = "claims"')
FORMATS = {
    "binary": (),
    "structured": ('content_mode = "structured"',),
    "avro": ('format = "avro"',),
    "raw": ('format = "raw"',),
}


def replay(gateway, configuration, *arguments):
    (gateway.folder / "replay.toml").write_text(tables.LISTENERS + configuration)
    outcome = run("replay", "--config", "replay.toml", *arguments, folder=gateway.folder)
    assert (outcome.stderr, outcome.returncode) == ("", 0)
    return outcome.stdout


def sent_to(gateway):
    """Three mails to one gateway, and what its archive has of them."""
    for content, recipients in ((MAIL, ("bob@example.org", "bcc@example.org")), (LARGE_MAIL, ("eve@example.org",))):
        deliver(gateway.addresses["smtp"], content, *recipients, containers=CONTAINERS)
    return {mail.envelope.id: mail for mail in stored(gateway.folder / "mail")}


def assert_same(gateway, path, expected):
    found = {mail.envelope.id: mail for mail in stored(gateway.folder / path)}
    assert found.keys() == expected.keys()
    for id_, mail in expected.items():
        assert whole(found[id_].envelope) == whole(mail.envelope)
        assert found[id_].content == mail.content


@pytest.mark.parametrize("form", FORMATS)
def test_a_topic_with_a_claim_check_is_replayed(start_gateway, kafka, topic, form):
    configuration = (
        tables.directory(name="claims", path="claims")
        + tables.kafka(kafka, topic, *CLAIM, *FORMATS[form])
        + tables.directory()
        + tables.directory(name="copy", path="copy")
        + tables.route("events", "archive")
    )
    gateway = start_gateway(configuration)
    expected = sent_to(gateway)
    said = replay(gateway, configuration, "--kafka", "events", "--to", "copy", "--offsets", "0")
    assert said == f"mails: 2, delivered: 2, failed: 0, octets: {len(MAIL) + len(LARGE_MAIL)}\n"
    assert_same(gateway, "copy", expected)


@pytest.mark.parametrize(
    "layout",
    [('layout = "message"',), ("single_instance = true",), ('layout = "batch"', "batch_max_bytes = 1048576")],
    ids=["message", "single instance", "batch"],
)
def test_a_bucket_is_replayed(start_gateway, s3_server, layout):
    configuration = (
        tables.s3(s3_server, s3_server.create_bucket(), 'prefix = "mail/"', *layout)
        + tables.directory()
        + tables.directory(name="copy", path="copy")
        + tables.route("objects", "archive")
    )
    gateway = start_gateway(configuration)
    expected = sent_to(gateway)
    arguments = ("--s3", "objects", "--to", "copy")
    assert replay(gateway, configuration, *arguments, "--prefix", "other/").startswith("mails: 0, ")
    assert replay(gateway, configuration, *arguments, "--recipient", "nobody@example.org").startswith("mails: 0, ")
    listed = replay(gateway, configuration, *arguments, "--dry-run")
    assert "octets from <sender@example.net> to <bob@example.org>, <bcc@example.org>\n" in listed
    assert stored(gateway.folder / "copy") == []
    assert replay(gateway, configuration, *arguments).startswith("mails: 2, delivered: 2, ")
    assert_same(gateway, "copy", expected)


@pytest.mark.parametrize(("content", "form"), [(MAIL, "raw"), (LARGE_MAIL, "avro")], ids=["small", "large"])
def test_a_mail_goes_through_kafka_and_smtp_to_another_gateway_untouched(start_gateway, kafka, topic, content, form):
    last = start_gateway(tables.directory() + tables.route("archive"))
    host, port = last.address("smtp")
    configuration = (
        tables.directory(name="claims", path="claims")
        + tables.kafka(kafka, topic, *CLAIM, *FORMATS[form])
        + f'\n[[connector]]\nname = "next"\ntype = "smtp"\nhost = "{host}"\nport = {port}\n'
        + tables.route("events")
    )
    first = start_gateway(configuration)
    (reply,) = deliver(first.addresses["smtp"], content, "bob@example.org", containers=CONTAINERS)
    assert reply.startswith("250 ")
    assert replay(first, configuration, "--kafka", "events", "--to", "next").startswith("mails: 1, delivered: 1, ")
    mail = only(last.folder / "mail")
    assert mail.envelope.message.sha256 == hashlib.sha256(content).hexdigest()
    assert mail.content == content
    own, hop, *received = mail.envelope.metadata.containers
    assert [(container.type, container.data) for container in received] == RECEIVED
    # The last gateway's own trace on top, below it that of the first, below that what came in.
    assert own.data.startswith(b"Received: from ")
    assert own.data != hop.data
    assert f" id {mail.envelope.id}".encode() in own.data
    assert first.record(reply)["id"].encode() in hop.data
    assert [header.name for header in mail.envelope.metadata.trace] == ["Received"] * 3
    assert received[0].data == TRACE


@dataclass
class CountingConsumer(Consumer):
    """A consumer that tells of every answer."""

    answered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    async def __call__(self, scope, receive, send) -> None:
        await super().__call__(scope, receive, send)
        self.answered.release()


@contextmanager
def counting(folder):
    """One that is up, and that the configuration in `folder` names."""
    consumer = CountingConsumer()
    consumer.reset()
    with served(consumer) as url:
        connectors = tables.directory() + tables.http(url)
        (folder / "mailsluice.toml").write_text(tables.LISTENERS + connectors + tables.route("archive"))
        yield consumer


def ids_of(received):
    return [each["webhook-id"] for each in received]


def test_a_replay_that_was_killed_goes_on_without_repeating_what_was_acknowledged(tmp_path):
    mails = [plain_mail() for _ in range(400)]
    fill_archive(tmp_path / "old", mails)
    arguments = ("replay", "--config", "mailsluice.toml", "--archive", "old", "--to", "consumer", "--journal", "j")
    with (
        counting(tmp_path) as consumer,
        subprocess.Popen(
            [MAILSLUICE, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        try:
            for _ in range(200):
                assert consumer.answered.acquire(timeout=60)
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.communicate(timeout=60)
    # It has ended, and with it what was under way to it when the other one was killed.
    before = ids_of(consumer.received)
    description = f"from the archive {tmp_path / 'old'} to consumer"
    with Journal(tmp_path / "j", description) as journal:
        recorded = {
            mail.envelope.id
            for mail in mails
            if journal.refused(f"{mail.envelope.received_at[:10].replace('-', '/')}/{mail.envelope.id}.json") == ()
        }
    assert recorded
    assert recorded <= set(before)
    with counting(tmp_path) as consumer:
        outcome = run(*arguments, folder=tmp_path)
        again = run(*arguments, folder=tmp_path)
    after = ids_of(consumer.received)
    assert (outcome.stderr, outcome.returncode) == ("", 0)
    assert len(after) == len(mails) - len(recorded)
    assert not recorded & set(after)
    assert {*before, *after} == {mail.envelope.id for mail in mails}
    # What was under way when it was killed is repeated, under the same ids: no more than the destination takes at once.
    assert len(before) + len(after) - len(mails) <= HTTP.max_in_flight
    assert again.stdout.startswith("mails: 0, delivered: 0, failed: 0, ")


def test_nobody_but_the_tester_gets_a_rewritten_mail(start_gateway):
    configuration = (
        tables.directory() + tables.directory(name="copy", path="copy") + tables.route("archive", recipients="*")
    )
    gateway = start_gateway(configuration)
    deliver(gateway.addresses["smtp"], MAIL, "bob@example.org", "ann@example.net", containers=CONTAINERS)
    mail = only(gateway.folder / "mail")
    arguments = ("--archive", "mail", "--to", "copy")
    (gateway.folder / "replay.toml").write_text(tables.LISTENERS + configuration)
    refused = run(
        *("replay", "--config", "replay.toml", *arguments, "--rewrite-recipient", "*@example.org=test@example.com"),
        folder=gateway.folder,
    )
    assert (refused.returncode, stored(gateway.folder / "copy")) == (1, [])
    assert "no --rewrite-recipient has a pattern for <ann@example.net>" in refused.stderr
    replay(gateway, configuration, *arguments, "--rewrite-recipient", "test@example.com")
    found = only(gateway.folder / "copy")
    (recipient,) = found.envelope.envelope.recipients
    assert recipient.address.raw == "test@example.com"
    assert [(each.keyword, each.value) for each in recipient.parameters] == [("NOTIFY", "NEVER")]
    own, *received = found.envelope.metadata.containers
    before, *expected = mail.envelope.metadata.containers
    assert own.data.startswith(b"Received: by mx.example.org (replayed as a test, with other recipients) id ")
    assert own.data.endswith(before.data)
    assert (received, found.content) == (expected, MAIL)
