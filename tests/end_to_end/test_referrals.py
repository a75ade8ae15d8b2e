"""A gateway that refers recipients, and one that follows: the mail arrives once, where it belongs."""

import json

import pytest

from tests.end_to_end import tables
from tests.end_to_end.gateway import ID
from tests.end_to_end.wire import Wire

BODY = b"From: ann@example.net\r\nSubject: an invoice\r\n\r\nthe body of it\r\n.dot\r\n"
FLAGGED = b"\0\1\\Flagged"
REFERRING = """
[gateway]
hostname = "proxy.example.org"

[[listener]]
name = "smtp"
protocol = "smtp"
bind = "127.0.0.1:0"
reply_metadata = { referral = ["127.0.0.0/8"] }
"""


def referring(recipients: str, url: str) -> str:
    return f'\n[[route]]\nrecipients = ["{recipients}"]\nrefer = "{url}"\n'


def archived(gateway) -> list[tuple[bytes, bytes, dict]]:
    """Content, containers and envelope of each mail in the archive."""
    return [
        (each.read_bytes(), each.with_suffix(".bmtd").read_bytes(), json.loads(each.with_suffix(".json").read_bytes()))
        for each in (gateway.folder / "mail").rglob("*.eml")
    ]


def recipients(envelope: dict) -> list[tuple[str, dict]]:
    return [
        (each["address"]["raw"], {one["keyword"]: one["value"] for one in each.get("parameters", ())})
        for each in envelope["envelope"]["recipients"]
    ]


@pytest.fixture
def chain(start_gateway):
    """Who follows, who refers `far@example.org`, and the one to whom."""
    backend = start_gateway(tables.directory() + tables.route("archive"))
    proxy = start_gateway(
        referring("far@example.org", f"lmtp://{backend.addresses['lmtp']}/")
        + tables.directory()
        + tables.route("archive"),
        listeners=REFERRING,
    )
    follower = start_gateway(
        tables.smtp(proxy.addresses["smtp"], 'follow_referrals = ["127.0.0.0/8"]') + tables.route("next")
    )
    return follower, proxy, backend


def test_a_referred_mail_arrives_once_with_its_envelope_and_its_containers(chain):
    follower, proxy, backend = chain
    with Wire(follower.addresses["smtp"]) as client:
        client.greet()
        assert client.ask("MAIL FROM:<ann@example.net> RET=HDRS ENVID=one").startswith("250")
        for name in ("near", "far"):
            assert client.ask(f"RCPT TO:<{name}@example.org> NOTIFY=NEVER").startswith("250")
        client.send(b"BMTD 10\r\n" + FLAGGED)
        assert client.read().startswith("250")
        client.send(b"BDAT %d LAST\r\n" % len(BODY) + BODY)
        reply = client.read()
    assert reply.startswith("250")
    (id_,) = ID.findall(reply)
    ((here, here_with, near),) = archived(proxy)
    ((there, there_with, far),) = archived(backend)
    assert here == there == BODY
    assert recipients(near) == [("near@example.org", {"NOTIFY": "NEVER"})]
    assert recipients(far) == [("far@example.org", {"NOTIFY": "NEVER"})]
    assert far["envelope"]["mail_from"]["address"]["raw"] == "ann@example.net"
    for containers in (here_with, there_with):
        assert containers.count(b"BMTD ") == 3
        assert id_.encode() in containers
        assert FLAGGED in containers


def test_a_client_that_asks_for_nothing_is_put_off(chain):
    _, proxy, backend = chain
    with Wire(proxy.addresses["smtp"]) as client:
        client.greet()
        assert client.ask("MAIL FROM:<ann@example.net>").startswith("250")
        assert client.ask("RCPT TO:<far@example.org>").startswith("451 4.3.0")
    assert archived(backend) == []


def test_a_gateway_that_follows_nowhere_tells_its_client_to_come_again(start_gateway, chain):
    _, proxy, backend = chain
    unaware = start_gateway(tables.smtp(proxy.addresses["smtp"]) + tables.route("next"))
    with Wire(unaware.addresses["smtp"]) as client:
        client.greet()
        assert client.ask("MAIL FROM:<ann@example.net>").startswith("250")
        assert client.ask("RCPT TO:<far@example.org>").startswith("250")
        assert client.data(BODY).startswith("451 4.3.0")
    assert archived(backend) == []
