"""Who is notified, and what a notification says."""

import pytest
from msgspec import structs

from gateway import notification
from gateway.address import NULL_REVERSE_PATH
from gateway.codec import json_v1
from gateway.envelope import Client, Mail
from gateway.notification.report import _boundary
from gateway.notification.returned import Part
from gateway.status import Status
from tests.notification.mails import HOSTNAME, NOW, a_mail, path, seen, undelivered

REFUSED = Status(5, 7, 1)


def failed(mail, *, status=REFUSED, text="the destination refuses this mail", hostname=HOSTNAME):
    recipients = mail.envelope.envelope.recipients
    return notification.failed(mail, undelivered(recipients, status, text), hostname=hostname, now=NOW)


def relayed(mail):
    return notification.relayed(mail, mail.envelope.envelope.recipients, hostname=HOSTNAME, now=NOW)


def named(found):
    """The recipients that a notification is about."""
    return [group["Final-Recipient"] for group in seen(found).status[1:]]


# RFC 3461 §5.2.6 and §5.2.4.
@pytest.mark.parametrize(
    ("notify", "on_failure", "on_success"),
    [
        ((), True, False),
        (("NOTIFY=FAILURE",), True, False),
        (("NOTIFY=failure,delay",), True, False),
        (("NOTIFY=SUCCESS",), False, True),
        (("NOTIFY=Success,Failure",), True, True),
        (("NOTIFY=DELAY",), False, False),
        (("NOTIFY=NEVER",), False, False),
        (("notify=never",), False, False),
        (("ORCPT=rfc822;x",), True, False),
    ],
)
def test_notify_is_honoured(notify, on_failure, on_success):
    mail = a_mail(to=[("bob@example.org", *notify)])
    assert (failed(mail) is not None) == on_failure
    assert (relayed(mail) is not None) == on_success


def test_notify_is_honoured_for_each_recipient():
    mail = a_mail(
        to=[
            ("never@example.org", "NOTIFY=NEVER"),
            "failure@example.org",
            ("success@example.org", "NOTIFY=SUCCESS"),
            ("both@example.org", "NOTIFY=SUCCESS,FAILURE"),
        ]
    )
    assert named(failed(mail)) == ["rfc822; failure@example.org", "rfc822; both@example.org"]
    assert named(relayed(mail)) == ["rfc822; success@example.org", "rfc822; both@example.org"]


def test_only_the_recipients_that_are_given_are_named():
    mail = a_mail(to=["a@example.org", "b@example.org"])
    one = mail.envelope.envelope.recipients[1:]
    found = notification.failed(mail, undelivered(one), hostname=HOSTNAME, now=NOW)
    assert named(found) == ["rfc822; b@example.org"]
    assert notification.failed(mail, (), hostname=HOSTNAME, now=NOW) is None


def test_the_null_reverse_path_is_never_notified():
    mail = a_mail(sender="", to=[("bob@example.org", "NOTIFY=SUCCESS,FAILURE")])
    assert failed(mail) is None
    assert relayed(mail) is None


def test_there_is_no_notification_about_a_notification():
    assert failed(failed(a_mail())) is None


def test_the_envelope_is_that_of_a_notification():
    mail = a_mail(parameters=("RET=FULL", "ENVID=x", "SIZE=10", "AUTH=<>"))
    envelope = failed(mail).envelope
    assert envelope.id != mail.envelope.id
    assert envelope.envelope.mail_from.address == NULL_REVERSE_PATH
    assert [(each.keyword, each.value) for each in envelope.envelope.mail_from.parameters] == [("BODY", "7BIT")]
    (recipient,) = envelope.envelope.recipients
    assert (recipient.address, recipient.parameters) == (mail.envelope.envelope.mail_from.address, ())
    assert envelope.received_at == "2026-11-21T23:00:00.000000Z"
    assert envelope.transaction.client == Client(address="")
    (own,) = envelope.metadata.containers
    assert own.data.startswith(b"Received: by mx.example.org id " + envelope.id.encode())


def test_the_envelope_can_be_stored_and_read_again():
    envelope = failed(a_mail(sender="ann@b\u00fccher.example")).envelope
    assert json_v1.decode(json_v1.encode(envelope)) == envelope


