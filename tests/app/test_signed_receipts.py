"""Signed receipts from a running gateway, checked with what it has published and nothing else of it."""

import hashlib
import json
import re
import signal
import smtplib

import pytest

from gateway.keys import Purpose, create_key, public_key_set, read_key_set, read_keys, retire_key
from gateway.keys.jwk import decode_octets
from gateway.receipts import verify_token
from tests.app.gateway_process import GatewayProcess, run

CONFIGURATION = """
[gateway]
hostname = "mx.example.org"
keys = "keys"
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
reply_metadata = { receipts = ["127.0.0.0/8"] }
[[listener]]
name = "lmtp"
protocol = "lmtp"
bind = "127.0.0.1:0"
reply_metadata = { receipts = ["127.0.0.0/8"] }
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[connector]]
name = "copies"
type = "directory"
path = "copies"
[[connector]]
name = "later"
type = "directory"
path = "later"
[[route]]
recipients = ["*@spooled.example.org"]
connectors = ["later"]
accept = "spooled"
[[route]]
recipients = ["*@both.example.org"]
connectors = ["archive", "copies"]
[[route]]
recipients = ["*@example.org"]
connectors = ["archive"]
"""
CONTENT = b"Subject: x\r\n\r\nx\r\n"
_TOKEN = re.compile(rb"\[RECEIPT ([A-Za-z0-9_.-]+)\]")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The directory of a gateway that all tests share who change nothing."""
    return _site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def key_set(site):
    """What that gateway has published."""
    (site / "keys.json").write_text(public_key_set(read_keys(site / "keys")))
    return read_key_set((site / "keys.json").read_bytes())


@pytest.fixture(scope="module")
def gateway(site):
    with GatewayProcess("--config", "mailsluice.toml", folder=site, seconds=120) as process:
        yield process


@pytest.fixture
def own_site(tmp_path):
    return _site(tmp_path)


def _site(folder):
    (folder / "mailsluice.toml").write_text(CONFIGURATION)
    create_key(folder / "keys", Purpose.RECEIPT)
    return folder


def transact(client, *recipients, parameters="XREPLYMETA"):
    """The final replies, one for SMTP and one for each recipient of LMTP, as they stand on the wire."""
    client.ehlo()
    assert client.docmd("MAIL", f"FROM:<a@example.net> {parameters}".strip())[0] == 250
    for recipient in recipients:
        assert client.docmd("RCPT", f"TO:<{recipient}>")[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(CONTENT + b".\r\n")
    replies = [client.getreply() for _ in range(len(recipients) if isinstance(client, smtplib.LMTP) else 1)]
    assert {code for code, _ in replies} == {250}
    return [text for _, text in replies]


def tokens(reply):
    return [token.decode() for token in _TOKEN.findall(reply)]


def test_each_destination_has_a_token_that_proves_where_the_mail_is(gateway, key_set, site):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        (reply,) = transact(client, "b@both.example.org", "c@both.example.org")
    claims = [verify_token(token, key_set) for token in tokens(reply)]
    assert [each.to for each in claims] == ["directory", "directory"]
    for each in claims:
        assert each.iss == "mx.example.org"
        assert f"[ID {each.jti}]".encode() in reply
        assert (each.size, each.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).digest())
        assert (site / "mail" / each.at["path"]).read_bytes() == CONTENT
    assert all(len(line) <= 506 for line in reply.splitlines())


def test_each_recipient_of_lmtp_has_the_token_of_its_mail(gateway, key_set):
    with smtplib.LMTP(*gateway.address("lmtp")) as client:
        alone, both, spooled = transact(client, "b@example.org", "b@both.example.org", "b@spooled.example.org")
    assert [len(tokens(reply)) for reply in (alone, both, spooled)] == [1, 2, 1]
    # One signature for what is one receipt.
    assert tokens(alone)[0] in tokens(both)
    assert verify_token(tokens(spooled)[0], key_set).to == "spool"


def test_the_command_line_verifies_what_the_gateway_signed(gateway, key_set, site):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        (reply,) = transact(client, "b@example.org", parameters="XREPLYMETA=RECEIPT")
    assert b"[ID " not in reply
    (token,) = tokens(reply)
    content = site / "mail" / verify_token(token, key_set).at["path"]
    outcome = run("verify", "--token", token, "--keys", "keys.json", "--file", content, folder=site)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    content.write_bytes(CONTENT.replace(b"x", b"y"))
    outcome = run("verify", "--token", token, "--keys", "keys.json", "--file", content, folder=site)
    assert outcome.returncode == 1


@pytest.mark.parametrize("parameters", ["", "XREPLYMETA=ID", "XREPLYMETA=DIRECTORY,SPOOLED"])
def test_who_does_not_ask_for_tokens_gets_none(gateway, parameters):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        (reply,) = transact(client, "b@example.org", parameters=parameters)
    assert b"RECEIPT" not in reply


def test_no_token_is_logged(gateway, key_set):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        (reply,) = transact(client, "b@example.org")
    (token,) = tokens(reply)
    assert token not in "".join(gateway.read_until(verify_token(token, key_set).jti))


def test_keys_are_taken_anew_at_a_reload_or_stay_as_they_are(own_site):
    directory = own_site / "keys"
    (older,) = read_keys(directory)
    with GatewayProcess("--config", "mailsluice.toml", folder=own_site) as gateway:

        def signed_by():
            with smtplib.SMTP(*gateway.address("mx")) as client:
                (reply,) = transact(client, "b@example.org")
            (token,) = tokens(reply)
            header, _, _ = token.partition(".")
            return json.loads(decode_octets(header))["kid"]

        def reload():
            gateway.signal(signal.SIGHUP)
            return json.loads(gateway.read_until("reloaded")[-1])

        assert signed_by() == older.id
        newer = create_key(directory, Purpose.RECEIPT)
        retire_key(directory, older.name)
        assert reload()["event"] == "configuration reloaded"
        assert signed_by() == newer.id
        create_key(directory, Purpose.RECEIPT)
        directory.chmod(0o755)
        line = reload()
        assert line["event"] == "alarm: the configuration was not reloaded; the old one stays"
        assert "run `chmod 0700 keys`" in line["cause"]
        assert signed_by() == newer.id


def test_a_gateway_with_keys_that_others_can_read_does_not_start(own_site):
    for path in (own_site / "keys").iterdir():
        path.chmod(0o644)
    outcome = run("serve", "--config", "mailsluice.toml", folder=own_site)
    assert outcome.returncode == 1
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("mailsluice: "))
    assert line.startswith("mailsluice: `gateway.keys`: others than its owner have access to keys/receipt-")


def test_a_gateway_without_a_receipt_key_does_not_offer_tokens(own_site):
    for key in read_keys(own_site / "keys"):
        retire_key(own_site / "keys", key.name)
    with (
        GatewayProcess("--config", "mailsluice.toml", folder=own_site) as gateway,
        smtplib.SMTP(*gateway.address("mx")) as client,
    ):
        (reply,) = transact(client, "b@example.org")
        assert "RECEIPT" not in client.esmtp_features["xreplymeta"].split()
    assert b"[ID " in reply
    assert b"RECEIPT" not in reply


def test_the_library_is_missed_only_where_it_is_needed(own_site):
    prelude = "import sys; sys.modules['cryptography.hazmat.primitives.asymmetric'] = None"
    outcome = run("check", "--config", "mailsluice.toml", folder=own_site, prelude=prelude)
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "mailsluice: `gateway.keys`: signed receipts need more packages: pip install 'mailsluice[receipts]'\n"
    )
    (own_site / "mailsluice.toml").write_text(CONFIGURATION.replace('keys = "keys"', ""))
    assert run("check", "--config", "mailsluice.toml", folder=own_site, prelude=prelude).returncode == 0
