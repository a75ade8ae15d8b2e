"""Notifications about spooled mail: what the originator is told, through a real SMTP server."""

import pytest

from tests.end_to_end import tables
from tests.end_to_end.mails import MAIL
from tests.end_to_end.spools import DELIVERED, drained, id_in, wait_until_listed
from tests.end_to_end.wire import Wire

BODY = b"From: ann@example.net\r\nSubject: an invoice\r\n\r\nthe body of it\r\n"
DEAD = "alarm: dead letter"


@pytest.fixture
def gateway(start_gateway, consumer, smtp_sink):
    """Its consumer refuses every mail."""
    consumer.status, consumer.text = 422, "no purchase order in it"
    return start_gateway(tables.http(consumer.url) + tables.spooled("consumer", bounce_via=smtp_sink.address))


def send(gateway, *, sender="ann@example.net", mail="", rcpt="", content=BODY):
    """The id of a mail with these parameters."""
    with Wire(gateway.addresses["smtp"]) as client:
        client.greet()
        assert client.ask(f"MAIL FROM:<{sender}>{mail}").startswith("250")
        assert client.ask(f"RCPT TO:<bob@example.org>{rcpt}").startswith("250")
        return id_in(client.data(content))


def parts(notification):
    """The text, the fields about the mail and about its recipient, and what is returned of it."""
    assert notification.get_content_type() == "multipart/report"
    assert notification.get_param("report-type") == "delivery-status"
    text, status, returned = notification.iter_parts()
    about_mail, about_recipient = status.get_payload()
    return text.get_content(), about_mail, about_recipient, returned


def test_the_originator_of_a_refused_mail_is_told_why(gateway, smtp_sink):
    parameters = {"mail": " RET=FULL ENVID=order-7+2B", "rcpt": " NOTIFY=FAILURE,DELAY ORCPT=rfc822;robert@example.com"}
    id_ = send(gateway, **parameters)
    gateway.wait_for(DELIVERED)
    spool = drained(gateway)
    (notification,) = smtp_sink.mails()
    # RFC 3461 §6.1: nobody is to be told of what becomes of it, and it has no RET.
    assert notification["X-Mail-Args"].split()[0] == "<>"
    assert "RET=" not in notification["X-Mail-Args"]
    assert notification["X-Rcpt-Args"].split()[0] == "<ann@example.net>"
    assert "ann@example.net" in notification["To"]
    assert notification["Auto-Submitted"].startswith("auto-replied")
    text, about_mail, about_recipient, returned = parts(notification)
    assert "no purchase order in it" in text
    assert id_ in text
    assert about_mail["Original-Envelope-Id"] == "order-7+"
    assert about_recipient["Original-Recipient"] == "rfc822;robert@example.com"
    assert about_recipient["Final-Recipient"] == "rfc822; bob@example.org"
    assert (about_recipient["Action"], about_recipient["Status"]) == ("failed", "5.7.1")
    # The mail as it came, below the trace that it has got here.
    (whole,) = returned.iter_parts() if returned.get_content_type() == "message/rfc822" else ()
    assert whole["Subject"] == "an invoice"
    assert "the body of it" in whole.get_content()
    assert "Received" in whole
    assert spool.dead() == {(id_, "consumer")}


def test_ret_hdrs_returns_no_body(gateway, smtp_sink):
    send(gateway, mail=" RET=HDRS")
    gateway.wait_for(DELIVERED)
    (notification,) = smtp_sink.mails()
    *_, returned = parts(notification)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Subject: an invoice" in returned.as_string()
    assert "the body of it" not in notification.as_string()


def test_nobody_is_told_who_does_not_want_it_or_is_nobody(gateway, smtp_sink):
    quiet = {
        send(gateway, rcpt=" NOTIFY=NEVER"),
        send(gateway, rcpt=" NOTIFY=SUCCESS"),
        send(gateway, sender=""),
    }
    loud = send(gateway)
    gateway.wait_for(DEAD, count=4)
    spool = drained(gateway)
    assert spool.dead() == {(id_, "consumer") for id_ in (*quiet, loud)}
    (notification,) = smtp_sink.mails()
    assert loud in parts(notification)[0]
    told = {record["id"]: record["notifications"] for record in gateway.records("alarm: dead letter")}
    (sent,) = told.pop(loud)
    assert told == {id_: [] for id_ in quiet}
    assert notification["Message-ID"].startswith(f"<{sent}@")


def test_who_asks_is_told_that_all_destinations_have_it(start_gateway, consumer, smtp_sink):
    both = tables.http(consumer.url) + tables.directory()
    gateway = start_gateway(both + tables.spooled("consumer", "archive", bounce_via=smtp_sink.address))
    send(gateway)
    gateway.wait_for(DELIVERED, count=2)
    drained(gateway)
    id_ = send(gateway, mail=" ENVID=seven", rcpt=" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert@example.com")
    gateway.wait_for(DELIVERED, count=5)
    drained(gateway)
    (notification,) = smtp_sink.mails()
    text, about_mail, about_recipient, returned = parts(notification)
    assert about_mail["Original-Envelope-Id"] == "seven"
    assert about_recipient["Original-Recipient"] == "rfc822;robert@example.com"
    assert (about_recipient["Action"], about_recipient["Status"][0]) == ("relayed", "2")
    # RFC 3461 §4.3: RET is about failures.
    assert returned.get_content_type() == "text/rfc822-headers"
    assert id_ in text or id_ in notification.as_string()


def test_a_notification_survives_the_death_of_the_gateway(gateway, smtp_sink):
    """The server that takes it hangs; the gateway is killed; the server goes on."""
    smtp_sink.pause()
    id_ = send(gateway, content=MAIL.replace(b"\x00\xff", b""))
    wait_until_listed(gateway, f"bounce:{smtp_sink.address}")
    gateway.kill()
    smtp_sink.resume()
    gateway.start()
    gateway.wait_for(DELIVERED)
    drained(gateway)
    (notification,) = smtp_sink.mails()
    assert id_ in parts(notification)[0]
    # What was refused once is not refused again.
    assert gateway.stop() == 0
    assert not gateway.records("alarm: dead letter")