def test_the_header_is_that_of_a_notification():
    found = failed(a_mail())
    message = seen(found).message
    assert message.items() == [
        ("From", "Mail Delivery System <MAILER-DAEMON@mx.example.org>"),
        ("To", "<ann@example.net>"),
        ("Subject", "Your mail could not be delivered"),
        ("Date", "Sat, 21 Nov 2026 23:00:00 +0000"),
        ("Message-ID", f"<{found.envelope.id}@mx.example.org>"),
        ("Auto-Submitted", "auto-replied"),
        ("MIME-Version", "1.0"),
        (
            "Content-Type",
            f'multipart/report; report-type=delivery-status;\r\n\tboundary="=_{found.envelope.id}"',
        ),
        ("Content-Transfer-Encoding", "7bit"),
    ]
    assert [header.name for header in found.envelope.message.headers] == message.keys()


def test_a_failure_is_told_to_machines():
    mail = a_mail(
        parameters=("ENVID=QQ314159+2B+3D",),
        to=[("bob@example.org", "ORCPT=rfc822;Bob+20Smith@example.com"), "carl@example.org"],
    )
    first, bob, carl = seen(failed(mail)).status
    assert first.items() == [
        ("Original-Envelope-Id", "QQ314159+="),
        ("Reporting-MTA", "dns; mx.example.org"),
        ("Arrival-Date", "Sat, 21 Nov 2026 10:00:00 +0000"),
    ]
    outcome = [
        ("Action", "failed"),
        ("Status", "5.7.1"),
        ("Diagnostic-Code", "x-mailsluice; the destination refuses this mail"),
        ("Final-Log-ID", mail.envelope.id),
    ]
    assert bob.items() == [
        ("Original-Recipient", "rfc822;Bob Smith@example.com"),
        ("Final-Recipient", "rfc822; bob@example.org"),
        *outcome,
    ]
    assert carl.items() == [("Final-Recipient", "rfc822; carl@example.org"), *outcome]


def test_the_example_of_the_standard():
    """RFC 3461 §10.1: Alice's mail, each recipient with other wishes."""
    mail = a_mail(
        sender="Alice@Example.ORG",
        parameters=("RET=HDRS", "ENVID=QQ314159"),
        to=[
            ("Bob@Example.COM", "NOTIFY=SUCCESS", "ORCPT=rfc822;Bob@Example.COM"),
            ("Carol@Ivory.EDU", "NOTIFY=FAILURE", "ORCPT=rfc822;Carol@Ivory.EDU"),
            ("Dana@Ivory.EDU", "NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Dana@Ivory.EDU"),
            ("Eric@Bombs.AF.MIL", "NOTIFY=FAILURE", "ORCPT=rfc822;Eric@Bombs.AF.MIL"),
            ("Fred@Bombs.AF.MIL", "NOTIFY=NEVER"),
            ("George@Tax-ME.GOV", "NOTIFY=FAILURE", "ORCPT=rfc822;George@Tax-ME.GOV"),
        ],
    )
    for found, names in ((failed(mail), ("Carol", "Dana", "Eric", "George")), (relayed(mail), ("Bob", "Dana"))):
        first, *groups = seen(found).status
        assert first["Original-Envelope-Id"] == "QQ314159"
        assert seen(found).message["To"] == "<Alice@Example.ORG>"
        assert seen(found).returned.get_content_type() == "text/rfc822-headers"
        originals = [group["Original-Recipient"] for group in groups]
        assert [each.removeprefix("rfc822;").partition("@")[0] for each in originals] == list(names)


def test_what_has_left_is_told_to_machines():
    mail = a_mail(to=[("bob@example.org", "NOTIFY=SUCCESS")])
    _, bob = seen(relayed(mail)).status
    assert bob.items() == [
        ("Final-Recipient", "rfc822; bob@example.org"),
        ("Action", "relayed"),
        ("Status", "2.0.0"),
        ("Final-Log-ID", mail.envelope.id),
    ]


def test_a_failure_is_told_to_people():
    mail = a_mail()
    assert seen(failed(mail)).text == (
        "This is the mail gateway mx.example.org.\r\n\r\n"
        "Your mail could not be delivered to the recipients below. It is not tried again.\r\n"
        "The reason: the destination refuses this mail (5.7.1).\r\n\r\n"
        "If you can mend that, send your mail again. If not, forward this notice to\r\n"
        f"postmaster@mx.example.org, with the number {mail.envelope.id}.\r\n\r\n"
        "  <bob@example.org>\r\n"
    )


