"""The handler behind a real aiosmtpd Controller."""

import hashlib
import smtplib
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller

from gateway.codec import json_v1
from gateway.connector import TransientFailure
from gateway.delivery import Destination, Route, Routes
from gateway.embed.aiosmtpd import MailsluiceHandler
from gateway.envelope import Origin
from gateway.smtp.referral import parse_referral
from gateway.status import DESTINATION_UNREACHABLE
from gateway.testing import MemoryConnector
from tests.servers.ports import free_port

CONTENT = b"Subject: hello\r\nX-Odd: \xff\r\n\r\n.a line with a dot\r\n"


@pytest.fixture
def connector() -> MemoryConnector:
    return MemoryConnector()


@pytest.fixture
def client(connector: MemoryConnector) -> Iterator[smtplib.SMTP]:
    destination = Destination(connector, name="memory", metadata="preserve", deadline_seconds=10, max_in_flight=10)
    routes = Routes(
        [
            Route(recipients=("far@example.org",), destinations=(), referral=parse_referral("smtp://backend/")),
            Route(recipients=("*@example.org",), destinations=(destination,)),
        ],
        hostname="mx.example.org",
    )
    controller = Controller(
        MailsluiceHandler(routes, hostname="mx.example.org"),
        hostname="127.0.0.1",
        port=free_port(),
        enable_SMTPUTF8=True,
    )
    controller.start()
    try:
        with smtplib.SMTP("127.0.0.1", controller.port, local_hostname="client.example.net") as session:
            yield session
    finally:
        controller.stop()


def test_a_mail_arrives_with_our_envelope(client: smtplib.SMTP, connector: MemoryConnector):
    client.sendmail("s@example.net", ["a@example.org", "b@example.org"], CONTENT, mail_options=["BODY=8BITMIME"])
    (mail,) = connector.mails.values()
    envelope = mail.envelope
    assert mail.content.read() == CONTENT
    assert envelope.message.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert [r.address.raw for r in envelope.envelope.recipients] == ["a@example.org", "b@example.org"]
    assert envelope.transaction.protocol == "ESMTP"
    assert envelope.transaction.hello == "client.example.net"
    assert envelope.transaction.body == "8BITMIME"
    (trace,) = envelope.metadata.containers
    assert trace.origin is Origin.GATEWAY
    assert trace.data.startswith(b"Received: from client.example.net ([127.0.0.1])")


def test_the_reply_carries_the_id(client: smtplib.SMTP, connector: MemoryConnector):
    client.ehlo()
    client.mail("s@example.net")
    client.rcpt("a@example.org")
    code, text = client.data(CONTENT)
    assert code == 250
    assert text.decode() == f"2.0.0 {next(iter(connector.mails))} accepted"


def test_a_recipient_without_a_route_is_refused(client: smtplib.SMTP, connector: MemoryConnector):
    client.ehlo()
    client.mail("s@example.net")
    assert client.rcpt("a@example.net") == (550, b"5.1.1 no route to this recipient")


def test_a_recipient_whose_route_only_refers_is_put_off(client: smtplib.SMTP, connector: MemoryConnector):
    client.ehlo()
    client.mail("s@example.net")
    assert client.rcpt("far@example.org") == (451, b"4.3.0 this recipient's mail is not taken here now")


def test_a_destination_that_is_down_is_a_temporary_failure(client: smtplib.SMTP, connector: MemoryConnector):
    connector.failure = TransientFailure(DESTINATION_UNREACHABLE, "the destination is not available")
    with pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail("s@example.net", ["a@example.org"], CONTENT)
    assert refused.value.smtp_code == 451
    assert not connector.mails


def test_the_next_mail_of_a_session_is_a_transaction_of_its_own(client: smtplib.SMTP, connector: MemoryConnector):
    client.sendmail("s@example.net", ["a@example.org"], CONTENT)
    client.sendmail("", ["b@example.org"], CONTENT)
    _, second = connector.mails.values()
    assert second.envelope.envelope.mail_from.address.raw == ""
    assert [r.address.raw for r in second.envelope.envelope.recipients] == ["b@example.org"]


def test_octets_that_are_no_text_do_no_harm(client: smtplib.SMTP, connector: MemoryConnector):
    def said(line: bytes) -> int:
        client.sock.sendall(line + b"\r\n")
        return client.getreply()[0]

    assert said(b"EHLO caf\xe9.example") == 250
    assert said(b"MAIL FROM:<caf\xe9@example.net> SMTPUTF8") == 501
    assert said(b"MAIL FROM:<s@example.net>") == 250
    assert said(b"RCPT TO:<caf\xe9@example.org>") == 553
    assert said(b"RCPT TO:<a@example.org>") == 250
    assert said(b"DATA") == 354
    assert said(b"x\r\n.") == 250
    (mail,) = connector.mails.values()
    assert mail.envelope.transaction.hello == "caf\\xe9.example"
    json_v1.encode(mail.envelope)
