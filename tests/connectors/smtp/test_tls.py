"""TLS with the next server and a login there: what is asked for is had, or nothing is sent."""

import asyncio
import ssl
from contextlib import suppress

import pytest
import trustme
from aiosmtpd.smtp import AuthResult

from gateway.connector import PermanentFailure, TransientFailure
from gateway.smtp import LMTP, Policy
from gateway.testing import plain_mail
from tests.connectors.smtp.connectors import connected, make_connector
from tests.connectors.smtp.scripted import HELLO, Scripted
from tests.relay.servers import listening

SECONDS = 20
OFFERED = Policy(message_octets=100_000_000, starttls=True, authentication=True)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def knows_ann(_server, _session, _envelope, _mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"ann", b"secret"))


async def protocol_of(taken):
    (mail,) = taken.mails.values()
    return mail.envelope.transaction.protocol


@pytest.mark.parametrize("use", ["opportunistic", "required"])
async def test_starttls_is_used_where_it_is_offered(tmp_path, server_tls, ca_file, use):
    trust = {"tls_ca_file": ca_file} if use == "required" else {}
    async with (
        listening(tmp_path, policy=OFFERED, tls=server_tls) as (server, taken),
        connected(server, tls=use, **trust) as connector,
    ):
        await connector.emit(plain_mail())
        assert await protocol_of(taken) == "UTF8SMTPS"


async def test_implicit_tls_begins_before_the_greeting(tmp_path, server_tls, ca_file):
    async with (
        listening(tmp_path, tls=server_tls, implicit_tls=True) as (server, taken),
        connected(server, tls="implicit", tls_ca_file=ca_file) as connector,
    ):
        await connector.emit(plain_mail())
        assert await protocol_of(taken) == "UTF8SMTPS"


async def test_lmtp_goes_under_tls_too(tmp_path, server_tls, ca_file):
    async with (
        listening(tmp_path, policy=OFFERED, dialect=LMTP, tls=server_tls) as (server, taken),
        connected(server, protocol="lmtp", tls="required", tls_ca_file=ca_file) as connector,
    ):
        await connector.emit(plain_mail())
        assert await protocol_of(taken) == "UTF8LMTPS"


async def test_none_is_none_where_it_is_offered(tmp_path, server_tls):
    async with (
        listening(tmp_path, policy=OFFERED, tls=server_tls) as (server, taken),
        connected(server, tls="none") as connector,
    ):
        await connector.emit(plain_mail())
        assert await protocol_of(taken) == "UTF8SMTP"


@pytest.mark.parametrize("use", ["required", "implicit"])
async def test_a_certificate_that_nobody_vouches_for_is_no_good(tmp_path, server_tls, use):
    async with (
        listening(tmp_path, policy=OFFERED, tls=server_tls, implicit_tls=use == "implicit") as (server, taken),
        connected(server, tls=use) as connector,
    ):
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(plain_mail())
        assert not taken.mails
    assert (str(raised.value.status), raised.value.possibly_stored) == ("4.4.1", False)


async def test_a_certificate_of_another_name_is_no_good(tmp_path, authority, ca_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.org").configure_cert(context)
    async with (
        listening(tmp_path, policy=OFFERED, tls=context) as (server, taken),
        connected(server, tls="required", tls_ca_file=ca_file) as connector,
    ):
        with pytest.raises(TransientFailure):
            await connector.emit(plain_mail())
        assert not taken.mails


@pytest.mark.parametrize("answer", [None, "454 4.7.0 not now", "501 5.5.4 no"])
async def test_without_the_tls_that_is_required_no_mail_is_sent(answer):
    offers = HELLO if answer is None else (*HELLO, "STARTTLS")
    script = {"STAR": [answer]} if answer is not None else {}
    async with Scripted(offers=offers, **script) as server, connected(server.address, tls="required") as connector:
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(plain_mail())
        assert str(raised.value.status) == "4.7.10"
        assert not any(line.startswith("MAIL") for session in server.sessions for line in session.heard)


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "220 go on, and a reply is no handshake", None])
async def test_opportunistic_goes_on_in_clear_where_tls_fails(answer):
    async with Scripted(offers=(*HELLO, "STARTTLS"), STAR=[answer]) as server, connected(server.address) as connector:
        await connector.emit(plain_mail())
        assert len(server.mails) == 1


@pytest.mark.parametrize("use", ["opportunistic", "required"])
async def test_a_server_that_is_silent_under_starttls_is_left_in_time_and_has_nothing(use):
    ended = asyncio.Event()

    async def serve(reader, writer):
        for answer in (b"220 mx", b"250-mx\r\n250 STARTTLS", b"220 go on"):
            writer.write(answer + b"\r\n")
            await reader.read(1000)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        async with connected(server.sockets[0].getsockname()[:2], deadline_seconds=0.5, tls=use) as connector:
            with pytest.raises(TransientFailure) as raised:
                await asyncio.wait_for(connector.emit(plain_mail()), 4)
        assert not raised.value.possibly_stored
        await asyncio.wait_for(ended.wait(), SECONDS)


@pytest.mark.parametrize("secret", ["password", "password_file"])
async def test_it_logs_in_under_tls(tmp_path, server_tls, ca_file, secret):
    (tmp_path / "password").write_text("secret\n")
    given = {"password": "secret"} if secret == "password" else {"password_file": tmp_path / "password"}
    async with (
        listening(tmp_path, policy=OFFERED, tls=server_tls, authenticator=knows_ann) as (server, taken),
        connected(server, tls="required", tls_ca_file=ca_file, username="ann", **given) as connector,
    ):
        await connector.emit(plain_mail())
        assert await protocol_of(taken) == "UTF8SMTPSA"


async def test_a_password_that_is_wrong_is_for_an_operator_to_mend_and_shown_nowhere(tmp_path, server_tls, ca_file):
    async with (
        listening(tmp_path, policy=OFFERED, tls=server_tls, authenticator=knows_ann) as (server, taken),
        connected(server, tls="required", tls_ca_file=ca_file, username="ann", password="wrong-one") as connector,
    ):
        with pytest.raises(TransientFailure) as raised:
            await connector.emit(plain_mail())
        assert not taken.mails
        assert "wrong-one" not in repr(vars(connector)) + str(raised.value)
    assert str(raised.value.status) == "4.7.8"


async def test_a_server_without_auth_gets_neither_password_nor_mail():
    async with Scripted() as server, connected(server.address, username="ann", password="secret") as connector:
        with pytest.raises(TransientFailure):
            await connector.emit(plain_mail())
        assert not server.mails


async def test_a_password_file_of_no_use_is_told_when_the_connector_is_opened(tmp_path):
    (tmp_path / "empty").write_text("")
    connector = make_connector(("127.0.0.1", 2525), tls="required", username="ann", password_file=tmp_path / "empty")
    with pytest.raises(PermanentFailure) as raised:
        await connector.open()
    assert "empty" in raised.value.cause
