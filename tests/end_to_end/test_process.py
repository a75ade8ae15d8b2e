"""The process as its operator sees it: its files, its log, and how it ends."""

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway import archive
from tests.connectors.http.consumers import SECRET
from tests.end_to_end import tables
from tests.end_to_end.archives import only, stored
from tests.end_to_end.gateway import ID, Gateway
from tests.end_to_end.mails import CONTAINERS, MAIL
from tests.end_to_end.wire import Wire, deliver

# Longer than what is kept in memory, so that it passes through the spool.
LONG = MAIL + b"".join(b"%076d\r\n" % number for number in range(10_000))


@pytest.fixture
def archiving(start_gateway):
    return start_gateway(tables.directory() + tables.route("archive"))


def test_only_its_user_may_read_what_it_keeps(archiving):
    deliver(archiving.addresses["smtp"], LONG, "bob@example.org", containers=CONTAINERS)
    for root in (archiving.folder / "mail", archiving.folder / "spool"):
        for path in (root, *root.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert len(list((archiving.folder / "mail").rglob("*.*"))) == 3
    assert not list((archiving.folder / "spool/content").iterdir())


def test_a_mail_is_one_line_with_the_id_of_its_reply(archiving):
    (reply,) = deliver(archiving.addresses["smtp"], MAIL, "bob@example.org", "eve@example.org", containers=CONTAINERS)
    record = archiving.record(reply)
    assert archiving.records() == [record]
    assert reply == f"250 2.0.0 {record['id']} accepted"
    assert record["mail_from"] == "sender@example.net"
    assert record["recipients"] == ["bob@example.org", "eve@example.org"]
    assert (record["listener"], record["client"], record["protocol"]) == ("smtp", "127.0.0.1", "ESMTP")
    assert (record["size"], record["replies"], record["failures"]) == (len(MAIL), ["250 2.0.0"], {})
    assert record["receipts"]["archive"]["path"].endswith(f"/{record['id']}.eml")


def test_lmtp_logs_one_line_for_all_recipients(start_gateway):
    gateway = start_gateway(
        tables.directory()
        + tables.route("archive")
        + tables.http("http://127.0.0.1:9/", name="nowhere")
        + tables.route("nowhere", recipients="eve@example.com")
    )
    replies = deliver(gateway.addresses["lmtp"], MAIL, "bob@example.org", "eve@example.com", hello="LHLO")
    record = gateway.record(replies[0])
    assert gateway.records() == [record]
    assert [ID.findall(reply) for reply in replies] == [[record["id"]]] * 2
    assert record["replies"] == ["250 2.0.0", "451 4.4.1"]
    assert list(record["failures"]) == ["nowhere"]


def test_a_hostile_mail_writes_no_line_of_its_own(archiving):
    sender = '"{} %s \u2028\u0085\u009b31m"@example.net'
    with Wire(archiving.addresses["smtp"]) as client:
        client.greet()
        client.begin("bob@example.org", sender=sender, parameters=" SMTPUTF8")
        reply = client.data(b"Subject: {}\x1b[2J\r\n\r\n")
    assert archiving.record(reply)["mail_from"] == sender
    assert archiving.log.isascii()
    assert archiving.log.count("\n") == len(archiving.addresses) + len(("ready", "mail"))


class Secrets:
    """Every secret of a gateway that has one of each, under names by which a leak is told."""

    def __init__(self, kafka, s3_server):
        self.texts = {
            "webhook secret": SECRET,
            "webhook secret, decoded": "secret-octets-for-the-tests",
            "bearer token": "canary-bearer-token-canary",
            "header": "canary-of-a-header",
            "SASL password": kafka.password,
            "S3 secret key": s3_server.secret_key,
        }

    def assert_absent(self, text):
        assert [name for name, secret in self.texts.items() if secret in text] == []


async def test_no_secret_is_in_the_log_of_what_succeeds_and_of_what_fails(
    start_gateway, kafka, s3_server, topic, consumer
):
    secrets = Secrets(kafka, s3_server)
    sasl = (
        *('sasl_mechanism = "PLAIN"', f'sasl_username = "{kafka.username}"', f'sasl_password = "{kafka.password}"'),
        *("tls = true", f'tls_ca_file = "{kafka.ca_file}"', "deadline_seconds = 5.0"),
    )
    kafka_table = tables.kafka(kafka, topic, *sasl).replace(kafka.bootstrap, kafka.tls_bootstrap)
    headers = ('bearer_token = "canary-bearer-token-canary"', 'headers = { "X-Key" = "canary-of-a-header" }')
    gateway = start_gateway(
        kafka_table
        + tables.s3(s3_server, s3_server.create_bucket(), "deadline_seconds = 5.0")
        + tables.http(consumer.url, *headers)
        + tables.route("events", "objects", "consumer")
    )
    assert deliver(gateway.addresses["smtp"], MAIL, "bob@example.org")[0].startswith("250")
    consumer.status, consumer.text = 503, "not now"
    kafka.pause()
    s3_server.pause()
    try:
        (reply,) = deliver(gateway.addresses["smtp"], MAIL, "bob@example.org")
        assert set(gateway.record(reply)["failures"]) == {"events", "objects", "consumer"}
    finally:
        kafka.resume()
        s3_server.resume()
    secrets.assert_absent(reply)
    secrets.assert_absent(gateway.log)


@pytest.mark.parametrize("connector", ["kafka", "s3"])
def test_no_secret_is_in_what_is_said_about_a_wrong_one(tmp_path, kafka, s3_server, topic, connector):
    wrong = "canary-of-a-wrong-secret"
    if connector == "kafka":
        sasl = ('sasl_mechanism = "SCRAM-SHA-512"', 'sasl_username = "mailsluice"', f'sasl_password = "{wrong}"')
        tls = ("tls = true", f'tls_ca_file = "{kafka.ca_file}"')
        table = tables.kafka(kafka, topic, *sasl, *tls, name="it").replace(kafka.bootstrap, kafka.tls_bootstrap)
    else:
        table = tables.s3(s3_server, s3_server.create_bucket(), name="it").replace(s3_server.secret_key, wrong)
    with pytest.raises(AssertionError, match='connector "it" cannot be opened') as refusal:
        Gateway(tmp_path, tables.LISTENERS + table + tables.route("it")).start()
    assert wrong not in str(refusal.value)


def test_a_delivery_under_way_is_answered_before_the_end(start_gateway, consumer):
    consumer.may_answer.clear()
    gateway = start_gateway(tables.http(consumer.url) + tables.route("consumer"))
    with Wire(gateway.addresses["smtp"]) as client, Wire(gateway.addresses["smtp"]) as idle:
        idle.greet()
        client.greet()
        client.begin("bob@example.org")
        client.send(b"BDAT %d LAST\r\n%b" % (len(MAIL), MAIL))
        assert consumer.has_request.wait(20)
        gateway.terminate()
        assert idle.read().startswith("421 4.3.2")
        consumer.may_answer.set()
        assert client.read() == f"250 2.0.0 {consumer.received[0]['webhook-id']} accepted"
        assert client.read().startswith("421 4.3.2")
    assert gateway.wait() == 0


def test_content_under_way_may_be_completed_before_the_end(archiving):
    with Wire(archiving.addresses["lmtp"]) as client:
        client.greet("LHLO")
        client.begin("bob@example.org")
        client.send(b"BDAT %d\r\n%b" % (len(LONG), LONG[:500_000]))
        archiving.terminate()
        archiving.wait_for('"event": "stopping"')
        client.send(LONG[500_000:])
        assert client.read().startswith("250 2.0.0")
        assert client.ask("BDAT 0 LAST").startswith("250 2.0.0")
        assert client.read().startswith("421 4.3.2")
    assert archiving.wait() == 0
    assert only(archiving.folder / "mail").content == LONG


def test_what_got_a_250_outlives_a_crash(archiving):
    """SIGKILL in the middle of many deliveries: whole mails are left, and leftovers that nobody takes for mails."""
    accepted: dict[str, bytes] = {}
    many = threading.Event()

    def send(sender):
        try:
            with Wire(archiving.addresses["smtp"]) as client:
                client.greet()
                while True:
                    client.begin("bob@example.org")
                    content = b"Subject: %d\r\n\r\n" % sender + LONG
                    client.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
                    if not (reply := client.read()):
                        return
                    accepted[ID.findall(reply)[0]] = content
                    if len(accepted) >= 40:
                        many.set()
        except (OSError, AssertionError):
            # The end of the connection may come anywhere.
            return

    with ThreadPoolExecutor() as threads:
        senders = [threads.submit(send, number) for number in range(4)]
        assert many.wait(30)
        archiving.kill()
    for sender in senders:
        sender.result()
    root = archiving.folder / "mail"
    left = {mail.envelope.id: mail.content for mail in stored(root)}
    assert {id_: left.get(id_) for id_ in accepted} == accepted
    archiving.start()
    assert deliver(archiving.addresses["smtp"], MAIL, "bob@example.org")[0].startswith("250")
    assert not [finding for finding in archive.verify(root) if finding.verdict is archive.Verdict.DAMAGED]


def test_two_gateways_on_one_address_is_said_in_one_line(archiving, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    listeners = tables.LISTENERS.replace("127.0.0.1:0", archiving.addresses["smtp"], 1)
    with pytest.raises(AssertionError, match=r'listener "smtp" cannot listen on .*: Address already in use'):
        Gateway(folder, listeners + tables.directory() + tables.route("archive")).start()
    assert deliver(archiving.addresses["smtp"], MAIL, "bob@example.org")[0].startswith("250")


def test_the_log_is_json_line_by_line(archiving):
    deliver(archiving.addresses["smtp"], MAIL, "bob@example.org")
    assert archiving.stop() == 0
    addresses, records = archiving.log.split("mailsluice ready\n")
    assert addresses.count("\n") == 2
    assert [json.loads(line)["event"] for line in records.splitlines()] == ["mail", "stopping", "stopped"]
