"""The gateway as a relay: by SMTP and LMTP to real servers, at once and from the spool, as a configuration says it."""

import time

import pytest

from tests.end_to_end import tables
from tests.end_to_end.spools import DELIVERED, drained, wait_until_listed
from tests.end_to_end.wire import Wire
from tests.servers.ports import LOOPBACK

BODY = b"From: ann@example.net\r\nSubject: an invoice\r\n\r\nthe body of it\r\n.dot\r\n"
SECONDS = 20


def send(address, *recipients, greeting="EHLO", rcpt=""):
    """The final replies to a mail for these recipients."""
    with Wire(address) as client:
        client.greet(greeting)
        assert client.ask("MAIL FROM:<ann@example.net>").startswith("250")
        for each in recipients:
            assert client.ask(f"RCPT TO:<{each}>{rcpt}").startswith("250")
        replies = [client.data(BODY)]
        return replies + [client.read() for _ in recipients[1:] if greeting == "LHLO"]


def until(question):
    deadline = time.monotonic() + SECONDS
    while not (found := question()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_a_client_is_told_what_the_mail_store_says_of_each_recipient(start_gateway, dovecot):
    store = dovecot(["bob", "ann"], full=["full"])
    gateway = start_gateway(
        tables.smtp(f"{LOOPBACK}:{store.port}", 'protocol = "lmtp"') + tables.route("next", recipients="*@example.org")
    )
    replies = send(
        gateway.addresses["lmtp"], "bob@example.org", "none@example.org", "full@example.org", greeting="LHLO"
    )
    assert [reply[:9] for reply in replies] == ["250 2.0.0", "550 5.1.1", "552 5.2.2"]
    (stored,) = store.mails("bob")
    assert stored.startswith(b"Return-Path: <ann@example.net>\n")
    assert stored.replace(b"\n", b"\r\n").endswith(BODY)


def test_from_the_spool_a_refused_recipient_becomes_a_dead_letter_alone(start_gateway, dovecot, smtp_sink):
    store = dovecot(["bob", "ann"])
    gateway = start_gateway(
        tables.smtp(f"{LOOPBACK}:{store.port}", 'protocol = "lmtp"')
        + tables.spooled("next", bounce_via=smtp_sink.address)
    )
    (reply,) = send(gateway.addresses["smtp"], "bob@example.org", "none@example.org", "ann@example.org")
    assert reply.startswith("250")
    wait_until_listed(gateway, "dead")
    drained(gateway)
    assert (len(store.mails("bob")), len(store.mails("ann"))) == (1, 1)
    (bounce,) = until(smtp_sink.mails)
    assert "none@example.org" in bounce.as_string()
    assert "bob@example.org" not in bounce.get_payload()[0].as_string()


@pytest.mark.parametrize("hop", ["with DSN", "without"])
def test_an_originator_is_told_of_the_relaying_where_the_next_hop_will_not(start_gateway, dovecot, smtp_sink, hop):
    if hop == "with DSN":
        next_hop = tables.smtp(smtp_sink.address)
    else:
        next_hop = tables.smtp(f"{LOOPBACK}:{dovecot(['bob']).port}", 'protocol = "lmtp"')
    gateway = start_gateway(next_hop + tables.spooled("next", bounce_via=smtp_sink.address))
    send(gateway.addresses["smtp"], "bob@example.org", rcpt=" NOTIFY=SUCCESS")
    gateway.wait_for(DELIVERED)
    drained(gateway)
    (found,) = until(smtp_sink.mails)
    if hop == "with DSN":
        assert "NOTIFY=SUCCESS" in found["X-Rcpt-Args"]
    else:
        assert found["X-Rcpt-Args"].startswith("<ann@example.net>")
        assert "Action: relayed" in found.as_string()
