"""What of a mail comes back, and that it comes back as it was."""

import base64

import pytest

from gateway import notification
from gateway.envelope import Content, Mail
from gateway.envelope.flatten import relay_form
from gateway.notification.returned import is_lines
from tests.notification.mails import HOSTNAME, NOW, TEXT, TRACE, a_mail, seen, undelivered

MIB = 1024 * 1024
UTF8 = "Subject: Gr\u00fc\u00dfe\r\n\r\nGr\u00fc\u00dfe\r\n".encode()
LATIN1 = b"Subject: caf\xe9\r\n\r\ntext\r\n"
EIGHT_BIT = b"Subject: hello\r\n\r\ncaf\xe9\r\n"


def failed(mail):
    recipients = mail.envelope.envelope.recipients
    return notification.failed(mail, undelivered(recipients, text="no"), hostname=HOSTNAME, now=NOW)


def relayed(mail):
    return notification.relayed(mail, mail.envelope.envelope.recipients, hostname=HOSTNAME, now=NOW)


def flattened(mail):
    return relay_form(mail.envelope.metadata.containers, mail.content).read()


def kind(found):
    part = seen(found).returned
    return part.get_content_type(), part["Content-Transfer-Encoding"]


@pytest.mark.parametrize("ret", [(), ("RET=FULL",), ("ret=full",)])
def test_a_failure_returns_the_mail(ret):
    containers = (
        (0, b"Received: by msa.example.net; Sat, 21 Nov 2026 09:59:59 +0000"),
        (1, b"\\Flagged"),
        (9, b"\0\xff"),
    )
    mail = a_mail(parameters=ret, containers=containers)
    found = failed(mail)
    assert kind(found) == ("message/rfc822", "7bit")
    assert seen(found).returned_octets == flattened(mail) == TRACE + containers[0][1] + b"\r\n" + TEXT


def test_ret_hdrs_returns_the_header_section():
    found = failed(a_mail(parameters=("RET=HDRS",)))
    assert kind(found) == ("text/rfc822-headers", "7bit")
    assert seen(found).returned_octets == TRACE + b"From: ann@example.net\r\nSubject: hello\r\n"


@pytest.mark.parametrize("ret", [(), ("RET=FULL",), ("RET=HDRS",)])
def test_a_success_returns_the_header_section(ret):
    """RFC 3461 §4.3: RET is about failures."""
    found = relayed(a_mail(parameters=ret, to=[("bob@example.org", "NOTIFY=SUCCESS")]))
    assert kind(found) == ("text/rfc822-headers", "7bit")
    assert seen(found).returned_octets == TRACE + b"From: ann@example.net\r\nSubject: hello\r\n"


