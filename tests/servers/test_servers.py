"""Each real server starts, does the one thing the tests have it for, and comes back after it was taken away."""

import asyncio
import base64
import hashlib
import secrets
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from queue import Empty, Queue

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.helpers import create_ssl_context
from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from tests.servers.kafka import KafkaCluster
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.postfix import Postfix
from tests.servers.s3 import S3Server


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic of three partitions for one test."""
    name = f"mail-{secrets.token_hex(4)}"
    kafka.create_topic(name, partitions=3)
    return name


async def test_a_record_is_produced_and_read_in_plaintext(kafka: KafkaCluster, topic: str) -> None:
    """The broker keeps key, value and headers, and an independent consumer reads them."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"value", key=b"key", headers=[("name", b"header")])
    [record] = await kafka.read(topic, 1)
    assert (b"key", b"value", (("name", b"header"),)) == (record.key, record.value, tuple(record.headers))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_record_is_produced_over_tls_with_a_password(kafka: KafkaCluster, topic: str, mechanism: str) -> None:
    """The SASL_SSL listener shows a certificate of the authority and accepts the account."""
    async with AIOKafkaProducer(**_secured(kafka, mechanism, kafka.password)) as producer:
        await producer.send_and_wait(topic, b"value")
    assert [b"value"] == [record.value for record in await kafka.read(topic)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_refused(kafka: KafkaCluster, mechanism: str) -> None:
    """Neither mechanism lets an unknown password in."""
    producer = AIOKafkaProducer(**_secured(kafka, mechanism, "wrong"))
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()
    # aiokafka only begins to close a TLS connection; a loop that ends before it is closed leaks it.
    port = int(kafka.tls_bootstrap.rpartition(":")[2])
    while any(each.raddr and each.raddr.port == port for each in psutil.Process().net_connections()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_topic_has_the_settings_it_was_created_with(kafka: KafkaCluster) -> None:
    """A record over the topic's limit is refused by the broker."""
    name = f"small-{secrets.token_hex(4)}"
    kafka.create_topic(name, config={"max.message.bytes": "1000"})
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(name, secrets.token_bytes(2000))


async def test_a_killed_broker_comes_back_with_its_records(kafka: KafkaCluster, topic: str) -> None:
    """Ports and data outlive the process."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"before")
    kafka.kill()
    kafka.start()
    assert [b"before"] == [record.value for record in await kafka.read(topic)]


async def test_a_paused_broker_answers_once_it_is_resumed(kafka: KafkaCluster, topic: str) -> None:
    """Nothing is read from a paused broker, and nothing is lost by the pause."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"before")
    kafka.pause()
    try:
        with pytest.raises((TimeoutError, KafkaError)):
            await kafka.read(topic, timeout=0.5)
    finally:
        kafka.resume()
    assert [b"before"] == [record.value for record in await kafka.read(topic)]


async def test_three_brokers_go_on_without_the_leader(start_kafka: Callable[..., KafkaCluster]) -> None:
    """What was acknowledged by two is there after the first has crashed, and writing goes on."""
    cluster = start_kafka(nodes=3)
    cluster.create_topic("mail")
    async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait("mail", b"one")
        cluster.leader("mail").kill()
        await producer.send_and_wait("mail", b"two")
    assert [b"one", b"two"] == [record.value for record in await cluster.read("mail")]


def test_an_object_is_stored_once_only(s3_server: S3Server) -> None:
    """A second PUT with If-None-Match is answered 412 and changes nothing."""
    bucket, client = s3_server.create_bucket(), s3_server.client()
    client.put_object(Bucket=bucket, Key="2026/one.eml", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=bucket, Key="2026/one.eml", Body=b"second", IfNoneMatch="*")
    assert 412 == refused.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert b"first" == client.get_object(Bucket=bucket, Key="2026/one.eml")["Body"].read()


def test_an_object_with_a_wrong_checksum_is_refused(s3_server: S3Server) -> None:
    """The server computes the SHA-256 itself, and stores nothing that differs."""
    bucket, client = s3_server.create_bucket(), s3_server.client()
    wrong = base64.b64encode(hashlib.sha256(b"other octets").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=bucket, Key="one.eml", Body=b"octets", ChecksumSHA256=wrong)
    assert 0 == client.list_objects_v2(Bucket=bucket)["KeyCount"]


def test_a_locked_object_cannot_be_deleted(s3_server: S3Server) -> None:
    """Object lock is enforced, and versioning comes with it."""
    bucket, client = s3_server.create_bucket(object_lock=True), s3_server.client()
    stored = client.put_object(Bucket=bucket, Key="one.eml", Body=b"octets", ObjectLockLegalHoldStatus="ON")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key="one.eml", VersionId=stored["VersionId"])
    client.put_object_legal_hold(
        Bucket=bucket, Key="one.eml", VersionId=stored["VersionId"], LegalHold={"Status": "OFF"}
    )
    client.delete_object(Bucket=bucket, Key="one.eml", VersionId=stored["VersionId"])


def test_the_s3_server_comes_back_with_its_objects(s3_server: S3Server) -> None:
    """Port and objects outlive the process; while it is away or paused, requests fail."""
    bucket, client = s3_server.create_bucket(versioning=True), s3_server.client()
    client.put_object(Bucket=bucket, Key="one.eml", Body=b"octets")
    s3_server.kill()
    try:
        with pytest.raises(EndpointConnectionError):
            client.list_buckets()
    finally:
        s3_server.start()
    assert b"octets" == client.get_object(Bucket=bucket, Key="one.eml")["Body"].read()
    s3_server.pause()
    try:
        with pytest.raises((ReadTimeoutError, ConnectTimeoutError)):
            s3_server.client(read_timeout=0.3, connect_timeout=0.3).list_buckets()
    finally:
        s3_server.resume()


class Mailbox:
    """An aiosmtpd handler that keeps what it is given."""

    def __init__(self) -> None:
        self.envelopes: Queue[Envelope] = Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take one message."""
        self.envelopes.put(envelope)
        return "250 2.0.0 kept"


class LMTPController(Controller):
    """An LMTP server on a loopback port."""

    def factory(self) -> SMTP:
        """Return the protocol of one connection."""
        return LMTP(self.handler, **self.SMTP_kwargs)


class LMTPSocketController(UnixSocketController):
    """An LMTP server on a unix socket."""

    def factory(self) -> SMTP:
        """Return the protocol of one connection."""
        return LMTP(self.handler, **self.SMTP_kwargs)


@pytest.fixture
def mailbox() -> Mailbox:
    """What the next hop has received."""
    return Mailbox()


@pytest.fixture(params=["lmtp", "lmtp over a unix socket", "smtp"])
def next_hop(request: pytest.FixtureRequest, mailbox: Mailbox, open_directory: Path) -> Iterator[tuple[str, str]]:
    """A next hop that is up, as the two arguments that Postfix takes for it."""
    port, socket = free_port(), open_directory / "lmtp.sock"
    controllers = {
        "lmtp": lambda: LMTPController(mailbox, hostname=LOOPBACK, port=port),
        "lmtp over a unix socket": lambda: LMTPSocketController(mailbox, unix_socket=str(socket)),
        "smtp": lambda: Controller(mailbox, hostname=LOOPBACK, port=port),
    }
    controller = controllers[request.param]()
    controller.start()
    if socket.exists():
        socket.chmod(0o666)
    yield request.param.split()[0], f"unix:{socket}" if socket.exists() else f"{LOOPBACK}:{port}"
    controller.stop()


def test_postfix_relays_a_mail(
    postfix: Callable[..., Postfix], next_hop: tuple[str, str], mailbox: Mailbox, swaks: Path
) -> None:
    """What swaks hands to Postfix arrives at the next hop with its envelope, and Postfix logs it."""
    relay = postfix(*next_hop)
    subprocess.run(
        [swaks, "--server", f"{LOOPBACK}:{relay.port}", "--from", "me@example.org", "--to", "you@example.net"],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    envelope = mailbox.envelopes.get(timeout=30)
    assert ("me@example.org", ["you@example.net"]) == (envelope.mail_from, envelope.rcpt_tos)
    # What writes the log is a process of its own.
    deadline = time.monotonic() + 30
    while "from=<me@example.org>" not in relay.log():
        assert time.monotonic() < deadline, relay.log()
        time.sleep(0.02)


def test_postfix_keeps_what_it_cannot_deliver(postfix: Callable[..., Postfix], mailbox: Mailbox) -> None:
    """A mail waits in the queue while the next hop is down, over a restart too, and a flush sends it."""
    port = free_port()
    relay = postfix("lmtp", f"{LOOPBACK}:{port}", {"minimal_backoff_time": "300s", "maximal_backoff_time": "300s"})
    mail = EmailMessage()
    mail["Subject"] = "kept"
    with smtplib.SMTP(LOOPBACK, relay.port) as client:
        client.send_message(mail, "me@example.org", ["you@example.net"])
    assert 1 == relay.queue()
    relay.stop()
    relay.start()
    assert 1 == relay.queue()
    controller = LMTPController(mailbox, hostname=LOOPBACK, port=port)
    controller.start()
    try:
        assert ["you@example.net"] == _flushed(relay, mailbox).rcpt_tos
    finally:
        controller.stop()


def _flushed(relay: Postfix, mailbox: Mailbox) -> Envelope:
    # Again and again: a flush passes over a mail whose last attempt is under way and just about to fail.
    for _ in range(20):
        relay.flush()
        with suppress(Empty):
            return mailbox.envelopes.get(timeout=0.5)
    raise TimeoutError(relay.log())


def _secured(kafka: KafkaCluster, mechanism: str, password: str) -> dict[str, object]:
    return {
        "bootstrap_servers": kafka.tls_bootstrap,
        "security_protocol": "SASL_SSL",
        "ssl_context": create_ssl_context(cafile=str(kafka.ca_file)),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": kafka.username,
        "sasl_plain_password": password,
    }