def test_each_recipient_has_its_own_reason():
    mail = a_mail(to=["bob@example.org", "carl@example.org"])
    bob, carl = mail.envelope.envelope.recipients
    said = (*undelivered([bob], Status(5, 1, 1), "no such user"), *undelivered([carl], Status(5, 2, 2), "full"))
    found = seen(notification.failed(mail, said, hostname=HOSTNAME, now=NOW))
    assert [(group["Status"], group["Diagnostic-Code"]) for group in found.status[1:]] == [
        ("5.1.1", "x-mailsluice; no such user"),
        ("5.2.2", "x-mailsluice; full"),
    ]
    assert "It is not tried again.\r\nThe reason stands below each.\r\n" in found.text
    assert found.text.endswith(
        "\r\n\r\n  <bob@example.org>\r\n    no such user (5.1.1)\r\n  <carl@example.org>\r\n    full (5.2.2)\r\n"
    )


def test_the_end_of_retries_is_a_failure_with_a_transient_status():
    found = seen(failed(a_mail(), status=Status(4, 4, 1), text="the destination cannot be reached"))
    assert (found.status[1]["Action"], found.status[1]["Status"]) == ("failed", "4.4.1")
    assert "It was tried again and again, and is given up now." in found.text


def test_a_gateway_without_a_domain_does_not_claim_one():
    first, *_ = seen(failed(a_mail(), hostname="gw")).status
    assert first["Reporting-MTA"] == "x-local-hostname; gw"


def test_a_source_route_is_not_sent_again():
    mail = a_mail(sender='@a.example,@b.example:"x y"@example.net')
    found = failed(mail)
    (recipient,) = found.envelope.envelope.recipients
    assert recipient.address == path('"x y"@example.net')
    assert seen(found).message["To"] == '<"x y"@example.net>'


def test_a_postmaster_without_a_domain_is_the_gateways_own():
    found = failed(a_mail(sender="Postmaster"))
    assert found.envelope.envelope.recipients[0].address == path("Postmaster")
    assert seen(found).message["To"] == "<Postmaster@mx.example.org>"


# RFC 6533: 7-bit forms in what machines read, UTF-8 where the way back takes it.


def test_a_utf8_recipient_has_the_7_bit_form_of_its_address():
    mail = a_mail(to=[('"a+ =\\\\"@b\u00fccher.example', "ORCPT=utf-8;\u03b1\\x{2B}@b.example")])
    found = failed(mail)
    _, group = seen(found).status
    # "\x{XX}" for what is no QCHAR, RFC 6533 §3.
    assert group["Final-Recipient"] == r'utf-8; "a\x{2B}\x{20}\x{3D}\x{5C}\x{5C}"@b\x{FC}cher.example'
    assert group["Original-Recipient"] == r"utf-8;\x{3B1}\x{2B}@b.example"
    assert found.content.read().isascii()
    assert '<"a+ =\\\\"@b\u00fccher.example>' in seen(found).text


def test_a_utf8_originator_is_reached_by_smtputf8():
    found = failed(a_mail(sender="\u03b1@b\u00fccher.example"))
    parameters = [(each.keyword, each.value) for each in found.envelope.envelope.mail_from.parameters]
    assert parameters == [("BODY", "8BITMIME"), ("SMTPUTF8", "")]
    assert found.envelope.transaction.body == "8BITMIME"
    assert "To: <\u03b1@b\u00fccher.example>\r\n".encode() in found.content.read()


def test_the_boundary_occurs_nowhere_else():
    parts = [Part("text/plain", "7bit", b"--=_ID\r\n--=_ID__\r\n"), Part("text/plain", "7bit", b"--=_ID_x")]
    assert _boundary("ID", parts) == b"=_ID___"


def test_the_mail_itself_stays_as_it_was():
    mail = a_mail()
    before = structs.asdict(mail.envelope), mail.content.read()
    failed(mail)
    assert isinstance(mail, Mail)
    assert (structs.asdict(mail.envelope), mail.content.read()) == before
