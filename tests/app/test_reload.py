"""SIGHUP: a new configuration is taken whole, or not at all."""

import json
import signal
import smtplib
import socket

import pytest

from tests.app.gateway_process import GatewayProcess

CONFIGURATION = """
[gateway]
hostname = "mx.example.org"
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*@example.org"]
connectors = ["archive"]
accept = "spooled"
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mailsluice.toml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def gateway(path, tmp_path):
    with GatewayProcess("--config", path, folder=tmp_path) as process:
        yield process


def reload(gateway, path, text):
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    return json.loads(gateway.read_until("reloaded")[-1])


def send(gateway, recipient, name="mx"):
    with smtplib.SMTP(*gateway.address(name)) as client:
        return client.sendmail("a@example.net", [recipient], b"Subject: x\r\n\r\nx\r\n")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "listener: is missing"),
        (CONFIGURATION.partition("[[route]]")[0], "route: is missing"),
        (CONFIGURATION.replace('"directory"', "17"), "connector.type"),
        (CONFIGURATION.replace('"mail"', '"/dev/null/mail"'), "cannot be opened"),
        (CONFIGURATION.replace("[gateway]", '[gateway]\nspool = "other"'), "spool"),
        (
            CONFIGURATION.replace(
                "[[connector]]",
                """[listener.tls]
certificate_file = "mailsluice.toml"
key_file = "mailsluice.toml"
[[connector]]""",
            ),
            "TLS",
        ),
    ],
    ids=["empty", "half", "wrong type", "connector that does not open", "another spool", "bad key"],
)
def test_what_is_broken_changes_nothing_and_says_so(gateway, path, text, cause):
    line = reload(gateway, path, text)
    assert line["event"] == "alarm: the configuration was not reloaded; the old one stays"
    assert cause in line["cause"]
    assert send(gateway, "b@example.org") == {}
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(gateway, "b@example.com")


def test_an_address_that_is_taken_keeps_the_old_configuration(gateway, path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = reload(gateway, path, CONFIGURATION.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    assert "cannot listen" in line["cause"]
    assert send(gateway, "b@example.org") == {}


def test_routes_and_connectors_are_new_while_the_address_stays(gateway, path, tmp_path):
    text = CONFIGURATION.replace('example.org"]', 'example.com"]').replace('"mail"', '"other"')
    assert reload(gateway, path, text)["event"] == "configuration reloaded"
    assert send(gateway, "b@example.com") == {}
    gateway.read_until('"event": "delivered"')
    assert len(list(tmp_path.glob("other/**/*.json"))) == 1
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(gateway, "b@example.org")


def test_a_session_ends_as_it_began(gateway, path, tmp_path):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        client.ehlo()
        client.mail("a@example.net")
        assert client.rcpt("b@example.org")[0] == 250
        reload(gateway, path, CONFIGURATION.replace('"mail"', '"other"').replace("spooled", "delivered"))
        assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
    gateway.read_until('"event": "delivered"')
    # The connector of that name has it, as it is configured by now.
    assert len(list(tmp_path.glob("other/**/*.json"))) == 1


def test_a_session_that_stays_has_the_new_routes_from_its_next_mail_on(gateway, path, tmp_path):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        assert client.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n\r\n") == {}
        # Later it would go where the connector of that name has it by then.
        gateway.read_until('"event": "delivered"')
        reload(gateway, path, CONFIGURATION.replace('"mail"', '"other"').replace("spooled", "delivered"))
        assert client.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n\r\n") == {}
    assert len(list(tmp_path.glob("other/**/*.json"))) == 1


def test_a_listener_that_is_gone_closes_and_a_new_one_opens(gateway, path):
    old = gateway.address("mx")
    text = CONFIGURATION.replace('"mx"', '"new"').replace('"smtp"', '"lmtp"')
    path.write_text(text)
    gateway.signal(signal.SIGHUP)
    (line,) = [line for line in gateway.read_until("reloaded") if line.startswith("LMTP on 127.0.0.1:")]
    host, _, port = line.split()[2].rpartition(":")
    with smtplib.LMTP(host, int(port)) as client:
        assert client.ehlo("x")[0] == 250
    with pytest.raises(OSError, match=r"refused|reset|closed"):
        smtplib.SMTP(*old)


def test_the_file_may_be_broken_and_mended_many_times(gateway, path):
    for _ in range(5):
        assert "alarm" in reload(gateway, path, "[[")["event"]
        assert reload(gateway, path, CONFIGURATION)["event"] == "configuration reloaded"
    assert send(gateway, "b@example.org") == {}
    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0
