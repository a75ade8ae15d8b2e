"""Real mail servers as the next hop: Postfix and Exim by SMTP, Dovecot by LMTP, smtp-sink and aiosmtpd.

None of them knows METADATA, so each gets the flattened form, and what it stores ends with it, octet for octet.
"""

import asyncio
import hashlib

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import PermanentFailure
from gateway.envelope import Content, Mail, Parameter, Recipient, read_metadata, with_own_trace
from gateway.envelope.flatten import relay_form
from gateway.smtp import LMTP, SMTP
from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected
from tests.relay.servers import aiosmtpd, listening

SECONDS = 20
POLL_SECONDS = 0.05

OWN = b"Received: from client by gw.example.net with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
HOP = b"Received: from mua by msa; Sat, 21 Nov 2026 09:59:59 +0000\r\n"
OLD_PATH = b"Return-Path: <old@example.net>\r\n"
HEAD = (
    b"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nFrom: ann@example.net\r\nTo: bob@example.org\r\n"
    b"Message-ID: <one@example.net>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
TEXT = HEAD + "Grüße\r\n.dot\r\n..two\r\n\r\nend\r\n".encode()
LARGE = HEAD + b"".join(b".%075d\r\n" % number for number in range(40_000))


def mail_to(*addresses, octets=TEXT, notify="", hop=HOP):
    parameters = (Parameter(keyword="NOTIFY", value=notify),) if notify else ()
    template = plain_mail().envelope
    envelope = structs.replace(
        template,
        transaction=structs.replace(template.transaction, body="8BITMIME"),
        envelope=structs.replace(
            template.envelope,
            mail_from=structs.replace(template.envelope.mail_from, parameters=()),
            recipients=tuple(
                Recipient(address=parse_path(each.encode(), utf8=False), parameters=parameters) for each in addresses
            ),
        ),
        metadata=read_metadata(with_own_trace(OWN, ((0, hop), (1, b"\\Flagged"))), trusted=True),
        message=structs.replace(
            template.message, size=len(octets), sha256=hashlib.sha256(octets).hexdigest(), headers=()
        ),
    )
    return Mail(envelope, Content(octets))


def relayed(mail):
    return relay_form(mail.envelope.metadata.containers, mail.content).read()


async def until(question):
    """Ask again and again: a server that delivers in processes of its own tells nobody."""
    async with asyncio.timeout(SECONDS):
        while not (found := question()):  # noqa: ASYNC110  # of a process there is no event
            await asyncio.sleep(POLL_SECONDS)
    return found


@pytest.mark.parametrize("octets", [TEXT, LARGE], ids=["small", "large"])
async def test_exim_stores_the_trace_and_the_content_as_they_are(exim, octets):
    server = exim()
    mail = mail_to("bob@example.org", octets=octets)
    async with connected(("127.0.0.1", server.port)) as connector:
        receipt = await connector.emit(mail)
        (stored,) = await until(server.mails)
    assert stored.replace(b"\n", b"\r\n").endswith(relayed(mail))
    assert receipt.location["metadata"] == "flattened"
    assert " OK id=" in receipt.location["reply"]
    assert receipt.notifying == (0,), "Exim offers DSN here"


async def test_exim_refuses_one_recipient_and_takes_the_other(exim):
    server = exim()
    async with connected(("127.0.0.1", server.port)) as connector:
        receipt = await connector.emit(mail_to("nobody@example.org", "bob@example.org"))
        assert [(each.position, str(each.failure.status)) for each in receipt.refused] == [(0, "5.1.1")]
        # The connection goes on.
        await connector.emit(mail_to("bob@example.org"))
        assert len(await until(lambda: server.mails()[1:])) == 1


async def test_exim_is_not_sent_what_is_above_its_limit(exim):
    server = exim(most_octets=100_000)
    async with connected(("127.0.0.1", server.port)) as connector:
        with pytest.raises(PermanentFailure) as raised:
            await connector.emit(mail_to("bob@example.org", octets=LARGE))
    assert str(raised.value.status) == "5.3.4"


async def test_postfix_passes_on_the_trace_and_the_content_as_they_are(postfix, tmp_path):
    async with listening(tmp_path, dialect=LMTP) as ((host, port), taken):
        server = postfix("lmtp", f"{host}:{port}")
        mail = mail_to("bob@example.org", "cat@example.org")
        async with connected(("127.0.0.1", server.port)) as connector:
            await connector.emit(mail)
            await connector.emit(mail)
            found = await until(lambda: list(taken.mails.values())[1:])
    assert found[0].content.read().endswith(relayed(mail))
    assert await until(lambda: " mail=2 " in server.log()), "one connection has carried both"


async def test_postfix_takes_over_to_notify(postfix, tmp_path):
    async with listening(tmp_path, dialect=SMTP) as ((host, port), taken):
        server = postfix("smtp", f"{host}:{port}")
        async with connected(("127.0.0.1", server.port)) as connector:
            receipt = await connector.emit(mail_to("bob@example.org", notify="SUCCESS"))
        (found,) = await until(lambda: list(taken.mails.values()))
    assert receipt.notifying == (0,)
    assert ("NOTIFY", "SUCCESS") in [
        (each.keyword, each.value) for each in found.envelope.envelope.recipients[0].parameters
    ]


@pytest.mark.parametrize("place", ["tcp", "unix"])
async def test_dovecot_stores_the_trace_with_one_return_path(dovecot, place):
    server = dovecot(["bob", "ann"])
    mail = mail_to("bob@example.org", "ann@example.org", hop=OLD_PATH + HOP, octets=OLD_PATH + TEXT)
    where = ("127.0.0.1", server.port) if place == "tcp" else f"unix:{server.socket}"
    async with connected(where, protocol="lmtp") as connector:
        await connector.emit(mail)
    for user in ("bob", "ann"):
        (stored,) = server.mails(user)
        octets = stored.replace(b"\n", b"\r\n")
        assert octets.startswith(b"Return-Path: <a@example.net>\r\n")
        assert octets.count(b"Return-Path:") == 1
        assert octets.endswith(OWN + HOP + TEXT)


async def test_dovecot_answers_for_each_recipient(dovecot):
    server = dovecot(["bob", "ann"], full=["full"])
    mail = mail_to("none@example.org", "bob@example.org", "full@example.org", "ann@example.org")
    async with connected(("127.0.0.1", server.port), protocol="lmtp") as connector:
        receipt = await connector.emit(mail)
        with pytest.raises(PermanentFailure):
            await connector.emit(mail_to("none@example.org"))
        await connector.emit(mail_to("bob@example.org"))
    assert [(each.position, each.failure.status.class_) for each in receipt.refused] == [(0, 5), (2, 5)]
    assert (len(server.mails("bob")), len(server.mails("ann")), len(server.mails("full"))) == (2, 1, 0)
    # What writes the log is a process of its own.
    await until(lambda: server.log().count("Connect from") > 1)
    assert server.log().count("Connect from") - 1 == 1, "one connection beside that which saw it start"


async def test_smtp_sink_takes_mail_after_mail(smtp_sink):
    host, _, port = smtp_sink.address.rpartition(":")
    async with connected((host, int(port))) as connector:
        for _ in range(3):
            await connector.emit(mail_to("bob@example.org"))
    assert len(await until(lambda: smtp_sink.mails()[2:])) == 1


async def test_aiosmtpd_gets_the_mail_as_it_is():
    mail = mail_to("bob@example.org")
    with aiosmtpd() as (mailbox, port):
        async with connected(("127.0.0.1", port)) as connector:
            await connector.emit(mail)
            await connector.emit(mail)
    assert [each[2] for each in mailbox.mails] == [relayed(mail)] * 2
