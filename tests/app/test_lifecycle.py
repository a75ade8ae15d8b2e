"""What comes up, goes down again: at the end, when something fails on the way, and in the middle of a reload."""

import asyncio
import io
import ipaddress
import os.path
import signal
import smtplib
import sys
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import LoginPassword

from gateway.app import StartError, build_connectors, process, run
from gateway.app.listeners import listener_settings
from gateway.config import read
from gateway.ingress import hash_password
from gateway.keys import KeyRing

LISTENER = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:0"
"""
CONNECTOR = """
[[connector]]
name = "events"
type = "sample"
"""
ROUTE = """
[[route]]
recipients = ["*"]
connectors = ["events"]
"""


class Announced(io.StringIO):
    """Standard error that notices the ready line."""

    def __init__(self):
        super().__init__()
        self.ready = asyncio.Event()

    def write(self, text):
        if "mailsluice ready" in text:
            self.ready.set()
        return super().write(text)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "site")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sample_class():
    import sample_connectors  # noqa: PLC0415  # tests/site is on the path only now

    return sample_connectors.Sample


def configuration(text=LISTENER + CONNECTOR + ROUTE):
    return read(text, source="test.toml")


async def wait_for_ever(_self):
    await asyncio.Event().wait()


async def test_a_gateway_runs_until_it_is_told_to_stop(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stderr := Announced())
    gateway = asyncio.create_task(run(configuration(), configuration))
    await asyncio.wait_for(stderr.ready.wait(), 10)
    address = stderr.getvalue().split()[2]

    def send():
        with smtplib.SMTP(*address.split(":")) as client:
            client.sendmail("a@example.net", ["b@example.org"], b"\r\n")

    await asyncio.to_thread(send)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(gateway, 10)
    with pytest.raises(ConnectionRefusedError):
        send()


async def test_a_connector_that_never_closes_does_not_keep_the_gateway(monkeypatch, sample_class):
    monkeypatch.setattr(sys, "stderr", stderr := Announced())
    monkeypatch.setattr(sample_class, "close", wait_for_ever)
    impatient = configuration("[gateway]\ndrain_seconds = 0.05\n" + LISTENER + CONNECTOR + ROUTE)
    gateway = asyncio.create_task(run(impatient, configuration))
    await asyncio.wait_for(stderr.ready.wait(), 10)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(gateway, 10)


async def test_a_reload_that_takes_its_time_does_not_keep_the_gateway(monkeypatch, sample_class):
    opening, closed = asyncio.Event(), asyncio.Event()

    async def wait(_self):
        opening.set()
        await asyncio.Event().wait()

    async def close(_self):
        closed.set()

    monkeypatch.setattr(sys, "stderr", stderr := Announced())
    gateway = asyncio.create_task(run(configuration(), configuration))
    await asyncio.wait_for(stderr.ready.wait(), 10)
    monkeypatch.setattr(sample_class, "open", wait)
    monkeypatch.setattr(sample_class, "close", close)
    signal.raise_signal(signal.SIGHUP)
    await asyncio.wait_for(opening.wait(), 10)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(gateway, 10)
    assert closed.is_set()


async def test_a_connector_that_never_opens_is_named(monkeypatch, sample_class):
    monkeypatch.setattr(sample_class, "open", wait_for_ever)
    monkeypatch.setattr("gateway.app.connectors._OPENING_SECONDS", 0.01)
    with pytest.raises(StartError, match=r'connector "events" did not open within 0\.01 seconds'):
        await run(configuration(), configuration)


async def test_a_certificate_that_is_gone_by_now_is_named(tmp_path):
    issued = trustme.CA().issue_cert("mx.example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    config = configuration(
        LISTENER + '[listener.tls]\ncertificate_file = "both.pem"\nkey_file = "both.pem"\n' + CONNECTOR + ROUTE
    )
    (tmp_path / "both.pem").unlink()
    with pytest.raises(StartError, match=r"TLS cannot be set up with both\.pem"):
        await run(config, lambda: config)


def test_a_connector_gets_those_that_it_refers_to():
    other = CONNECTOR.replace("events", "archive")
    config = configuration(LISTENER + CONNECTOR + 'copy_to = "archive"' + other + ROUTE)
    built = build_connectors(config.connectors)
    assert list(built) == ["archive", "events"]
    assert built["events"].references == {"archive": built["archive"]}
    assert built["archive"].references == {}


def test_the_event_loop_is_asyncios_own_where_uvloop_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert process.event_loop() is None


def test_a_listener_is_made_as_it_is_configured(tmp_path):
    issued = trustme.CA().issue_cert("mx.example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    (tmp_path / "passwords").write_text(f"joe:{hash_password('secret')}\n")
    text = """
    [gateway]
    hostname = "mx.example.org"
    spool = "elsewhere"
    [[listener]]
    name = "submission"
    protocol = "smtp"
    bind = "127.0.0.1:0"
    max_message_bytes = 100_000
    disable_extensions = ["CHUNKING"]
    bmtd_order = "before-content"
    trusted_networks = ["192.0.2.0/24"]
    proxy_protocol_networks = ["::1"]
    [listener.tls]
    mode = "implicit"
    certificate_file = "both.pem"
    key_file = "both.pem"
    [listener.authentication]
    password_file = "passwords"
    required = true
    [listener.limits]
    max_connections = 1
    max_connections_per_client = 2
    max_recipients = 103
    max_errors = 4
    max_junk_commands = 5
    max_command_octets = 600
    max_chunks = 7
    max_containers = 8
    max_container_bytes = 9
    max_metadata_bytes = 10
    idle_seconds = 11
    min_octets_per_second = 12
    """
    config = configuration(text + CONNECTOR + ROUTE)
    settings = listener_settings(config.listeners[0], config, KeyRing())
    assert (settings.name, settings.hostname, settings.spool) == ("submission", "mx.example.org", Path("elsewhere"))
    assert settings.dialect.name == "SMTP"
    keywords = {extension.keyword for extension in settings.extensions.enabled}
    assert {"AUTH", "SIZE"} < keywords
    assert not {"CHUNKING", "BINARYMIME", "METADATA", "STARTTLS"} & keywords
    limits = settings.limits
    assert (limits.message_octets, limits.recipients, limits.errors, limits.junk) == (100_000, 103, 4, 5)
    assert (limits.command_octets, limits.chunks, limits.containers) == (600, 7, 8)
    assert (limits.container_octets, limits.metadata_octets) == (9, 10)
    assert (settings.max_connections, settings.max_connections_per_client) == (1, 2)
    assert (settings.idle_seconds, settings.min_octets_per_second) == (11, 12)
    assert settings.trusted_networks == (ipaddress.ip_network("192.0.2.0/24"),)
    assert settings.proxy_networks == (ipaddress.ip_network("::1"),)
    assert settings.tls is not None
    assert settings.implicit_tls
    login = LoginPassword(b"joe", b"secret")
    assert settings.authenticator(None, None, None, "PLAIN", login).success


def test_a_listener_has_starttls_by_default(tmp_path):
    issued = trustme.CA().issue_cert("mx.example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    text = LISTENER + '[listener.tls]\ncertificate_file = "both.pem"\nkey_file = "both.pem"\n' + CONNECTOR + ROUTE
    config = configuration(text)
    settings = listener_settings(config.listeners[0], config, KeyRing())
    assert "STARTTLS" in settings.extensions
    assert not settings.implicit_tls


def test_an_authenticator_of_ones_own_is_used_as_it_is():
    text = LISTENER + '[listener.authentication]\nauthenticator = "os.path:exists"\nallow_without_tls = true\n'
    config = configuration(text + CONNECTOR + ROUTE)
    assert listener_settings(config.listeners[0], config, KeyRing()).authenticator is os.path.exists
