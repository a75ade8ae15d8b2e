"""Passwords and tokens are in no representation, so that they come into no log by way of one."""

import pytest

from gateway.address import parse_path
from gateway.smtp import SMTP, CredentialsReceived, RecipientReceived
from gateway.smtp.client import ClientConnection
from gateway.smtp.client_events import ReplyReceived
from gateway.smtp.outgoing import OutgoingMail, OutgoingRecipient
from tests.smtp.client.conversation import Octets

ADDRESS = parse_path(b"a@example.org", utf8=False)
SECRET = "c2VjcmV0"


def test_the_representation_of_a_login_has_no_password():
    shown = repr(CredentialsReceived(mechanism="PLAIN", login=b"user", password=SECRET.encode()))
    assert "user" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("keyword", ["MAILDATA", "XMAILDATA", "STOKEN", "MYSTOKEN"])
def test_the_representation_of_a_recipient_has_no_token(keyword):
    shown = repr(RecipientReceived(address=ADDRESS, parameters=((keyword, SECRET), ("NOTIFY", "NEVER"))))
    assert "a@example.org" in shown
    assert SECRET not in shown


@pytest.mark.parametrize(
    "extensions", [b"250-XREPLYMETA MAILDATA\r\n", b"250-XREPLYMETA MAILDATA\r\n250-PIPELINING\r\n"]
)
def test_what_a_client_says_of_a_command_has_no_token(extensions):
    connection = ClientConnection(SMTP, hello_name="client.example.net", trusted=True)
    connection.receive_data(b"220 hello\r\n250-mx.example.com\r\n" + extensions + b"250 HELP\r\n")
    while connection.next_event() is not None:
        pass
    connection.data_to_send()
    recipient = OutgoingRecipient(ADDRESS, (("MAILDATA", SECRET),))
    parameters = (("XREPLYMETA", "MAILDATA"),)
    connection.send(
        OutgoingMail(reverse_path=ADDRESS, recipients=(recipient,), content=Octets(b""), parameters=parameters)
    )
    said = connection.data_to_send()
    connection.receive_data(b"250 2.1.0 ok\r\n")
    said += connection.data_to_send()
    assert f"RCPT TO:<a@example.org> MAILDATA={SECRET}\r\n".encode() in said
    connection.receive_data(b"354 makes no sense\r\n")
    events = [event for event in iter(connection.next_event, None) if isinstance(event, ReplyReceived)]
    assert str(events[1].command).startswith("RCPT TO:<a@example.org>")
    assert SECRET not in repr(events)
