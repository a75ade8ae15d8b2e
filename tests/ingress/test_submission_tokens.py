"""Submission by token over a socket: from the first contact to the token that comes back with a delivery."""

import base64
import ipaddress
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiosmtpd.smtp import AuthResult
from structlog.testing import capture_logs

from gateway.codec import json_v1
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.keys import Key, KeyRing, Purpose
from gateway.smtp.submission_token import TokenKind, read_token
from gateway.stoken import SubmissionTokens
from tests.ingress.gateway import gateway, settings

KEY = Key(purpose=Purpose.STOKEN, id="1", created="2026-11-22T00:00:00.000000Z", secret=b"k" * 32)
CODES = OfferedCodes(names=("STOKEN", "DELIVERY-ID"), networks=(ipaddress.ip_network("127.0.0.0/8"),))
LHLO = b"LHLO client.example.net\r\n"


def accept_anybody(_server, _session, _envelope, _mechanism, _login):
    return AuthResult(success=True)


@pytest.fixture
def submission(tmp_path, server_tls):
    """A listener for submission, and the memory behind it."""

    def listener(key=KEY, codes=CODES):
        offered = settings(
            tmp_path,
            dialect="lmtp",
            policy={"reply_codes": True, "submission_tokens": True},
            tls=server_tls,
            authenticator=accept_anybody,
            reply_metadata=ReplyMetadata(offered=(codes,), submission=SubmissionTokens(KeyRing([key]))),
        )
        return gateway(offered)

    return listener


@asynccontextmanager
async def connected(running, client_tls):
    async with await running.connect() as client:
        assert await client.codes(LHLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await client.start_tls(client_tls)
        client.send(LHLO)
        assert "250-STOKEN" in await client.reply()
        yield client


async def generated(client, kind, sender):
    """The token that somebody who logs in as a@example.org gets for `sender`."""
    assert await client.codes(b"AUTH PLAIN " + encoded(b"\0a@example.org\0x") + b"\r\n", count=1) == [235]
    client.send(f"GENSTOKEN {kind} {sender}\r\n".encode())
    return token_in(*await client.reply())


async def submit(client, token, recipient=b"a@example.org"):
    """The final reply to a mail from s@example.net with this token."""
    authenticated = b"AUTH STOKEN " + encoded(b"a@example.org\0" + token) + b"\r\n"
    mail = b"MAIL FROM:<s@example.net> XREPLYMETA\r\nRCPT TO:<" + recipient + b"> STOKEN=" + token + b"\r\n"
    assert await client.codes(authenticated, mail, b"DATA\r\n", count=4) == [235, 250, 250, 354]
    client.send(b"hello\r\n.\r\n")
    (reply,) = await client.reply()
    return reply


def encoded(octets):
    return base64.b64encode(octets)


def token_in(reply):
    return re.search(r"\[STOKEN ([A-Za-z0-9_-]+)\]", reply)[1].encode()


def kind_of(token):
    return read_token(token.decode()).kind


async def test_a_temporary_token_leads_to_a_permanent_one_and_that_to_deliveries(submission, client_tls):
    async with submission() as running:
        async with connected(running, client_tls) as client:
            temporary = await generated(client, "TEMP", "s@example.net")
        async with connected(running, client_tls) as client:
            permanent = token_in(await submit(client, temporary))
        assert (kind_of(temporary), kind_of(permanent)) == (TokenKind.TEMP, TokenKind.PERM)
        async with connected(running, client_tls) as client:
            reply = await submit(client, permanent)
        ids = [mail.envelope.id for mail in running.mails]
        assert reply == f"250 2.0.0 <a@example.org> [DELIVERY-ID {ids[1]}] {ids[1]} accepted"
        assert {mail.envelope.transaction.protocol for mail in running.mails} == {"LMTPSA"}
        # Whoever asks for a token chooses its sender, and may name another user of this gateway.
        assert {mail.envelope.transaction.authenticated_as for mail in running.mails} == {""}


async def test_a_token_is_in_no_envelope_and_in_no_log(submission, client_tls):
    async with submission() as running:
        with capture_logs() as lines:
            async with connected(running, client_tls) as client:
                token = await generated(client, "PERM", "s@example.net")
            async with connected(running, client_tls) as client:
                await submit(client, token)
        (mail,) = running.mails
        assert token not in json_v1.encode(mail.envelope)
        assert token.decode() not in repr(lines)
        assert {"event": "authentication", "login": "s@example.net", "success": True}.items() <= lines[1].items()


async def test_a_token_of_another_gateways_key_lets_nobody_in(submission, client_tls):
    async with submission(replace(KEY, secret=b"x" * 32)) as running, connected(running, client_tls) as client:
        foreign = await generated(client, "PERM", "s@example.net")
    async with submission() as running, connected(running, client_tls) as client:
        client.send(b"AUTH STOKEN " + encoded(b"a@example.org\0" + foreign) + b"\r\n")
        assert await client.reply() == ["535 5.7.8 authentication failed"]
        assert await client.codes(b"MAIL FROM:<s@example.net>\r\n", count=1) == [250]
        client.send(b"RCPT TO:<a@example.org> STOKEN=" + foreign + b"\r\n")
        assert await client.reply() == ["503 5.5.1 a token of RCPT is for clients that came by AUTH STOKEN"]


async def test_a_client_outside_the_networks_cannot_come_by_a_token(submission, client_tls):
    async with submission() as running, connected(running, client_tls) as client:
        token = await generated(client, "PERM", "s@example.net")
    elsewhere = OfferedCodes(names=CODES.names, networks=(ipaddress.ip_network("192.0.2.0/24"),))
    async with submission(codes=elsewhere) as running, await running.connect() as client:
        assert await client.codes(LHLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await client.start_tls(client_tls)
        client.send(LHLO)
        assert "250-STOKEN" not in await client.reply()
        assert await client.codes(b"AUTH STOKEN " + encoded(b"a@example.org\0" + token) + b"\r\n", count=1) == [504]
        assert await client.codes(b"GENSTOKEN TEMP s@example.net\r\n", count=1) == [502]
