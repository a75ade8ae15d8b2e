import ipaddress
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.config import BUILT_IN, ConfigError, Limits, TcpBind, UnixBind, read

LISTENER = """
[[listener]]
name = "mx"
protocol = "smtp"
bind = "127.0.0.1:2525"
"""
REST = """
[[connector]]
name = "events"
type = "sample"
[[route]]
recipients = ["*"]
connectors = ["events"]
"""


def configuration(text, *, rest=REST):
    return read(LISTENER + text + rest, source="test.toml")


def refusal(text, *, rest=REST):
    with pytest.raises(ConfigError) as caught:
        configuration(text, rest=rest)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _plugins(sample_connectors):
    pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate file, and a file with its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("mx.example.org")
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


def test_defaults_are_those_that_are_promised():
    (listener,) = configuration("").listeners
    assert listener.max_message_bytes == 36_700_160
    assert listener.disable_extensions == ()
    assert listener.bmtd_order == "any"
    assert listener.tls is None
    assert listener.authentication is None
    assert listener.limits == Limits(
        max_recipients=1_000,
        max_errors=20,
        max_junk_commands=100,
        max_command_octets=2_048,
        max_chunks=100_000,
        max_containers=64,
        max_container_bytes=2**20,
        max_metadata_bytes=4 * 2**20,
        idle_seconds=300,
        min_octets_per_second=500,
    )


def system_name(monkeypatch, name):
    def unknown(_):
        raise OSError("no such host")

    monkeypatch.setattr("socket.gethostname", lambda: name)
    monkeypatch.setattr("socket.gethostbyaddr", unknown)


def test_the_host_name_is_by_default_the_systems_own(monkeypatch):
    system_name(monkeypatch, "mx7.example.org")
    assert configuration("").gateway.hostname == "mx7.example.org"


def test_a_system_whose_name_is_no_host_name_needs_one_configured(monkeypatch):
    system_name(monkeypatch, "my computer")
    assert refusal("").startswith('test.toml: gateway.hostname: "my computer" is no host name; write ')


def test_the_built_in_configuration_listens_on_loopback_only():
    config = read(BUILT_IN.replace('"directory"\npath = "mail"', '"sample"'), source="built in")
    assert [(listener.protocol, str(listener.bind)) for listener in config.listeners] == [
        ("smtp", "127.0.0.1:2525"),
        ("lmtp", "127.0.0.1:2424"),
    ]
    assert config.gateway.spool == Path("spool")
    assert config.routes[0].recipients == ("*",)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:25", TcpBind("127.0.0.1", 25)),
        ("localhost:0", TcpBind("localhost", 0)),
        ("[::1]:2525", TcpBind("::1", 2525)),
        ("[2001:DB8:0::1]:25", TcpBind("2001:db8::1", 25)),
        ("unix:/run/mailsluice/lmtp.sock", UnixBind(Path("/run/mailsluice/lmtp.sock"))),
    ],
)
def test_an_address_to_listen_on_is_read_once(text, bind):
    assert read((LISTENER + REST).replace("127.0.0.1:2525", text), source="").listeners[0].bind == bind


def test_an_address_is_written_as_it_is_configured():
    assert str(TcpBind("::1", 25)) == "[::1]:25"
    assert str(UnixBind(Path("/a/b"))) == "unix:/a/b"


def test_networks_are_networks_and_one_word_for_those_who_have_no_address():
    (listener,) = configuration('trusted_networks = ["10.0.0.0/8", "::1", "unix"]').listeners
    assert listener.trusted_networks == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128"), "unix")


def test_keywords_of_extensions_may_be_written_in_lower_case():
    assert configuration('disable_extensions = ["chunking"]').listeners[0].disable_extensions == ("CHUNKING",)


def test_port_0_may_be_bound_by_several_listeners():
    again = LISTENER.replace("mx", "other")
    text = (LISTENER + again + REST).replace(":2525", ":0")
    assert len(read(text, source="").listeners) == 2


def test_tls_files_that_belong_together_make_a_context(certificate):
    chain, key = certificate
    (listener,) = configuration(
        f'[listener.tls]\ncertificate_file = "{chain}"\nkey_file = "{key}"\nrequired = true'
    ).listeners
    assert listener.tls.mode == "starttls"
    assert isinstance(listener.tls.context(), ssl.SSLContext)


def test_a_key_of_another_certificate_is_refused(certificate, tmp_path):
    chain, _ = certificate
    other = tmp_path / "key.pem"
    trustme.CA().issue_cert("mx.example.org").private_key_pem.write_to_path(other)
    text = refusal(f'[listener.tls]\ncertificate_file = "{chain}"\nkey_file = "{other}"')
    assert text.startswith("test.toml:8: listener.tls.key_file: TLS cannot be set up with ")
    assert "KEY_VALUES_MISMATCH" in text


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(certificate, tmp_path):
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # one test needs it

    chain, key = certificate
    encrypted = tmp_path / "key.pem"
    encrypted.write_bytes(
        serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    assert "must not be encrypted" in refusal(f'[listener.tls]\ncertificate_file = "{chain}"\nkey_file = "{encrypted}"')


def test_an_authenticator_is_imported():
    (listener,) = configuration(
        '[listener.authentication]\nauthenticator = "os.path:exists"\nallow_without_tls = true'
    ).listeners
    assert listener.authentication.authenticator("/")


@pytest.mark.parametrize("name", ["os", "os:", ":exists", "os:path", "os:not there", "os:sep"])
def test_what_is_no_authenticator_is_refused(name):
    assert "listener.authentication.authenticator" in refusal(f'[listener.authentication]\nauthenticator = "{name}"')


def test_a_connector_stands_behind_those_it_refers_to():
    connectors = """
    [[connector]]
    name = "a"
    type = "sample"
    copy_to = "b"
    [[connector]]
    name = "c"
    type = "sample"
    [[connector]]
    name = "b"
    type = "sample"
    copy_to = "c"
    """
    names = list(configuration("", rest=connectors + REST).connectors)
    assert names.index("c") < names.index("b") < names.index("a")


def test_values_are_not_converted():
    assert "must be a whole number, not a text" in refusal('max_message_bytes = "1000000"')
    assert "must be true or false, not a whole number" in refusal("[listener.authentication]\nrequired = 1")