def test_up_to_1_mib_comes_back():
    line = b"x" * 62 + b"\r\n"
    room = MIB - len(TRACE) - len(TEXT)
    whole = TEXT + line * (room // 64) + b"y" * (room % 64)
    assert kind(failed(a_mail(whole)))[0] == "message/rfc822"
    assert kind(failed(a_mail(whole + b"y")))[0] == "text/rfc822-headers"


def test_content_above_1_mib_is_not_read_beyond_its_header():
    class Counted(Content):
        read_octets = 0

        def read_at(self, position, size):
            block = super().read_at(position, size)
            type(self).read_octets += len(block)
            return block

    mail = a_mail()
    assert failed(Mail(mail.envelope, Counted(TEXT + b"x\r\n" * MIB)))
    assert Counted.read_octets < 200_000


@pytest.mark.parametrize(
    "content",
    [b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"a\r", b"a\n", b"a" * 999 + b"\r\n"],
    ids=["LF", "CR", "NUL", "CR at the end", "LF at the end", "long line"],
)
def test_what_is_not_lines_comes_back_as_headers_only(content):
    found = failed(a_mail(b"Subject: x\r\n\r\n" + content))
    assert kind(found) == ("text/rfc822-headers", "7bit")
    assert seen(found).returned_octets == TRACE + b"Subject: x\r\n"


def test_content_that_ends_within_a_line_comes_back_so():
    mail = a_mail(TEXT + b"no line end")
    assert seen(failed(mail)).returned_octets == flattened(mail)


def test_content_without_a_body_or_a_header_section_comes_back():
    for content in (b"", b"Subject: x\r\n", b"\r\nbody\r\n"):
        mail = a_mail(content)
        assert seen(failed(mail)).returned_octets == flattened(mail)


def test_lines_that_are_no_fields_are_no_headers():
    mail = a_mail(b"Subject: x\r\nthis is no field\r\n\0\r\nTo: y\r\n", parameters=("RET=HDRS",))
    assert seen(failed(mail)).returned_octets == TRACE + b"Subject: x\r\nTo: y\r\n"


# 8-bit content (RFC 6152, RFC 6533).


def test_8_bit_content_is_declared():
    found = failed(a_mail(EIGHT_BIT))
    assert kind(found) == ("message/rfc822", "8bit")
    assert seen(found).message["Content-Transfer-Encoding"] == "8bit"
    assert [(each.keyword, each.value) for each in found.envelope.envelope.mail_from.parameters] == [
        ("BODY", "8BITMIME")
    ]
    assert found.envelope.transaction.body == "8BITMIME"
    assert seen(found).returned_octets.endswith(EIGHT_BIT)


def test_header_octets_that_are_no_utf8_come_back():
    mail = a_mail(LATIN1)
    assert kind(failed(mail)) == ("message/rfc822", "8bit")
    assert seen(failed(mail)).returned_octets == flattened(mail)
    mail = a_mail(LATIN1, parameters=("RET=HDRS",))
    assert kind(failed(mail)) == ("text/rfc822-headers", "base64")
    assert base64.b64decode(seen(failed(mail)).returned_octets) == TRACE + b"Subject: caf\xe9\r\n"


@pytest.mark.parametrize(
    ("ret", "media_type"), [("RET=FULL", "message/global"), ("RET=HDRS", "message/global-headers")]
)
def test_utf8_header_fields_are_encoded_where_the_way_back_may_not_take_them(ret, media_type):
    mail = a_mail(UTF8, parameters=("SMTPUTF8", ret))
    found = failed(mail)
    assert kind(found) == (media_type, "base64")
    assert found.content.read().isascii()
    whole = flattened(mail)
    assert base64.b64decode(seen(found).returned_octets) == (
        whole if ret == "RET=FULL" else whole.split(b"\r\n\r\n")[0] + b"\r\n"
    )


@pytest.mark.parametrize(
    ("ret", "media_type"), [("RET=FULL", "message/global"), ("RET=HDRS", "message/global-headers")]
)
def test_utf8_header_fields_stay_where_the_way_back_takes_them(ret, media_type):
    mail = a_mail(UTF8, sender="\u03b1@b\u00fccher.example", parameters=("SMTPUTF8", ret))
    found = failed(mail)
    assert kind(found) == (media_type, "8bit")
    assert "Subject: Gr\u00fc\u00dfe\r\n".encode() in seen(found).returned_octets


def test_an_smtputf8_mail_of_ascii_comes_back_as_any_other():
    assert kind(failed(a_mail(parameters=("SMTPUTF8",)))) == ("message/rfc822", "7bit")


def test_a_long_header_line_is_encoded():
    found = failed(a_mail(b"Subject: " + b"x" * 2000 + b"\r\n\r\n", parameters=("RET=HDRS",)))
    assert kind(found) == ("text/rfc822-headers", "base64")
    assert base64.b64decode(seen(found).returned_octets).endswith(b"xxx\r\n")


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", True),
        (b"\r\n", True),
        (b"a", True),
        (b"\r\n\r\n", True),
        (b"\n\r", False),
        (b"\r\r\n", False),
        (b"x" * 998 + b"\r\n", True),
        (b"x" * 999, False),
        (b"\r\n" + b"x" * 998, True),
        (b"\r\n" + b"x" * 999 + b"\r\n", False),
    ],
)
def test_lines_are_what_crlf_ends(octets, expected):
    assert is_lines(octets) == expected
