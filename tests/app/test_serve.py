import json
import signal
import smtplib
import socket

import pytest

from tests.app.gateway_process import GatewayProcess, run

LISTENERS = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
[[listener]]
name = "backend"
protocol = "lmtp"
bind = "unix:lmtp.sock"
"""
ARCHIVE = """
[[connector]]
name = "archive"
type = "directory"
path = "mail"
[[route]]
recipients = ["*@example.org"]
connectors = ["archive"]
"""

WITHOUT_EXTRAS = """
import sys
EXTRAS = "aiohttp aiokafka boto3 botocore cramjam fastapi fastavro uvicorn uvloop zstandard".split()
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent)
"""


def write(folder, text):
    path = folder / "mailsluice.toml"
    path.write_text(text)
    return path


@pytest.fixture
def gateway(tmp_path):
    with GatewayProcess("--config", write(tmp_path, LISTENERS + ARCHIVE), folder=tmp_path) as process:
        yield process


def test_addresses_come_before_the_ready_line(gateway):
    assert set(gateway.addresses) == {"mx", "backend"}
    assert gateway.addresses["backend"] == "unix:lmtp.sock"
    assert gateway.output[-1] == "mailsluice ready\n"


def test_a_gateway_that_is_ready_takes_mail(gateway, tmp_path):
    with smtplib.SMTP(*gateway.address("mx")) as client:
        client.sendmail("a@example.net", ["b@example.org"], b"Subject: one\r\n\r\n")
    with smtplib.LMTP(str(tmp_path / "lmtp.sock")) as client:
        client.sendmail("a@example.net", ["b@example.org"], b"Subject: two\r\n\r\n")
    contents = {path.read_bytes() for path in (tmp_path / "mail").rglob("*.eml")}
    assert contents == {b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_gateway_in_good_order(gateway, number, tmp_path):
    gateway.signal(number)
    assert gateway.wait() == 0
    assert json.loads(gateway.output[-1])["event"] == "stopped"
    assert not (tmp_path / "lmtp.sock").exists()


def test_mail_under_way_is_taken_before_the_gateway_ends(gateway, tmp_path):
    with socket.create_connection(gateway.address("mx")) as client, client.makefile("rwb") as stream:

        def say(*lines):
            stream.write(b"".join(line + b"\r\n" for line in lines))
            stream.flush()

        def reply():
            line = stream.readline()
            while line[3:4] == b"-":
                line = stream.readline()
            return line

        assert reply().startswith(b"220")
        for command in (b"EHLO client.example.net", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>"):
            say(command)
            assert reply().startswith(b"250")
        say(b"DATA")
        assert reply().startswith(b"354")
        gateway.signal(signal.SIGTERM)
        gateway.read_until('"stopping"')
        say(b"Subject: late", b"", b"in time", b".")
        assert reply().startswith(b"250")
        assert reply().startswith(b"421")
        assert stream.read() == b""
    assert gateway.wait() == 0
    (content,) = (tmp_path / "mail").rglob("*.eml")
    assert content.read_bytes() == b"Subject: late\r\n\r\nin time\r\n"


def test_the_base_install_takes_mail_and_verifies_it(tmp_path):
    path = write(tmp_path, LISTENERS + ARCHIVE)
    with GatewayProcess("--config", path, folder=tmp_path, prelude=WITHOUT_EXTRAS) as gateway:
        with smtplib.SMTP(*gateway.address("mx")) as client:
            client.sendmail("a@example.net", ["b@example.org"], b"\r\n")
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    outcome = run("verify", "mail", folder=tmp_path, prelude=WITHOUT_EXTRAS)
    assert outcome.stdout == "mails: 1, octets: 2, damaged: 0\n"


def refusal(folder, text, *, status=1, prelude=""):
    """What `serve` says when it does not start: one line, which is no traceback."""
    outcome = run("serve", "--config", write(folder, text), folder=folder, prelude=prelude)
    assert outcome.returncode == status
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1
    return outcome.stderr.removesuffix("\n")


def test_an_address_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        text = LISTENERS.replace("unix:lmtp.sock", address) + ARCHIVE
        said = refusal(tmp_path, text)
    assert said == f'mailsluice: listener "backend" cannot listen on {address}: Address already in use'


def test_a_host_that_has_no_address_is_named(tmp_path):
    text = LISTENERS.replace("127.0.0.1:0", "no-such-host.invalid:2525") + ARCHIVE
    assert refusal(tmp_path, text).startswith('mailsluice: listener "mx" cannot listen on no-such-host.invalid:2525: ')


def test_a_spool_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    text = '[gateway]\nspool = "file/spool"\n' + LISTENERS + ARCHIVE
    assert refusal(tmp_path, text) == (
        "mailsluice: the spool directory file/spool cannot be written to: Not a directory"
    )


def test_what_a_connector_needs_from_the_operator_is_said(tmp_path):
    sample = LISTENERS + ARCHIVE.replace('type = "directory"\npath = "mail"', 'type = "sample"\nopening = "fails"')
    assert refusal(tmp_path, sample) == ('mailsluice: connector "archive" cannot be opened: the password is wrong')
    (tmp_path / "mail").touch()
    assert refusal(tmp_path, LISTENERS + ARCHIVE).startswith('mailsluice: connector "archive" cannot be opened: ')


def test_a_connector_that_was_opened_is_closed_when_the_start_fails(tmp_path):
    two = ARCHIVE.replace('name = "archive"\ntype = "directory"\npath = "mail"', 'name = "archive"\ntype = "sample"')
    text = two + '[[connector]]\nname = "second"\ntype = "sample"\nopening = "fails"\n' + LISTENERS
    prelude = """
import sample_connectors
async def close(self):
    print("closed", self.settings.name)
sample_connectors.Sample.close = close
"""
    outcome = run("serve", "--config", write(tmp_path, text), folder=tmp_path, prelude=prelude)
    assert outcome.returncode == 1
    assert outcome.stdout.splitlines() == ["closed second", "closed archive"]


KAFKA = LISTENERS + ARCHIVE.replace(
    'type = "directory"\npath = "mail"', 'type = "kafka"\nbootstrap_servers = ["127.0.0.1:9"]\ntopic = "mail"'
)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(command, tmp_path):
    outcome = run(command, "--config", write(tmp_path, KAFKA), folder=tmp_path, prelude=WITHOUT_EXTRAS)
    assert outcome.returncode == 1
    assert outcome.stderr == (
        "mailsluice: connector \"archive\": the kafka connector needs more packages: pip install 'mailsluice[kafka]'\n"
    )


def test_a_wrong_configuration_starts_nothing(tmp_path):
    text = LISTENERS.replace('protocol = "smtp"', 'protocol = "stmp"') + ARCHIVE.replace("path", "pth")
    outcome = run("serve", "--config", write(tmp_path, text), folder=tmp_path)
    assert outcome.returncode == 2
    assert [line.partition(": ")[0].rpartition(":")[2] for line in outcome.stderr.splitlines()] == ["4", "11", "14"]
    assert {path.name for path in tmp_path.iterdir()} == {"mailsluice.toml"}


def test_no_secret_is_logged(tmp_path):
    text = LISTENERS + ARCHIVE.replace('type = "directory"\npath = "mail"', 'type = "sample"\npassword = "the-canary"')
    with GatewayProcess("--config", write(tmp_path, text), folder=tmp_path) as gateway:
        with smtplib.SMTP(*gateway.address("mx")) as client:
            client.sendmail("a@example.net", ["b@example.org"], b"\r\n")
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    assert "the-canary" not in "".join(gateway.output)
    assert any('"event": "mail"' in line for line in gateway.output)
