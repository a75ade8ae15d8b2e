"""`mailsluice send --receipts`: where the mail lies, for each recipient."""

import ipaddress

import pytest

from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from tests.cli.peers import gateway

LOCAL = (ipaddress.ip_network("127.0.0.0/8"),)
MEMORY = {"memory": ("key",)}


@pytest.fixture
def send(mailsluice, tmp_path):
    letter = tmp_path / "letter.eml"
    letter.write_bytes(b"Subject: x\n\nhello\n")

    def run(server, *options):
        addresses = ("--from", "a@example.net", "--to", "b@example.org", "--to", "c@example.org")
        return mailsluice("send", letter, "--server", server.address, *addresses, *options)

    return run


@pytest.mark.parametrize("options", [(), ("--lmtp",)])
def test_receipts_are_a_table_with_a_line_for_each_recipient_and_code(send, tmp_path, options):
    codes = (OfferedCodes(names=("ID", "MEMORY"), networks=LOCAL),)
    protocol = "lmtp" if options else "smtp"
    with gateway(tmp_path, protocol, reply_metadata=ReplyMetadata(offered=codes, coordinates=MEMORY)) as server:
        outcome = send(server, "--receipts", *options)
        (mail,) = server.mails
    id_ = mail.envelope.id
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines()[-5:] == [
        "RECIPIENT      RECEIPT",
        f"b@example.org  [ID {id_}]",
        f"b@example.org  [MEMORY {id_}]",
        f"c@example.org  [ID {id_}]",
        f"c@example.org  [MEMORY {id_}]",
    ]
    assert "continued" not in outcome.stdout


def test_a_recipient_without_a_receipt_is_said_to_have_none(send, tmp_path):
    codes = (OfferedCodes(names=("SPOOLED",), networks=LOCAL),)
    with gateway(tmp_path, reply_metadata=ReplyMetadata(offered=codes, coordinates=MEMORY)) as server:
        outcome = send(server, "--receipts")
    assert outcome.stdout.splitlines()[-2:] == ["b@example.org  none", "c@example.org  none"]


def test_without_the_option_there_is_no_code(send, tmp_path):
    codes = (OfferedCodes(names=("ID", "MEMORY"), networks=LOCAL),)
    with gateway(tmp_path, reply_metadata=ReplyMetadata(offered=codes, coordinates=MEMORY)) as server:
        outcome = send(server)
    assert "[ID" not in outcome.stdout
    assert "MAIL FROM:<a@example.net> SIZE=21: 250 2.1.0 sender ok" in outcome.stdout.splitlines()


@pytest.mark.parametrize("networks", [None, "192.0.2.0/24"])
def test_a_server_that_does_not_offer_receipts_to_this_host_is_said_to(send, tmp_path, networks):
    elsewhere = (OfferedCodes(names=("ID",), networks=(ipaddress.ip_network("192.0.2.0/24"),)),)
    with gateway(tmp_path, **({"reply_metadata": ReplyMetadata(offered=elsewhere)} if networks else {})) as server:
        outcome = send(server, "--receipts")
        assert server.mails == []
    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "mailsluice: the server does not offer XREPLYMETA; leave out --receipts, or let the server's "
        "reply_metadata.receipts name this host's network\n"
    )
