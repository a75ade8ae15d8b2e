"""This gateway's own Received field."""

import pytest

from gateway.address import parse_path
from gateway.envelope import Client
from gateway.envelope.trace import composed_field, received_field

_WHEN = 1_795_302_000.5


def field(*recipients, hello="c.example", client=None):
    return received_field(
        hello=hello,
        client=client or Client(address="192.0.2.1", port=1),
        hostname="mx.example.com",
        protocol="ESMTP",
        id_="01M8061WXHRRCCFTG7N5K7RZDC",
        recipients=[parse_path(recipient, utf8=True) for recipient in recipients],
        when=_WHEN,
    )


def test_it_names_client_gateway_id_recipient_and_time():
    assert field(b"a@example.org") == (
        b"Received: from c.example ([192.0.2.1])\r\n"
        b"\tby mx.example.com with ESMTP id 01M8061WXHRRCCFTG7N5K7RZDC\r\n"
        b"\tfor <a@example.org>;\r\n"
        b"\tSat, 21 Nov 2026 23:00:00 +0000\r\n"
    )


def test_of_several_recipients_none_is_named():
    assert b"for" not in field(b"a@example.org", b"b@example.org")


def test_no_line_is_longer_than_a_header_may_be():
    for length in (10, 900, 970, 990, 1000, 2000):
        lines = field(b"a" * length + b"@example.org").split(b"\r\n")
        assert max(map(len, lines)) <= 998


@pytest.mark.parametrize("hello", ["a (b", "a\tb", 'a"b', "a;b", "a\r\nBcc: x", "a<b>"])
def test_what_a_client_calls_itself_ends_nothing(hello):
    first, *_ = field(hello=hello).split(b"\r\n")
    assert first.startswith(b"Received: from a_")
    assert first.endswith(b" ([192.0.2.1])")
    assert first.count(b" ") == 3


@pytest.mark.parametrize(
    ("address", "literal"),
    [("2001:db8::1", b"([IPv6:2001:db8::1])"), ("unix", b"(localhost)")],
)
def test_the_address_is_a_literal_of_smtp(address, literal):
    assert literal in field(client=Client(address=address))


def test_a_mail_that_the_gateway_wrote_came_from_nobody():
    assert composed_field(
        hostname="mx.example.com",
        id_="01M8061WXHRRCCFTG7N5K7RZDC",
        recipients=[parse_path(b"a@example.org", utf8=False)],
        when=_WHEN,
    ) == (
        b"Received: by mx.example.com id 01M8061WXHRRCCFTG7N5K7RZDC\r\n"
        b"\tfor <a@example.org>;\r\n"
        b"\tSat, 21 Nov 2026 23:00:00 +0000\r\n"
    )
