"""TLS in both directions, with certificates made for the test."""

import asyncio
import ssl
from datetime import UTC, datetime

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.connector import PermanentFailure, TransientFailure
from tests.connectors.http.consumers import connector, listening, make_connector, read_request


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority, tmp_path_factory):
    """Files: the authority, another one, a client's certificate with its key, and two that are of no use."""
    folder = tmp_path_factory.mktemp("pem")
    client = authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"a pass phrase")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (folder / "encrypted.key").write_bytes(key.private_bytes(*form))
    (folder / "no.pem").write_text("nothing\n")
    return folder


@pytest.fixture
def server(authority):
    """A TLS context of a consumer on 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def demanding(server, authority):
    """The same for a consumer that wants a client certificate."""
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    return server


async def take(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 204 Stored\r\n\r\n")
    await writer.drain()


async def test_a_consumer_whose_authority_is_trusted_gets_the_mail(server, pem, plain):
    async with listening(take, ssl=server) as url, connector(url, tls_ca_file=pem / "ca.pem") as consumer:
        assert (await consumer.emit(plain)).location == {"status": 204}


@pytest.mark.parametrize("settings", [{}, {"tls_ca_file": "other-ca.pem"}])
async def test_a_consumer_whose_authority_is_not_trusted_gets_nothing(settings, server, pem, plain):
    settings = {key: pem / name for key, name in settings.items()}
    async with listening(take, ssl=server) as url, connector(url, **settings) as consumer:
        with pytest.raises(TransientFailure) as caught:
            await consumer.emit(plain)
    assert str(caught.value.status) == "4.4.1"
    assert caught.value.text == "the destination cannot be reached, try again later"
    assert caught.value.cause.startswith("TLS certificate: ")


async def test_a_consumer_whose_certificate_has_expired_gets_nothing(authority, pem, plain):
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(expired)
    async with listening(take, ssl=expired) as url, connector(url, tls_ca_file=pem / "ca.pem") as consumer:
        with pytest.raises(TransientFailure, match="TLS certificate: certificate has expired") as caught:
            await consumer.emit(plain)
    assert str(caught.value.status) == "4.4.1"
    assert not caught.value.possibly_stored


async def test_a_consumer_of_another_name_gets_nothing(server, pem, plain):
    async with listening(take, ssl=server) as url:
        by_another_name = url.replace("127.0.0.1", "localhost")
        async with connector(by_another_name, tls_ca_file=pem / "ca.pem") as consumer:
            with pytest.raises(TransientFailure, match="TLS certificate: Hostname mismatch"):
                await consumer.emit(plain)


@pytest.mark.parametrize(
    "files", [{"tls_cert_file": "client.pem", "tls_key_file": "client.key"}, {"tls_cert_file": "both.pem"}]
)
async def test_a_client_certificate_is_shown_to_a_consumer_that_wants_one(files, demanding, pem, plain):
    subjects = []

    async def look(reader, writer):
        subjects.append(writer.get_extra_info("peercert")["subjectAltName"])
        await take(reader, writer)

    files = {key: pem / name for key, name in files.items()}
    async with listening(look, ssl=demanding) as url, connector(url, tls_ca_file=pem / "ca.pem", **files) as consumer:
        await consumer.emit(plain)
    assert subjects == [(("email", "client@example.org"),)]


async def test_without_the_client_certificate_the_failure_is_transient(demanding, pem, plain):
    async with listening(take, ssl=demanding) as url, connector(url, tls_ca_file=pem / "ca.pem") as consumer:
        with pytest.raises(TransientFailure):
            await consumer.emit(plain)


async def test_a_consumer_without_tls_behind_an_https_url_is_transient(pem, plain):
    async def speak_plainly(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with listening(speak_plainly) as url, connector(url.replace("http:", "https:")) as consumer:
        with pytest.raises(TransientFailure, match="TLS: ") as caught:
            await consumer.emit(plain)
    assert str(caught.value.status) == "4.4.1"


async def test_a_handshake_that_never_ends_is_given_up_in_time(pem, plain):
    async def never(reader, writer):
        await asyncio.Event().wait()

    async with listening(never) as url, connector(url.replace("http:", "https:"), timeout_seconds=0.2) as consumer:
        with pytest.raises(TransientFailure, match=r"4\.4\.2"):
            await consumer.emit(plain)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"tls_ca_file": "no.pem"}, "no PEM certificates"),
        ({"tls_cert_file": "no.pem"}, "no PEM certificate with its unencrypted private key"),
        ({"tls_cert_file": "client.pem"}, "no PEM certificate with its unencrypted private key"),
        ({"tls_cert_file": "client.pem", "tls_key_file": "encrypted.key"}, "unencrypted"),
        ({"tls_cert_file": "client.pem", "tls_key_file": "no.pem"}, "unencrypted"),
    ],
)
async def test_files_of_no_use_are_told_when_the_connector_is_opened(files, complaint, pem):
    consumer = make_connector("https://127.0.0.1", **{key: pem / name for key, name in files.items()})
    with pytest.raises(PermanentFailure, match=complaint) as caught:
        await consumer.open()
    assert str(pem) in caught.value.cause
    assert str(pem) not in caught.value.text
    await consumer.close()
