"""What notifications about one mail come to together."""

import hashlib

from msgspec import structs

from gateway.address import Address
from gateway.delivery import Notices
from gateway.envelope import Content, Mail, Parameter, Recipient
from gateway.spool import Entry
from gateway.testing import plain_mail


def test_a_thousand_recipients_who_ask_for_notice_return_no_more_than_a_few_would():
    octets = b"".join(b"X-%03d: %b\r\n" % (number, b"x" * 90) for number in range(900)) + b"\r\n"
    mail = plain_mail()
    recipients = tuple(
        Recipient(
            address=Address(raw=f"{number}@example.org", local_part=str(number), domain="example.org"),
            parameters=(Parameter(keyword="NOTIFY", value="SUCCESS"),),
        )
        for number in range(1000)
    )
    envelope = structs.replace(
        mail.envelope,
        envelope=structs.replace(mail.envelope.envelope, recipients=recipients),
        message=structs.replace(mail.envelope.message, size=len(octets), sha256=hashlib.sha256(octets).hexdigest()),
    )
    places = tuple(range(len(recipients)))
    entry = Entry(message=1, connector="one", mail=Mail(envelope, Content(octets)), recipients=places, attempts=1)
    found = Notices(hostname="mx.example.org", via=lambda _: "back").relayed(entry)
    assert [each.recipient for each in found] == list(places)
    assert sum(each.message.mail.content.size for each in found) < 4 * 1024 * 1024
    first = found[0].message.mail.content.read()
    assert b"X-001: " in first
    assert b"X-020: " not in first
