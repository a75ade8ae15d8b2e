"""Mails that notifications are about, and a look at a notification through the standard library's parser."""

import email
import email.policy
import hashlib
from dataclasses import dataclass

from gateway.address import parse_path
from gateway.envelope import (
    Client,
    Content,
    Envelope,
    Mail,
    Message,
    Parameter,
    Recipient,
    Sender,
    Transaction,
    TransactionEnvelope,
    new_id,
    read_headers,
    read_metadata,
    with_own_trace,
)
from gateway.notification import Undelivered
from gateway.status import Status

HOSTNAME = "mx.example.org"
TRACE = (
    b"Received: from c.example.net ([192.0.2.1])\r\n\tby mx.example.org with ESMTP id 01KAJZ5M8QC000000000000001;\r\n"
    b"\tSat, 21 Nov 2026 10:00:00 +0000\r\n"
)
TEXT = b"From: ann@example.net\r\nSubject: hello\r\n\r\n.first\r\nlast\r\n"
# 2026-11-21 23:00:00 UTC
NOW = 1_795_302_000 * 10**9


def a_mail(
    content=TEXT, *, sender="ann@example.net", parameters=(), to=("bob@example.org",), containers=(), trace=TRACE
):
    """`to` are addresses, or pairs of an address and the parameters of its RCPT."""
    headers, complete = read_headers(content)
    envelope = Envelope(
        id=new_id(),
        received_at="2026-11-21T10:00:00.000000Z",
        gateway=HOSTNAME,
        transaction=Transaction(protocol="ESMTP", listener="mx", session="1", client=Client(address="192.0.2.1")),
        envelope=TransactionEnvelope(
            mail_from=Sender(address=path(sender), parameters=read_parameters(parameters)),
            recipients=tuple(recipient(each) if isinstance(each, str) else recipient(*each) for each in to),
        ),
        metadata=read_metadata(with_own_trace(trace, containers), trusted=True),
        message=Message(
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            headers=headers,
            headers_complete=complete,
        ),
    )
    return Mail(envelope, Content(content))


def undelivered(recipients, status=Status(5, 7, 1), text="no"):  # noqa: B008  # a value
    """That none of the recipients gets the mail."""
    return tuple(Undelivered(recipient=each, status=status, text=text) for each in recipients)


def path(text):
    return parse_path(text.encode(), utf8=True)


def recipient(address, *parameters):
    return Recipient(address=path(address), parameters=read_parameters(parameters))


def read_parameters(words):
    pairs = (word.partition("=") for word in words)
    return tuple(Parameter(keyword=keyword, value=value) for keyword, _, value in pairs)


@dataclass
class Seen:
    """A notification as a mail program sees it."""

    octets: bytes
    message: email.message.Message

    @property
    def text(self):
        part = self.message.get_payload(0)
        return part.get_payload(decode=True).decode(part.get_content_charset())

    @property
    def status(self):
        """The groups of fields, the first that of the message."""
        return self.message.get_payload(1).get_payload()

    @property
    def returned(self):
        return self.message.get_payload(2)

    @property
    def returned_octets(self):
        """The octets of the last part, cut out by hand: the parser has its own idea of octets."""
        boundary = b"\r\n--" + self.message.get_boundary().encode()
        *_, last, _end = self.octets.split(boundary)
        return last.partition(b"\r\n\r\n")[2]


def seen(mail):
    """Parse it; nothing may be wrong with it."""
    octets = mail.content.read()
    assert (mail.envelope.message.size, mail.envelope.message.sha256) == (
        len(octets),
        hashlib.sha256(octets).hexdigest(),
    )
    # compat32 keeps every field as it stands, however odd it is.
    message = email.message_from_bytes(octets, policy=email.policy.compat32)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert not message.defects
    assert len(message.get_payload()) == 3
    for part in message.get_payload()[:2]:
        assert not part.defects
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    assert b"\0" not in octets
    return Seen(octets, message)
