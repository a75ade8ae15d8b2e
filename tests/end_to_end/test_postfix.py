"""A real Postfix relays to the gateway by LMTP, as mail servers in production do."""

import smtplib
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end import tables
from tests.end_to_end.archives import only, stored
from tests.end_to_end.gateway import Gateway
from tests.servers.ports import LOOPBACK
from tests.servers.postfix import Postfix

HEADER = (
    b"Date: Fri, 21 Nov 2026 10:00:00 +0000\r\n"
    b"From: ann@example.net\r\n"
    b"To: bob@example.org\r\n"
    b"Subject: relayed\r\n"
    b"Message-ID: <one@example.net>\r\n"
)
MAIL = HEADER + b"\r\n.leading dot\r\n..two\r\n\r\nlast line\r\n"
EIGHT_BIT = (
    HEADER + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe, and no UTF-8: \xe9\xff\r\n"
)
FIVE_MEGABYTES = HEADER + b"\r\n" + b"".join(b".%075d\r\n" % number for number in range(67_000))
# The senders of these tests: what comes back to them is kept apart.
TABLES = (
    tables.directory()
    + tables.route("archive")
    + tables.directory(name="bounces", path="bounces")
    + tables.route("bounces", recipients="*@example.net")
)

LISTENER = """
[[listener]]
name = "lmtp"
protocol = "lmtp"
bind = "{bind}"
"""


@pytest.fixture(params=["tcp", "unix"])
def listeners(request, open_directory: Path) -> str:
    binds = {"tcp": "127.0.0.1:0", "unix": f"unix:{open_directory}/lmtp.sock"}
    return LISTENER.format(bind=binds[request.param])


def give(relay: Postfix, content: bytes, *recipients: str, options: tuple[str, ...] = ()) -> None:
    with smtplib.SMTP(LOOPBACK, relay.port) as client:
        client.sendmail("ann@example.net", recipients or ["bob@example.org"], content, mail_options=options)


def until(question: Callable[[], bool], *, seconds: float) -> None:
    """Ask again and again, for Postfix tells nobody when it has written its log."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def own_trace(octets: bytes, content: bytes) -> bytes:
    """What Postfix put before the content that it was given."""
    assert octets.endswith(content)
    return octets.removesuffix(content)


@pytest.mark.parametrize(
    ("content", "options", "body"),
    [(MAIL, (), "7BIT"), (EIGHT_BIT, ("BODY=8BITMIME",), "8BITMIME"), (FIVE_MEGABYTES, (), "7BIT")],
    ids=["small", "8-bit", "5 MB"],
)
def test_postfix_relays_a_mail(
    start_gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], listeners, *, content, options, body
):
    """What arrives is what Postfix was given, with nothing but its own trace field before it."""
    gateway = start_gateway(TABLES, listeners=listeners)
    relay = postfix("lmtp", gateway.addresses["lmtp"])
    give(relay, content, options=options)
    gateway.wait_for('"event": "mail"')
    mail = only(gateway.folder / "mail")
    trace = own_trace(mail.content, content)
    assert trace.startswith(b"Received: from ")
    assert trace.endswith(b"\r\n")
    assert len([line for line in trace.split(b"\r\n") if line[:1] not in (b"", b" ", b"\t")]) == 1
    envelope = mail.envelope
    assert envelope.message.chunks == ()
    assert envelope.transaction.protocol == "LMTP"
    assert envelope.transaction.hello == "relay.example.org"
    assert envelope.transaction.body == body
    assert envelope.envelope.mail_from.address.raw == "ann@example.net"
    assert [recipient.address.raw for recipient in envelope.envelope.recipients] == ["bob@example.org"]


def test_postfix_relays_by_smtp_too(start_gateway, postfix):
    """One reply for all recipients."""
    gateway = start_gateway(TABLES)
    relay = postfix("smtp", gateway.addresses["smtp"])
    give(relay, MAIL, "bob@example.org", "eve@example.org")
    gateway.wait_for('"event": "mail"')
    mail = only(gateway.folder / "mail")
    assert own_trace(mail.content, MAIL)
    assert mail.envelope.transaction.protocol == "ESMTP"
    assert "SIZE" in mail.envelope.transaction.extensions
    assert len(mail.envelope.envelope.recipients) == 2


def test_postfix_logs_the_id_of_each_mail(start_gateway, postfix, listeners):
    gateway = start_gateway(TABLES, listeners=listeners)
    relay = postfix("lmtp", gateway.addresses["lmtp"])
    give(relay, MAIL)
    gateway.wait_for('"event": "mail"')
    sent = f"status=sent (250 2.0.0 {only(gateway.folder / 'mail').envelope.id} accepted)"
    until(lambda: sent in relay.log(), seconds=20)


def test_postfix_bounces_for_the_recipient_that_is_refused(start_gateway, postfix, listeners):
    """The other recipient has the mail; the bounce goes back the same way, from the null reverse-path."""
    gateway = start_gateway(TABLES, listeners=listeners)
    relay = postfix("lmtp", gateway.addresses["lmtp"])
    give(relay, MAIL, "bob@example.org", "nobody@example.com")
    gateway.wait_for('"event": "mail"', count=2)
    mail = only(gateway.folder / "mail")
    assert own_trace(mail.content, MAIL)
    assert [recipient.address.raw for recipient in mail.envelope.envelope.recipients] == ["bob@example.org"]
    bounce = only(gateway.folder / "bounces")
    assert bounce.envelope.envelope.mail_from.address.raw == ""
    assert b"Final-Recipient: rfc822; nobody@example.com" in bounce.content
    assert b"Status: 5.1.1" in bounce.content


def test_postfix_bounces_what_one_destination_refuses(start_gateway, postfix, listeners, consumer):
    """LMTP answers for each recipient after the content: one has the mail, for the other the consumer has the word."""
    consumer.status, consumer.text = 422, "there is no invoice in it"
    billing = tables.http(consumer.url) + tables.route("consumer", recipients="billing@example.org")
    gateway = start_gateway(billing + TABLES, listeners=listeners)
    relay = postfix("lmtp", gateway.addresses["lmtp"])
    give(relay, MAIL, "billing@example.org", "bob@example.org")
    gateway.wait_for('"event": "mail"', count=2)
    assert own_trace(only(gateway.folder / "mail").content, MAIL)
    bounce = only(gateway.folder / "bounces").content
    assert b"Final-Recipient: rfc822; billing@example.org" in bounce
    assert b"there is no invoice in it" in bounce
    assert b"bob@example.org" not in bounce.partition(b"Content-Type: message/rfc822")[0]


def test_postfix_keeps_a_mail_for_a_gateway_that_is_down(start_gateway, postfix, open_directory):
    """Nothing is lost by a crash: Postfix has the mail until it has read a 250."""
    gateway = start_gateway(TABLES, listeners=LISTENER.format(bind=f"unix:{open_directory}/lmtp.sock"))
    relay = postfix("lmtp", gateway.addresses["lmtp"])
    gateway.kill()
    give(relay, MAIL)
    assert stored(gateway.folder / "mail") == []
    gateway.start()
    relay.flush()
    gateway.wait_for('"event": "mail"')
    assert own_trace(only(gateway.folder / "mail").content, MAIL)
