"""Notifications reach the originator: through aiosmtpd, and through a real Postfix to another gateway."""

import asyncio
import email

import pytest

from gateway import notification
from gateway.address import NULL_REVERSE_PATH
from tests.notification.mails import HOSTNAME, NOW, TRACE, a_mail, undelivered
from tests.relay.servers import SECONDS, aiosmtpd, our_listener, relay_to

UTF8 = "Subject: Gr\u00fc\u00dfe\r\n\r\n.Gr\u00fc\u00dfe\r\n".encode()


def failed(mail):
    recipients = mail.envelope.envelope.recipients
    return notification.failed(mail, undelivered(recipients, text="no"), hostname=HOSTNAME, now=NOW)


@pytest.mark.parametrize(
    ("sender", "parameters", "content"),
    [
        ("ann@example.net", (), b"Subject: x\r\n\r\n.\r\n..\r\n"),
        ("ann@example.net", (), b"Subject: x\r\n\r\n\xe9\r\n"),
        ("ann@example.net", ("SMTPUTF8",), UTF8),
        ("\u03b1@b\u00fccher.example", ("SMTPUTF8",), UTF8),
    ],
    ids=["7-bit", "8-bit", "UTF-8 header", "UTF-8 originator"],
)
async def test_a_notification_comes_through_postfix(tmp_path, postfix, sender, parameters, content):
    found = failed(a_mail(content, sender=sender, parameters=parameters))
    async with our_listener(tmp_path) as (relay, taken):
        between = await asyncio.to_thread(postfix, "smtp", str(relay.server))
        await relay_to("127.0.0.1", between.port).emit(found)
        async with asyncio.timeout(SECONDS):
            await taken.entered.acquire()
        # The listener answers Postfix after the connector has it: let that end before looking.
        await asyncio.to_thread(between.stop)
    (arrived,) = taken.mails.values()
    assert arrived.envelope.envelope.mail_from.address == NULL_REVERSE_PATH
    assert [each.address.raw for each in arrived.envelope.envelope.recipients] == [sender]
    # Postfix puts its own trace before ours.
    octets = arrived.content.read()
    own = found.envelope.metadata.containers[0].data
    assert octets.endswith(own + found.content.read())
    assert TRACE in octets or b"base64" in octets


async def test_a_notification_comes_to_aiosmtpd():
    found = failed(a_mail())
    with aiosmtpd() as (mailbox, port):
        await relay_to("127.0.0.1", port).emit(found)
    ((sender, recipients, octets),) = mailbox.mails
    assert (sender or "<>", recipients) == ("<>", ["ann@example.net"])
    message = email.message_from_bytes(octets)
    assert message["Received"].startswith("by mx.example.org id ")
    assert message.get_content_type() == "multipart/report"
